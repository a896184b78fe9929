// SPDX-License-Identifier: MIT
// Block device driver: disks. Read it top to bottom and you know how a virtio driver works.
//
// A request is a chain of three kinds of memory: a 16-byte header that the device reads, the user's data, and a status byte
// that the device writes. Headers and status bytes live in DMA storage, one of each per slot of the queue; the data stays
// where the user has it. `submit_*` puts such a chain together, `kick` shows all of them to the device at once,
// `next_completion` takes back what has ended. `read`, `write` and `flush` are those three and a wait.
// The calls come first, blocking ones ahead of the engine; how a chain is made and its end judged is in the private part.
//
// What this file leaves to others: the steps of a bring-up (device/session.hpp); the calls that all drivers of requests have, `kick` and
// `next_completion` to `reset` (device/request_driver.hpp); waiting, and completions that another call waits for
// (device/request_queue.hpp); the ring (queue/split.hpp); where headers and status bytes lie (blk/cells.hpp); how a long transfer is
// cut (device/disk.hpp); discard, write zeroes, secure erase, identification, wear, write cache and topology (blk/extras.hpp).
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
  u16 segments = 16;  // the most pieces of memory that one request's data may be scattered over, where the device takes as many
  u16 extents = 1;    // the most extents that one discard, write zeroes or secure erase may name
};

/// How one request ended. `status` is `ok`, `io_error` or `unsupported` by the device's own word; `canceled` when the device
/// was reset first. In every case the buffers are the caller's again.
struct done {
  token which{};
  u64 cookie = 0;
  errc status = errc::ok;
};

/// A disk, driven through transport `T` with queue `Q` on platform `P`. All-zero until `start`. One context owns it; an
/// interrupt handler may call `acknowledge_interrupt` alone. What a disk can do besides reading, writing and flushing is in
/// blk/extras.hpp, and is called on the same object.
template <platform P, transport T, queue_format Q, options O = options{}>
class device : public request_driver<device<P, T, Q, O>, done>, public extras<device<P, T, Q, O>> {
  using base = request_driver<device, done>;
  friend base;
  friend extras<device>;
  static_assert(O.segments >= 1 && O.extents >= 1);
  static_assert(O.segments <= 0xfffd, "a request has a header and a status besides its segments, 65535 pieces in all");

  using set = queue_set<P, T, Q, 1>;
  using ring = typename set::ring_type;
  using cells = request_cells<ring::order, ring::slots, O.extents>;  // behind the ring
  using barriers = typename P::barriers;
  static constexpr u32 longest_list = O.segments + 2u;  // data, and around it a header and a status
  static_assert(ring::dma_bytes + cells::exact_bytes < 0x8000'0000,
                "the DMA storage of a blk::device must stay below 2 GiB: fewer options::extents, or a smaller queue");

 public:
  using location = typename T::location;
  using base::features;

  /// DMA storage that this type needs: `constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;`
  static constexpr usize dma_bytes = ring::dma_bytes + cells::bytes;

  /// Brings the disk up: reset, features, queue, limits, DRIVER_OK. `storage` belongs to the device until `reset` or
  /// `hand_off` succeeds, or `start` itself fails with anything but `device_broken`. May be called again at any time, on the
  /// same storage or other; requests of before are canceled silently. With `interrupts` the device uses these MSI-X vectors
  /// (bus/pci/msix.hpp turns MSI-X on), or its `interrupt_line`, which otherwise stays as it was found. Waits for the device's reset,
  /// bounded by the platform. On error the device is reset, its bus as it was found, and `why()` holds the reason:
  /// `wrong_device`, `no_space` (storage or ring) and `misaligned` (storage), `dma_unreachable`, `unsupported` (a feature, a
  /// capability or a limit), `not_found` (no capability, no queue), `device_misbehaved` (config never stable), `invalid_argument` (a
  /// `found` that nobody has looked at), `timed_out` (no reset, before it was given anything), `device_broken` (no reset, and it keeps
  /// `storage`, or what the device of before was given: this object is tied to that one).
  /// Cost: 21 writes and 8 reads of common configuration on modern PCI. Spec: 3.1.1.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}) {
    static constexpr feature_rule cache_needs_flush{static_cast<u8>(feature::config_wce), static_cast<u8>(feature::flush)};
    static constexpr feature_plan plan{
        .wanted = feature_set{feature::size_max, feature::seg_max, feature::read_only, feature::blk_size, feature::flush,
                              feature::topology, feature::config_wce, feature::discard, feature::write_zeroes,
                              feature::lifetime, feature::secure_erase},
        .refused = feature_set{feature::zoned},  // takes writes only in order, unless its config says otherwise
        .rules = &cache_needs_flush,  // a cache that nothing flushes stays unaccepted: the device then writes through
        .rule_count = 1};
    virtio::detail::clear(limits_);
    dma_area area;
    VIRTIO_TRY(requests_.forget(set_));
    VIRTIO_TRY(set_.begin(platform, where, storage, dma_bytes, device_type::block, plan, interrupts, area));
    VIRTIO_TRY(set_.set_up(0, 0, area, interrupts, 3));
    cells_ = cells{area.part(ring::dma_bytes, cells::bytes)};

    verdict wrong;
    if (const auto said = limits_.read(set_.session(), longest_data(), wrong); !said)
      return set_.session().refuse(wrong, said.error(), 0, wrong == verdict::config_unreadable ? 0 : limits_.stated_block_size());
    this->forget_extent_limits();
    writes_through_ = false;
    set_.go();
    return {};
  }

  /// Size in sectors of 512 bytes, as it was at `start` or at the last `refresh`; 0 while the disk is down.
  [[nodiscard]] u64 capacity() const { return set_.ready() ? limits_.capacity() : 0; }
  [[nodiscard]] bool is_read_only() const { return features().has(feature::read_only); }
  /// Bytes in one of the disk's own blocks, a power of two; 512 when the device does not say. Requests are whole blocks,
  /// though sectors are counted.
  [[nodiscard]] u32 block_size() const { return limits_.block_size(); }
  /// Whether completed writes need a `flush` to be stable. A device that offers no flush writes through (5.2.5.1); one that
  /// does is taken to have a cache until `set_write_cache` switches that off.
  [[nodiscard]] bool has_write_cache() const { return features().has(feature::flush) && !writes_through_; }
  /// What one `submit_read` or `submit_write` takes for sure where the memory is contiguous for the device, in bytes: 1 GiB
  /// (`largest_transfer`), or what the device's limits leave of it. `read` and `write` cut what is longer.
  [[nodiscard]] u32 largest_request() const { return limits_.largest(); }
  /// Over how many pieces of memory one request may be scattered. One, on a disk that does not say (SEG_MAX): some hosts serve one, and
  /// write the status into the second.
  [[nodiscard]] u16 most_pieces() const { return limits_.segments(); }

  // Blocking calls -------------------------------------------------------------------------------------------------------

  /// Reads `data.size()` bytes, a multiple of 512, from `sector` on. Of any length: what one request cannot hold is split. Memory that
  /// is scattered costs a request for each `most_pieces` of its pieces at best; where that is 1, no block may lie across two pieces, so
  /// that buffers start at a multiple of `block_size`.
  /// Waits for the device; when that takes too long the device is reset and the disk is down until the next `start`.
  /// The buffer is the caller's again when this returns, unless it returns `device_broken`: the device will not reset and keeps it,
  /// until a later `reset` or `start` succeeds. That is so of every call here; one that comes after it and finds the disk down
  /// returns `not_started`, and its buffer was never given away.
  /// Errors: `misaligned`, `out_of_range`, `dma_unreachable`, `too_many_pieces` (one block over too many), `queue_full`
  /// (requests of others fill it: take completions), `io_error`, `timed_out` (`dma_unanswered` where ACCESS_PLATFORM was accepted),
  /// `needs_reset`, `device_misbehaved`, `device_broken`, `not_started`.
  [[nodiscard]] result<void> read(u64 sector, bytes data) { return transfer(request::in, sector, data); }

  /// Writes, likewise. Errors also: `read_only`. Stable only after `flush` where `has_write_cache`.
  [[nodiscard]] result<void> write(u64 sector, const_bytes data) {
    return transfer(request::out, sector, readable(data));
  }

  /// Makes all writes that have completed stable. Does nothing on a device without a write cache.
  [[nodiscard]] result<void> flush() {
    if (!has_write_cache()) return set_.ready();
    return wait_for(submit_flush());
  }

  // The engine -----------------------------------------------------------------------------------------------------------

  /// Stages a read of one request into `data`, which belongs to the device until the request ends. Nothing reaches the device
  /// before `kick`. `cookie` comes back with the completion. Never waits, touches no register. Errors: as `read`, and
  /// `too_many_pieces` when the memory is scattered over more than `most_pieces`, `invalid_argument` for no bytes, `out_of_range` for
  /// more of them than `largest_transfer`, too.
  [[nodiscard]] result<token> submit_read(u64 sector, bytes data, u64 cookie = 0) {
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::in, sector, data, direction::from_device, cookie);
  }
  [[nodiscard]] result<token> submit_read(u64 sector, scatter<bytes> data, u64 cookie = 0) {
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::in, sector, data, direction::from_device, cookie);
  }

  /// Stages a write, likewise. Errors also: `read_only`.
  [[nodiscard]] result<token> submit_write(u64 sector, const_bytes data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::out, sector, readable(data), direction::to_device, cookie);
  }
  [[nodiscard]] result<token> submit_write(u64 sector, scatter<const_bytes> data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    VIRTIO_TRY(check_one(sector, data.size()));
    return submit(request::out, sector, data, direction::to_device, cookie);
  }

  /// Stages a flush. Errors also: `unsupported` on a device without a write cache.
  [[nodiscard]] result<token> submit_flush(u64 cookie = 0) {
    VIRTIO_TRY(set_.ready());
    if (!features().has(feature::flush)) return errc::unsupported;
    return submit(request::flush, 0, bytes{}, direction::to_device, cookie);
  }

  /// Waits for one request; others that end meanwhile are kept for `next_completion`. Errors: as `read`, `stale_handle`. After
  /// `device_broken` the request is in flight still, and comes out of `next_completion` as `canceled` when a reset succeeds.
  [[nodiscard]] result<void> wait(token which) { return wait(which, owner::user); }

 private:
  using base::await;

  // Header and status take two descriptors; what is left of the longest chain is for data.
  [[nodiscard]] u16 longest_data() const {
    return virtio::detail::smaller(static_cast<u16>(set_[0].longest_chain() - 2), O.segments);
  }

  [[nodiscard]] result<void> check_range(u64 sector, u64 size) const {
    if (size % sector_bytes != 0) return errc::misaligned;
    return check_extent(sector, size / sector_bytes);
  }
  /// For one request. The ring takes a page more, and segments of the device's own size may, too.
  [[nodiscard]] result<void> check_one(u64 sector, u64 size) const {
    VIRTIO_TRY(check_range(sector, size));
    return size > largest_transfer ? result<void>{errc::out_of_range} : result<void>{};
  }
  [[nodiscard]] result<void> check_extent(u64 sector, u64 count) const {
    const errc wrong = limits_.check(sector, count);
    if (wrong != errc::out_of_range) return wrong;
    return set_.ready() ? wrong : set_.ready().error();  // before start() the capacity is 0
  }

  // The device only reads it.
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

  /// The user's data, behind the header; the status byte needs the last place.
  template <class Data>
  [[nodiscard, gnu::always_inline]] result<void> add(segments& chain, const Data& data, direction way) const {
    return requests_.add(set_, chain, 1, 1, data, way);
  }

  /// The beginning of every request: the header, and how much may follow.
  [[gnu::always_inline]] void begin(segments& chain, u16 slot) const {
    chain.append(cells_.header_at(slot), cells::header_bytes, direction::to_device);
    chain.limit_count(static_cast<u16>(limits_.segments() + 2));
    chain.limit_pieces(limits_.size_max());
  }

  /// Its end: the status byte, the header's cells, and into the ring. `payload` of the segments are the user's.
  [[nodiscard]] result<token> finish_chain(u16 slot, segments& chain, u16 payload, request what, u64 sector, u64 cookie) {
    chain.append(cells_.status_at(slot), 1, direction::from_device);
    cells_.write_header(slot, what, sector);
    cells_.status(slot).clear_before_use(status::unwritten);
    return requests_.stage(set_, slot, chain, 1, payload, cookie);
  }

  /// Takes a request's status and lets its slot go. The used length is not asked: honest devices report different things
  /// there (vmd: the header's), and the status byte says all.
  [[nodiscard]] errc finish(const answer& ended) {
    errc how = ended.error;
    if (how == errc::ok) {
      const untrusted<u8> said = cells_.status(ended.what.which.slot).template fetch<barriers>();
      if (said.equals(status::unsupported)) how = errc::unsupported;
      else if (!said.equals(status::ok)) how = errc::io_error;  // also when the device wrote none
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

  /// A transfer of any length: one request after the other, each as large as the device and the memory allow.
  [[nodiscard]] result<void> transfer(request what, u64 sector, bytes data) {
    if (what == request::out && is_read_only()) return errc::read_only;
    if (data.empty()) return set_.ready();
    VIRTIO_TRY(check_range(sector, data.size()));
    virtio::detail::request_splitter cut{limits_.block_size(), limits_.largest(), limits_.segments()};
    while (!data.empty()) {
      const bytes part = cut.next(data);
      const auto sent = submit(what, sector, part, what == request::in ? direction::from_device : direction::to_device, 0);
      if (cut.retry_shorter(sent.error(), part)) [[unlikely]] continue;
      VIRTIO_TRY(wait_for(sent));
      cut.advance(sector, data, part);
    }
    return {};
  }

  cells cells_{};
  limits limits_{};
  bool writes_through_ = false;
  request_queue<set, O.segments> requests_{};
  set set_{};  // ends in long tables: what is near the start is cheaper to reach
};

}  // namespace virtio::blk
