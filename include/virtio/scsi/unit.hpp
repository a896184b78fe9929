// SPDX-License-Identifier: MIT
// One logical unit with the calls of a disk: disks and CD drives. A program that is written for a `virtio::block_storage` takes this or a
// `blk::device`.
// Spec: virtio 1.4, 5.6; SBC-3, MMC-6. Layer: scsi.
#pragma once

#include <virtio/scsi/device.hpp>

namespace virtio::scsi {

/// A disk or a CD drive behind `Device`, a `scsi::device`, of which there may be many. All-zero until `open`; a reference to the device,
/// which outlives it. Requests of all units of a device are in one queue: `next_completion` gives the next to end of any of them, and
/// its cookie says which it is.
template <class Device>
class unit {
 public:
  using done = scsi::done;

  /// Finds out what the unit is: its kind, its capacity, whether it may be written to, what it takes in one command. Waits for a unit that
  /// is becoming ready, within the platform's bound. Errors: `not_found`; `wrong_device`, it is no disk; `not_ready`, it has no medium;
  /// `unsupported`, its blocks have fewer than 512 bytes, more than 4,096, or no power of two of them, or one is more than a command
  /// takes; `out_of_range`, it says to have 2^64 sectors or more; `not_ready` also when it changes meanwhile; as `read`. `last_failure` says
  /// more. After an error the unit is not open, and its engine is that of `host` all the same.
  [[nodiscard]] result<void> open(Device& host, address where) {
    *this = unit{};
    host_ = &host;
    VIRTIO_TRY_ASSIGN(const found one, host.inquire(where));
    if (!is_disk(one.kind) && one.kind != kind::cd && one.kind != kind::optical) return errc::wrong_device;
    where_ = one.where;
    const auto seen = look(one.kind);
    if (!seen) close();
    return seen;
  }

  [[nodiscard]] address where() const { return where_; }
  [[nodiscard]] const failure& last_failure() const {
    static constexpr failure none{};
    return host_ != nullptr ? host_->last_failure() : none;
  }

  /// Size in sectors of 512 bytes, as it was at `open` or at the last `refresh`; 0 while the device is down.
  [[nodiscard]] u64 capacity() const { return is_up() ? capacity_ : 0; }
  [[nodiscard]] bool is_read_only() const { return read_only_; }
  /// Bytes in one of the unit's own blocks, a power of two. Requests are whole blocks, though sectors are counted.
  [[nodiscard]] u32 block_size() const { return sector_bytes << shift_; }
  /// Whether completed writes need a `flush` to be stable. A unit that does not say is taken to have a cache.
  [[nodiscard]] bool has_write_cache() const { return cached_; }
  /// What one request takes, in bytes: by the host's max_sectors (5.6.4), the unit's block limits, and the commands. Calls that wait split
  /// what is longer; `submit_read` and `submit_write` return `out_of_range` for it.
  [[nodiscard]] u32 largest_request() const { return largest_; }
  /// Over how many pieces of memory one request may be scattered.
  [[nodiscard]] u16 most_pieces() const { return host_ != nullptr ? host_->limits_.segments() : u16{0}; }
  /// Whether the unit takes `discard`.
  [[nodiscard]] bool can_discard() const { return most_unmapped_ != 0; }

  /// Reads and writes any length, as `blk::device` does, to whose contract this adds: a command that takes longer than the platform waits
  /// is aborted, and `timed_out` is returned with the device running on; where that fails the device is reset. A unit that is not ready, or
  /// has something to say first (UNIT ATTENTION), is asked again within bounds. But after a report that the medium (28h) or the capacity
  /// (2Ah/09h) may have changed, all transfers, `flush` and `discard` end with `not_ready` until `refresh` or `open`: a write must not reach
  /// another medium. Errors also: `not_ready`, `canceled`, `not_found`, `unsupported` as `error_of` (scsi/sense.hpp) has them.
  [[nodiscard]] result<void> read(u64 sector, bytes data) { return move(transfer_way::read, sector, data); }
  [[nodiscard]] result<void> write(u64 sector, const_bytes data) {
    if (is_read_only()) return errc::read_only;
    return move(transfer_way::write, sector, readable(data));
  }
  /// Makes all writes that have completed stable. Does nothing on a unit without a write cache; one that neither says whether it has one
  /// nor knows SYNCHRONIZE CACHE has none.
  [[nodiscard]] result<void> flush() {
    VIRTIO_TRY(ready());
    if (!has_write_cache()) return {};
    const errc how = host_->run(where_, synchronize_cache, no_data, direction::to_device, on_change::end);
    if (how != errc::unsupported || says_caching_ || !host_->last_failure().has(sense_key::illegal_request, 0x20)) return how;
    cached_ = false;
    return {};
  }
  /// Tells the unit that the contents of `count` sectors from `sector` on are not needed, as `blk::device::discard`.
  [[nodiscard]] result<void> discard(u64 sector, u64 count) {
    range_progress_ = 0;
    VIRTIO_TRY(may_discard());
    if (count != 0) VIRTIO_TRY(check_extent(sector, count));
    return virtio::detail::in_requests(
        range_progress_, sector, count, [this](u64, u64 left) { return virtio::detail::smaller(left, u64{most_unmapped_} << shift_); },
        [this](const extent& part) { return discard_one(part); });
  }
  [[nodiscard]] u64 range_progress() const { return range_progress_; }
  static constexpr u32 most_requests_per_call = virtio::detail::most_requests_per_call;

  /// As `check`, and looks at the unit again: a disk may grow and shrink, and a drive have another medium. On error the old facts stay.
  [[nodiscard]] result<void> refresh() {
    if (!is_up()) return errc::not_started;
    VIRTIO_TRY(host_->check());
    return open_again();
  }

  // The engine, as of `blk::device`; it is the host's, whose every unit shares it. Of a unit that never was opened it has nothing, and
  // returns `not_started`.

  [[nodiscard]] result<token> submit_read(u64 sector, bytes data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), typename Device::payload{.user = data}, cookie);
  }
  [[nodiscard]] result<token> submit_read(u64 sector, scatter<bytes> data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), data, cookie);
  }
  [[nodiscard]] result<token> submit_write(u64 sector, const_bytes data, u64 cookie = 0) {
    return submit(transfer_way::write, sector, data.size(), typename Device::payload{.user = readable(data)}, cookie);
  }
  [[nodiscard]] result<token> submit_write(u64 sector, scatter<const_bytes> data, u64 cookie = 0) {
    return submit(transfer_way::write, sector, data.size(), data, cookie);
  }
  [[nodiscard]] result<token> submit_flush(u64 cookie = 0) {
    VIRTIO_TRY(ready());
    if (!has_write_cache()) return errc::unsupported;
    return host_->submit(where_, synchronize_cache, no_data, direction::to_device, cookie);
  }
  /// One extent a command. Errors also: `table_full`, it names more; `out_of_range`, it is longer than the unit takes.
  [[nodiscard]] result<token> submit_discard(extents where, u64 cookie = 0) {
    VIRTIO_TRY(may_discard());
    if (where.count == 0) return errc::invalid_argument;
    if (where.count != 1) return errc::table_full;
    VIRTIO_TRY(check_extent(where.first->sector, where.first->count));
    if (where.first->count >> shift_ > most_unmapped_) return errc::out_of_range;
    const unmap_list list = list_of(*where.first);
    return host_->submit(where_, unmap, data_of(list), direction::to_device, cookie);
  }

  [[nodiscard]] u16 in_flight() const { return host_ != nullptr ? host_->in_flight() : u16{0}; }
  void kick() {
    if (host_ != nullptr) host_->kick();
  }
  [[nodiscard]] result<done> next_completion() {
    if (host_ == nullptr) return errc::not_started;
    return host_->next_completion();
  }
  [[nodiscard]] result<done> wait_next() {
    if (host_ == nullptr) return errc::not_started;
    return host_->wait_next();
  }
  [[nodiscard]] result<void> wait(token which) {
    if (host_ == nullptr) return errc::not_started;
    return host_->wait(which);
  }
  template <callable_with<done> F>
  usize poll(F&& take) { return host_ != nullptr ? host_->poll(take) : usize{0}; }
  template <callable_with<done> F>
  [[nodiscard]] result<void> drain(F&& take) {
    if (host_ == nullptr) return errc::not_started;
    return host_->drain(take);
  }
  [[nodiscard]] result<void> check() {
    if (host_ == nullptr) return errc::not_started;
    return host_->check();
  }

 private:
  using payload = typename Device::payload;
  using on_change = typename Device::on_change;
  static constexpr payload no_data{};

  [[nodiscard]] static bool is_disk(kind what) { return what == kind::disk || what == kind::reduced_disk; }
  [[nodiscard]] bool is_up() const { return host_ != nullptr && start_ == host_->starts_ && host_->set_.is_up(); }
  [[nodiscard]] result<void> ready() {
    if (!is_up()) return errc::not_started;
    if (seen_ == host_->changes_) [[likely]] return {};
    if (host_->has_changed(where_, seen_)) return errc::not_ready;
    seen_ = host_->changes_;
    return {};
  }

  [[nodiscard]] result<void> open_again() {
    unit fresh;
    VIRTIO_TRY(fresh.open(*host_, where_));
    *this = fresh;
    return {};
  }

  /// Of no unit, and of no size; the engine is the host's all the same.
  [[gnu::cold]] void close() {
    Device* const host = host_;
    *this = unit{};
    host_ = host;
  }

  [[nodiscard, gnu::noinline]] result<void> look(kind what) {
    Device& host = *host_;
    start_ = host.starts_;
    if (const errc how = host.run(where_, test_unit_ready, no_data, direction::to_device, on_change::repeat); how != errc::ok) return how;
    seen_ = host.changes_;  // those of before are answered by what follows
    VIRTIO_TRY(look_at_capacity(what));
    u64 most = virtio::detail::smaller(host.limits_.largest(), most_blocks * block_size());
    // What a unit need not know: it is what a unit says that knows nothing of it.
    read_only_ = what == kind::cd;
    cached_ = !read_only_;
    if (host.ask(where_, caching_mode, mode_bytes) == errc::ok) {
      if ((host.answered(2, 1) & 0x80) != 0) read_only_ = true;
      // Some send block descriptors that they were asked to leave out; the page follows them.
      const u32 page = 4 + static_cast<u32>(host.answered(3, 1));
      if (page + 3 <= mode_bytes && (host.answered(page, 1) & 0x3f) == 0x08) {
        if ((host.answered(page + 2, 1) & 0x04) == 0) cached_ = false;
        says_caching_ = true;
      }
    }
    if (is_disk(what) && host.ask(where_, block_limits, 64) == errc::ok && host.answered(1, 1) == 0xb0) {
      const u64 blocks = host.answered(8, 4);
      if (blocks != 0) most = virtio::detail::smaller(most, blocks * block_size());
      // 0: not said, but for a unit that takes none.
      const u32 unmapped = static_cast<u32>(host.answered(20, 4));
      if (most_unmapped_ != 0 && unmapped != 0) most_unmapped_ = unmapped;
    }
    VIRTIO_TRY(ready());
    largest_ = static_cast<u32>(most) & ~(block_size() - 1);
    return largest_ == 0 ? errc::unsupported : errc::ok;
  }
  /// By ten bytes, which every unit knows; by sixteen where those do not reach, or may say more.
  [[nodiscard]] result<void> look_at_capacity(kind what) {
    if (const errc how = host_->ask(where_, read_capacity_10, 8); how != errc::ok) return how;
    u64 last = host_->answered(0, 4);
    u64 block = host_->answered(4, 4);
    if (is_disk(what) || last == 0xffff'ffff) {
      const errc how = host_->ask(where_, read_capacity_16, 32);
      if (how == errc::ok) {
        last = host_->answered(0, 8);
        block = host_->answered(8, 4);
        if ((host_->answered(14, 1) & 0x80) != 0) most_unmapped_ = largest_transfer / sector_bytes;
      } else if (last == 0xffff'ffff || !host_->set_.is_up()) {
        return how;
      }
    }
    if (block < sector_bytes || block > 4096 || !virtio::detail::is_power_of_two(static_cast<u32>(block))) return errc::unsupported;
    while (block_size() != block) ++shift_;
    // An answer that was not written is one block; a disk without any says that its last is all ones.
    if (last >= ~u64{0} >> shift_) return errc::out_of_range;
    capacity_ = (last + 1) << shift_;
    return {};
  }

  [[nodiscard]] result<void> check_extent(u64 sector, u64 count) {
    VIRTIO_TRY(ready());
    return virtio::detail::check_extent(sector, count, capacity_, (1u << shift_) - 1);
  }
  [[nodiscard]] result<void> check_range(u64 sector, u64 size) {
    if (size % sector_bytes != 0) return errc::misaligned;
    return check_extent(sector, size / sector_bytes);
  }
  [[nodiscard]] result<void> may_discard() {
    VIRTIO_TRY(ready());
    if (is_read_only()) return errc::read_only;
    return can_discard() ? errc::ok : errc::unsupported;
  }

  // The device only reads it.
  [[nodiscard]] static bytes readable(const_bytes from) { return {const_cast<u8*>(from.data()), from.size()}; }
  [[nodiscard]] static direction direction_of(transfer_way what) {
    return what == transfer_way::read ? direction::from_device : direction::to_device;
  }
  [[nodiscard]] command command_of(transfer_way what, u64 sector, u64 size) const {
    return transfer(what, sector >> shift_, static_cast<u32>(size / sector_bytes >> shift_));
  }

  [[nodiscard]] result<void> move(transfer_way what, u64 sector, bytes all) {
    VIRTIO_TRY(ready());
    if (all.empty()) return {};
    VIRTIO_TRY(check_range(sector, all.size()));
    virtio::detail::request_splitter cut{block_size(), largest_, most_pieces()};
    while (!all.empty()) {
      const bytes part = cut.next(all);
      const errc ended = host_->run(where_, command_of(what, sector, part.size()), payload{.user = part}, direction_of(what),
                                    on_change::end);
      if (cut.retry_shorter(ended, part)) [[unlikely]] continue;
      VIRTIO_TRY(result<void>{ended});
      cut.advance(sector, all, part);
    }
    return {};
  }
  template <class Data>
  [[nodiscard]] result<token> submit(transfer_way what, u64 sector, u64 size, const Data& from, u64 cookie) {
    if (what == transfer_way::write && is_read_only()) return errc::read_only;
    VIRTIO_TRY(check_range(sector, size));
    if (size > largest_) return errc::out_of_range;
    return host_->submit(where_, command_of(what, sector, size), from, direction_of(what), cookie);
  }

  [[nodiscard]] unmap_list list_of(const extent& part) const {
    return {part.sector >> shift_, static_cast<u32>(part.count >> shift_)};
  }
  [[nodiscard]] static payload data_of(const unmap_list& list) { return {.from = payload::place::list, .list = &list}; }
  [[nodiscard]] result<void> discard_one(const extent& part) {
    const unmap_list list = list_of(part);
    return host_->run(where_, unmap, data_of(list), direction::to_device, on_change::end);
  }

  static constexpr u32 most_blocks = 32768;  // what the ten-byte commands can say, in whole powers of two

  Device* host_ = nullptr;
  u64 capacity_ = 0;  // sectors
  u64 range_progress_ = 0;
  u32 start_ = 0;         // of the device
  u32 seen_ = 0;          // changes at the device that this unit's facts are newer than
  u32 largest_ = 0;       // bytes in one command, whole blocks
  u32 most_unmapped_ = 0; // blocks in one command
  address where_{};
  u8 shift_ = 0;      // sectors in a block, as a power of two
  bool read_only_ = false;
  bool cached_ = false;
  bool says_caching_ = false;
};

}  // namespace virtio::scsi
