// SPDX-License-Identifier: MIT
// Block device driver: disks. Read it top to bottom and you know how a virtio driver works.
//
// A request is a chain of three kinds of memory: a 16-byte header that the device reads, the caller's data, and a
// status byte that the device writes. Headers and status bytes are in DMA storage, one of each per slot of the queue.
// The data stays where the caller has it. `submit_*` builds such a chain, `kick` shows all of them to the device at
// once, and `next_completion` returns one that has ended. `read`, `write` and `flush` are these three and a wait.
//
// The blocking calls come first, then the engine. The private part builds the chain and judges its end.
//
// Elsewhere: the steps of bring-up (device/session.hpp); the calls that all drivers of requests share, from `kick` and
// `next_completion` to `reset` (device/request_driver.hpp); waiting, and completions that another call waits for
// (device/request_queue.hpp); the ring (queue/split.hpp); the place of headers and status bytes (blk/cells.hpp);
// splitting long transfers (device/disk.hpp); discard, write zeroes, secure erase, identification, wear, write cache
// and topology (blk/extras.hpp).
//
// Spec: virtio 1.4, 5.2. Layer: blk (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/blk/cells.hpp>
#include <virtio/blk/extras.hpp>
#include <virtio/blk/limits.hpp>
#include <virtio/device/request_driver.hpp>

namespace virtio::blk {

/// Choices that change a driver's layout.
struct options {
  /// Maximum number of pieces of memory in the data of one request. The device may allow fewer.
  u16 segments = 16;
  u16 extents = 1;  // maximum number of extents in one discard, write zeroes or secure erase
};

/// The end of one request. The caller owns the buffers again, whatever the status.
struct done {
  token which{};           // as `submit_*` returned it
  u64 cookie = 0;          // as `submit_*` received it
  errc status = errc::ok;  // the device's `ok`, `io_error` or `unsupported`; `canceled` if a reset came first
};

/// A disk, driven through transport `T` with queue `Q` on platform `P`. All bytes are zero until `start`. One context
/// owns it; an interrupt handler may call only `acknowledge_interrupt`, and with `pci::windowed` not even that. The
/// functions of blk/extras.hpp are members too.
template <platform P, transport T, queue_format Q, options O = options{}>
class device : public request_driver<device<P, T, Q, O>, done>, public extras<device<P, T, Q, O>> {
  using base = request_driver<device, done>;
  friend base;
  friend extras<device>;
  static_assert(O.segments >= 1 && O.extents >= 1);
  static_assert(O.segments <= 0xfffd, "a request has a header and a status besides its segments, 65535 pieces in all");

  using set = queue_set<P, T, Q, 1>;
  using ring = typename set::ring_type;
  using cells = request_cells<ring::order, ring::slots, O.extents>;  // after the ring
  using barriers = typename P::barriers;
  static constexpr u32 longest_list = O.segments + 2u;  // data, and around it a header and a status
  static_assert(ring::dma_bytes + cells::exact_bytes < 0x8000'0000,
                "the DMA storage of a blk::device must stay below 2 GiB: fewer options::extents, or a smaller queue");

 public:
  using location = typename T::location;  // what discovery returns for the device
  using base::features;

  /// Bytes of DMA storage that this type needs: `constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;`
  static constexpr usize dma_bytes = ring::dma_bytes + cells::bytes;

  /// Brings the disk up: reset, features, queue, limits, DRIVER_OK. Waits for the device's reset, bounded by the
  /// platform.
  ///
  /// `storage` belongs to the device until `reset` or `hand_off` succeeds, or until `start` fails with any error except
  /// `device_broken`. `start` may be called again at any time, on the same storage or another; earlier requests are
  /// then canceled without a completion. With `interrupts` the device uses these MSI-X vectors (bus/pci/msix.hpp
  /// enables MSI-X) or its `interrupt_line`; without, the interrupt line stays as it was.
  /// On error the device is reset, its bus is restored, and `why()` has the reason. Errors:
  /// - `wrong_device`; `not_found` (no capability, no queue); `unsupported` (a feature, a capability or a limit);
  /// - `no_space` (storage or ring); `misaligned` (storage); `dma_unreachable`;
  /// - `invalid_argument` (a `found` that discovery did not fill); `device_misbehaved` (configuration never stable);
  /// - `timed_out`: the device did not reset, before it received any address;
  /// - `device_broken`: the device did not reset and keeps `storage`, or the previous device keeps its own. This object
  ///   is tied to that device.
  /// Cost: 21 writes and 8 reads of common configuration on modern PCI. Spec: 3.1.1.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    static constexpr feature_rule cache_needs_flush{static_cast<u8>(feature::config_wce),
                                                    static_cast<u8>(feature::flush)};
    static constexpr feature_plan plan{
        .wanted = feature_set{feature::size_max, feature::seg_max, feature::read_only, feature::blk_size,
                              feature::flush, feature::topology, feature::config_wce, feature::discard,
                              feature::write_zeroes, feature::lifetime, feature::secure_erase},
        .refused = feature_set{feature::zoned},  // takes writes only in order, unless its config allows others
        .rules = &cache_needs_flush,             // without FLUSH no cache is accepted: the device then writes through
        .rule_count = 1};
    virtio::detail::clear(limits_);
    dma_area area;
    VIRTIO_TRY(requests_.forget(set_));
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::block, plan, interrupts, area));
    VIRTIO_TRY(set_.set_up(0, 0, area, interrupts, 3));
    cells_ = cells{area.part(ring::dma_bytes, cells::bytes)};

    verdict wrong;
    if (const auto said = limits_.read(set_.session(), longest_data(), wrong); !said)
      return set_.session().refuse(wrong, said.error(), 0,
                                   wrong == verdict::config_unreadable ? 0 : limits_.stated_block_size());
    this->forget_extent_limits();
    writes_through_ = false;
    set_.go();
    return {};
  }

  /// Size in sectors of 512 bytes, as of `start` or the last `refresh`; 0 while the disk is down.
  [[nodiscard]] u64 capacity() const { return set_.ready() ? limits_.capacity() : 0; }
  /// Whether writes fail with `read_only`.
  [[nodiscard]] bool is_read_only() const { return features().has(feature::read_only); }
  /// Bytes in one block of the disk, a power of two; 512 if the device does not report it. A request is a whole number
  /// of blocks, but positions and sizes are counted in sectors.
  [[nodiscard]] u32 block_size() const { return limits_.block_size(); }
  /// Whether completed writes need a `flush` to be stable. A device without FLUSH writes through (5.2.5.1). A device
  /// with FLUSH is assumed to have a cache until `set_write_cache` disables it.
  [[nodiscard]] bool has_write_cache() const { return features().has(feature::flush) && !writes_through_; }
  /// Bytes that one `submit_read` or `submit_write` accepts if the memory is contiguous for the device: 1 GiB
  /// (`largest_transfer`), or less if the device's limits say so. `read` and `write` split longer transfers.
  [[nodiscard]] u32 largest_request() const { return limits_.largest(); }
  /// Maximum number of pieces of memory in one request. One, if the device does not report SEG_MAX: some hosts serve
  /// one piece and write the status into the second.
  [[nodiscard]] u16 most_pieces() const { return limits_.segments(); }

  // Blocking calls ----------------------------------------------------------------------------------------------------

  /// Reads `data.size()` bytes, a multiple of 512, from `sector` on. Any length: a transfer that does not fit into one
  /// request is split. Scattered memory costs at least one request per `most_pieces` pieces. If `most_pieces` is 1, no
  /// block may cross a boundary between two pieces, so align the buffer to `block_size`.
  ///
  /// Waits for the device. If the wait exceeds the platform's limit, the device is reset and the disk is down until the
  /// next `start`. The caller owns the buffer again on return, except after `device_broken`: the device did not reset
  /// and keeps the buffer until a later `reset` or `start` succeeds. All calls of this class follow these rules. A
  /// later call on a disk that is down returns `not_started`, and its buffer was never given to the device.
  /// Errors: `misaligned`, `out_of_range`, `dma_unreachable`, `too_many_pieces` (a single block has too many),
  /// `queue_full` (submitted requests fill it: take completions), `io_error`, `timed_out` (`dma_unanswered` if
  /// ACCESS_PLATFORM was accepted), `needs_reset`, `device_misbehaved`, `device_broken`, `not_started`.
  [[nodiscard]] result<void> read(u64 sector, bytes data) { return transfer(request::in, sector, data); }

  /// Writes, as `read` reads. Additional error: `read_only`. With `has_write_cache`, the data is stable only after
  /// `flush`.
  [[nodiscard]] result<void> write(u64 sector, const_bytes data) {
    return transfer(request::out, sector, readable(data));
  }

  /// Makes all completed writes stable. Does nothing on a device without a write cache.
  [[nodiscard]] result<void> flush() {
    if (!has_write_cache()) return set_.ready();
    return wait_for(submit_flush());
  }

  // The engine --------------------------------------------------------------------------------------------------------

  /// Stages one read request. `data` belongs to the device until the request ends. The device sees the request at the
  /// next `kick`. `cookie` is returned with the completion. Never waits and accesses no register. Errors: those of
  /// `read`, and `too_many_pieces` (more than `most_pieces`), `invalid_argument` (no bytes), `out_of_range` (more bytes
  /// than `largest_transfer`).
  [[nodiscard]] result<token> submit_read(u64 sector, bytes data, u64 cookie = 0) {
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::in, sector, data, direction::from_device, cookie);
  }
  /// The same with data in several pieces, in the order of the disk.
  [[nodiscard]] result<token> submit_read(u64 sector, scatter<bytes> data, u64 cookie = 0) {
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::in, sector, data, direction::from_device, cookie);
  }

  /// Stages one write request, as `submit_read`. Additional error: `read_only`.
  [[nodiscard]] result<token> submit_write(u64 sector, const_bytes data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::out, sector, readable(data), direction::to_device, cookie);
  }
  /// The same with data in several pieces, in the order of the disk.
  [[nodiscard]] result<token> submit_write(u64 sector, scatter<const_bytes> data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::out, sector, data, direction::to_device, cookie);
  }

  /// Stages a flush. Additional error: `unsupported` on a device without FLUSH.
  [[nodiscard]] result<token> submit_flush(u64 cookie = 0) {
    VIRTIO_TRY(set_.ready());
    if (!features().has(feature::flush)) return errc::unsupported;
    return submit(request::flush, 0, bytes{}, direction::to_device, cookie);
  }

  /// Waits for one request. Others that end in the meantime are kept for `next_completion`. Errors: those of `read`,
  /// and `stale_handle`. After `device_broken` the request is still in flight; `next_completion` returns it as
  /// `canceled` after a reset succeeds.
  [[nodiscard]] result<void> wait(token which) { return wait(which, owner::user); }

 private:
  using base::await;

  // Header and status take two descriptors of the longest chain; the rest is for data.
  [[nodiscard]] u16 longest_data() const {
    return virtio::detail::smaller(static_cast<u16>(set_[0].longest_chain() - 2), O.segments);
  }

  [[nodiscard]] result<void> check_range(u64 sector, u64 size) const {
    if (size % sector_bytes != 0) return errc::misaligned;
    return check_extent(sector, size / sector_bytes);
  }
  /// For one request. The ring itself would accept a page more, and so may the device's SIZE_MAX.
  [[nodiscard]] result<void> check_one(u64 sector, u64 size) const {
    VIRTIO_TRY(check_range(sector, size));
    return size > largest_transfer ? result<void>{errc::out_of_range} : result<void>{};
  }
  [[nodiscard]] result<void> check_extent(u64 sector, u64 count) const {
    const errc wrong = limits_.check(sector, count);
    if (wrong != errc::out_of_range) return wrong;
    return set_.ready() ? wrong : set_.ready().error();  // before start() the capacity is 0
  }

  // The device only reads this memory, so the cast is safe.
  [[nodiscard]] static bytes readable(const_bytes data) { return {const_cast<u8*>(data.data()), data.size()}; }

  [[nodiscard]] result<u16> reserve() { return requests_.reserve(set_); }

  /// Header, data, status: maps the data, fills the slot's cells, stages the chain.
  template <class Data>
  [[nodiscard]] result<token> submit(request what, u64 sector, Data data, direction way, u64 cookie) {
    VIRTIO_TRY_ASSIGN(const u16 slot, reserve());
    segment room[longest_list];
    segments chain{room};
    begin(chain, slot);
    VIRTIO_TRY(add(chain, data, way));
    return finish_chain(slot, chain, static_cast<u16>(chain.size() - 1), what, sector, cookie);
  }

  /// Appends the caller's data after the header, and leaves the last place for the status byte.
  template <class Data>
  [[nodiscard, gnu::always_inline]] result<void> add(segments& chain, const Data& data, direction way) const {
    return requests_.add(set_, chain, 1, 1, data, way);
  }

  /// Begins a chain: appends the header, and limits what may follow.
  [[gnu::always_inline]] void begin(segments& chain, u16 slot) const {
    chain.append(cells_.header_at(slot), cells::header_bytes, direction::to_device);
    chain.limit_count(static_cast<u16>(limits_.segments() + 2));
    chain.limit_pieces(limits_.size_max());
  }

  /// Ends a chain: appends the status byte, fills the header, stages. `payload` segments are the caller's.
  [[nodiscard]] result<token> finish_chain(u16 slot, segments& chain, u16 payload, request what, u64 sector,
                                           u64 cookie) {
    chain.append(cells_.status_at(slot), 1, direction::from_device);
    cells_.write_header(slot, what, sector);
    cells_.status(slot).clear_before_use(status::unwritten);
    return requests_.stage(set_, slot, chain, 1, payload, cookie);
  }

  /// Reads a request's status and releases its slot. The used length is ignored: hosts differ in it (vmd reports the
  /// header's length), and the status byte is enough.
  [[nodiscard]] errc finish(const answer& ended) {
    errc how = ended.error;
    if (how == errc::ok) {
      const untrusted<u8> said = cells_.status(ended.what.which.slot).template fetch<barriers>();
      if (said.equals(status::unsupported)) how = errc::unsupported;
      else if (!said.equals(status::ok)) how = errc::io_error;  // also if the device wrote no status
    }
    requests_.finish(set_, ended, how == errc::ok ? 0xffffffffu : 0);
    return how;
  }

  [[nodiscard]] result<done> done_of(errc got, const answer& ended) {
    if (got != errc::ok) return got;
    return done{ended.what.which, ended.what.cookie, finish(ended)};
  }

  [[nodiscard]] result<void> wait_for(const result<token>& submitted) {
    if (!submitted) return submitted.error();
    return wait(*submitted, owner::call);
  }
  [[nodiscard]] result<void> wait(token which, owner whose) {
    answer ended;
    const errc waited = await(which, whose, ended);
    return waited == errc::ok ? finish(ended) : waited;
  }

  /// Transfers any length by one request after another, each as large as the device and the memory allow.
  [[nodiscard]] result<void> transfer(request what, u64 sector, bytes data) {
    if (what == request::out && is_read_only()) return errc::read_only;
    if (data.empty()) return set_.ready();
    VIRTIO_TRY(check_range(sector, data.size()));
    virtio::detail::request_splitter cut{limits_.block_size(), limits_.largest(), limits_.segments()};
    while (!data.empty()) {
      const bytes part = cut.next(data);
      const auto sent =
          submit(what, sector, part, what == request::in ? direction::from_device : direction::to_device, 0);
      if (cut.retry_shorter(sent.error(), part)) [[unlikely]]
        continue;
      VIRTIO_TRY(wait_for(sent));
      cut.advance(sector, data, part);
    }
    return {};
  }

  cells cells_{};
  limits limits_{};
  bool writes_through_ = false;
  request_queue<set, O.segments> requests_{};
  set set_{};  // last, since it ends in long tables: members near the start have shorter offsets
};

}  // namespace virtio::blk
