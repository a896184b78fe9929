// SPDX-License-Identifier: MIT
// One logical unit that a program only reads, as boot loaders do. `scsi::unit` adds writes and the other calls of a
// disk.
// Spec: virtio 1.4, 5.6; SBC-3, MMC-6. Layer: scsi.
#pragma once

#include <virtio/scsi/device.hpp>

namespace virtio::scsi {

/// A disk or a CD drive of `Device`, a `scsi::device`; one device has many. All bytes are zero until `open`. Refers to
/// the device, which must outlive it. Requests of all units of a device are in one queue: `next_completion` returns the
/// next completion of any unit, and its cookie identifies the request.
template <class Device>
class reader {
 public:
  using done = scsi::done;  // the end of one request

  /// Reads only the unit's capacity. One request is limited to 64 KiB, since the unit's own limit is not known. Waits
  /// for a unit that is becoming ready, within the platform's bound. Errors: `not_found`; `invalid_argument` (no unit
  /// has such a number); `unsupported` (not a disk; or its blocks have fewer than 512 bytes, more than 4,096, or not a
  /// power of two, or one block is more than a command accepts); `not_ready` (no medium); `out_of_range` (it reports
  /// 2^64 sectors or more); as `read`. `last_failure` has the details. After an error the unit is not open, and its
  /// engine is still that of `host`.
  [[nodiscard]] result<void> open(Device& host, address where) {
    *this = reader{};
    host_ = &host;
    const auto seen = where.lun > last_lun ? errc::invalid_argument : look(where);
    if (!seen) close();
    return seen;
  }

  /// The unit's address.
  [[nodiscard]] address where() const { return address_of(lun_); }
  /// The details of the last command whose end a call has returned, of any unit.
  [[nodiscard]] const failure& last_failure() const {
    static constexpr failure none{};
    return host_ != nullptr ? host_->last_failure() : none;
  }

  /// Size in sectors of 512 bytes, as of `open` or the last `refresh`; 0 while the device is down.
  [[nodiscard]] u64 capacity() const { return is_up() ? capacity_ : 0; }
  /// Bytes in one of the unit's blocks, a power of two. A request is a whole number of blocks, but positions and sizes
  /// are counted in sectors.
  [[nodiscard]] u32 block_size() const { return sector_bytes << shift_; }
  /// Maximum bytes of one request. Waiting calls split longer transfers; `submit_read` returns `out_of_range` for them.
  [[nodiscard]] u32 largest_request() const { return largest_; }
  /// Maximum number of pieces of memory in one request.
  [[nodiscard]] u16 most_pieces() const { return host_ != nullptr ? host_->limits_.segments() : u16{0}; }

  /// Reads any length, under the contract of `blk::device::read`, with these additions. If a command exceeds the
  /// platform's wait, the host's `options::late` decides how it ends. A unit that is not ready, or reports a UNIT
  /// ATTENTION first, gets the command again, within bounds. But after a report that the medium (28h) or the capacity
  /// (2Ah/09h) may have changed, all transfers end with `not_ready` until `refresh` or `open`: the data would be of
  /// another medium. Additional errors: `not_ready`, `canceled`, `not_found`, `unsupported`, as of `error_of`
  /// (scsi/sense.hpp).
  [[nodiscard]] result<void> read(u64 sector, bytes data) { return move(transfer_way::read, sector, data); }

  /// Checks as `check`, and reads the unit's facts again: a disk may grow and shrink, and a drive may have another
  /// medium. On error the old facts stay.
  [[nodiscard]] result<void> refresh() {
    if (!is_up()) return errc::not_started;
    VIRTIO_TRY(host_->check());
    reader fresh;
    VIRTIO_TRY(fresh.open(*host_, where()));
    *this = fresh;
    return {};
  }

  // The engine, as of `blk::device`. It belongs to the host, and all its units share it. A unit that was never opened
  // has no engine, and returns `not_started`.

  /// Stages one read, as `blk::device::submit_read`.
  [[nodiscard]] result<token> submit_read(u64 sector, bytes data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), data, cookie);
  }
  /// The same with data in several pieces.
  [[nodiscard]] result<token> submit_read(u64 sector, scatter<bytes> data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), data, cookie);
  }

  /// Requests in flight, of all units.
  [[nodiscard]] u16 in_flight() const { return host_ != nullptr ? host_->in_flight() : u16{0}; }
  /// Publishes staged requests of all units.
  void kick() {
    if (host_ != nullptr) host_->kick();
  }
  /// The next completion of any unit. Errors: `not_ready`; the device's.
  [[nodiscard]] result<done> next_completion() {
    if (host_ == nullptr) return errc::not_started;
    return host_->next_completion();
  }
  /// The same, and waits.
  [[nodiscard]] result<done> wait_next() {
    if (host_ == nullptr) return errc::not_started;
    return host_->wait_next();
  }
  /// Waits for one request; see the host's `wait`.
  [[nodiscard]] result<void> wait(token which) {
    if (host_ == nullptr) return errc::not_started;
    return host_->wait(which);
  }
  /// Calls `take(done)` for each completion; returns how many.
  template <callable_with<done> F>
  usize poll(F&& take) {
    return host_ != nullptr ? host_->poll(take) : usize{0};
  }
  /// The same until no request is in flight. Waits.
  template <callable_with<done> F>
  [[nodiscard]] result<void> drain(F&& take) {
    if (host_ == nullptr) return errc::not_started;
    return host_->drain(take);
  }
  /// Reads the device's status; see the host's `check`.
  [[nodiscard]] result<void> check() {
    if (host_ == nullptr) return errc::not_started;
    return host_->check();
  }

 protected:
  using on_change = typename Device::on_change;  // of the host
  /// READ CAPACITY (10) or (16).
  enum class capacity_command : u8 { of_ten, of_sixteen };

  /// Whether the device is up since `open`.
  [[nodiscard]] bool is_up() const { return host_ != nullptr && start_ == host_->starts_ && host_->set_.is_up(); }
  /// Whether the facts are valid. Errors: `not_started`, `not_ready`.
  [[nodiscard]] result<void> ready() {
    if (!is_up()) return errc::not_started;
    if (seen_ == host_->changes_) [[likely]]
      return {};
    if (host_->has_changed(lun_, seen_)) return errc::not_ready;
    seen_ = host_->changes_;
    return {};
  }

  /// Reads the capacity by the ten-byte command, which every unit supports; by the sixteen-byte command if ten bytes
  /// are not enough, or for more facts.
  [[nodiscard]] result<void> learn_capacity(capacity_command which) {
    Device& host = *host_;
    const u32 lun = lun_;
    if (const errc how = host.ask(lun, read_capacity_10, 8); how != errc::ok) return how;
    u64 last = host.answered(0, 4);
    u64 block = host.answered(4, 4);
    if (which == capacity_command::of_sixteen || last == 0xffff'ffff) {
      const errc how = host.ask(lun, read_capacity_16, 32);
      if (how == errc::ok) {
        last = host.answered(0, 8);
        block = host.answered(8, 4);
      } else if (last == 0xffff'ffff || !host.set_.is_up()) {
        return how;
      }
    }
    if (block < sector_bytes || block > 4096) return errc::unsupported;
    if (!virtio::detail::is_power_of_two(static_cast<u32>(block))) return errc::unsupported;
    shift_ = static_cast<u8>(__builtin_ctz(static_cast<u32>(block) / sector_bytes));
    // An answer that was not written means one block; a disk without blocks reports a last block of all ones.
    if (last >= ~u64{0} >> shift_) return errc::out_of_range;
    capacity_ = (last + 1) << shift_;
    return {};
  }
  /// Limits one request to the whole blocks in `most` bytes. Errors: `unsupported` (less than one block).
  [[nodiscard]] result<void> limit(u64 most) {
    largest_ = static_cast<u32>(most) & ~(block_size() - 1);
    return largest_ == 0 ? errc::unsupported : errc::ok;
  }

  /// Checks a range of sectors.
  [[nodiscard]] result<void> check_extent(u64 sector, u64 count) {
    VIRTIO_TRY(ready());
    return virtio::detail::check_extent(sector, count, capacity_, (1u << shift_) - 1);
  }
  /// Checks a range of `size` bytes.
  [[nodiscard]] result<void> check_range(u64 sector, u64 size) {
    if (size % sector_bytes != 0) return errc::misaligned;
    return check_extent(sector, size / sector_bytes);
  }

  /// The same memory, for `submit`. The device only reads it, so the cast is safe.
  [[nodiscard]] static bytes readable(const_bytes from) { return {const_cast<u8*>(from.data()), from.size()}; }
  /// The direction of a transfer's data.
  [[nodiscard]] static direction direction_of(transfer_way what) {
    return what == transfer_way::read ? direction::from_device : direction::to_device;
  }
  /// The command of a transfer.
  [[nodiscard]] command command_of(transfer_way what, u64 sector, u64 size) const {
    return transfer(what, sector >> shift_, static_cast<u32>(size / sector_bytes >> shift_));
  }

  /// Transfers any length, by one command after another.
  [[nodiscard]] result<void> move(transfer_way what, u64 sector, bytes all) {
    if (all.empty()) return ready();
    VIRTIO_TRY(check_range(sector, all.size()));
    virtio::detail::request_splitter cut{block_size(), largest_, most_pieces()};
    while (!all.empty()) {
      const bytes part = cut.next(all);
      const command next = command_of(what, sector, part.size());
      const errc ended = host_->run(lun_, next, part, direction_of(what), on_change::end);
      if (cut.retry_shorter(ended, part)) [[unlikely]]
        continue;
      VIRTIO_TRY(result<void>{ended});
      cut.advance(sector, all, part);
    }
    return {};
  }
  /// Stages one transfer.
  template <class Data>
  [[nodiscard]] result<token> submit(transfer_way what, u64 sector, u64 size, const Data& from, u64 cookie) {
    VIRTIO_TRY(check_range(sector, size));
    if (size > largest_) return errc::out_of_range;
    return host_->submit(lun_, command_of(what, sector, size), from, direction_of(what), cookie);
  }

  Device* host_ = nullptr;  // null until `open`
  u64 capacity_ = 0;        // sectors
  u32 start_ = 0;           // the device's start at `open`
  u32 seen_ = 0;            // changes at the device that are older than this unit's facts
  u32 largest_ = 0;         // bytes in one command, whole blocks
  u32 lun_ = 0;             // its address
  u8 shift_ = 0;            // sectors in a block, as a power of two

 private:
  static constexpr u32 careful = 65536;  // bytes of one request that every unit accepts

  [[nodiscard, gnu::noinline]] result<void> look(address where) {
    lun_ = lun_of(where);
    start_ = host_->starts_;
    VIRTIO_TRY(learn_capacity(capacity_command::of_ten));
    seen_ = host_->changes_;  // earlier ones are covered: the capacity was reported after them
    return limit(virtio::detail::smaller(host_->limits_.largest(), careful));
  }
  /// Detaches from the unit, without a size; the engine is still the host's.
  [[gnu::cold]] void close() {
    Device* const host = host_;
    *this = reader{};
    host_ = host;
  }
};

}  // namespace virtio::scsi
