// SPDX-License-Identifier: MIT
// One logical unit that a program only reads, as boot loaders do. `scsi::unit` adds writes and the other calls of a
// disk.
// Spec: virtio 1.4, 5.6; SBC-3, MMC-6. Layer: scsi.
#pragma once

#include <virtio/scsi/device.hpp>

namespace virtio::scsi {

/// A disk or a CD drive behind `Device`, a `scsi::device`; one device has many. All-zero until `open`. Refers to the
/// device, which must outlive it. Requests of all units of a device are in one queue: `next_completion` returns the
/// next completion of any unit, and its cookie identifies the request.
template <class Device>
class reader {
 public:
  using done = scsi::done;

  /// Reads the unit's capacity, and nothing else: one request is limited to 64 KiB, since the unit's own limit is not
  /// known. Waits for a unit that is becoming ready, within the platform's bound. Errors: `not_found`;
  /// `invalid_argument`, no unit has such a number; `unsupported`, it is no disk, its blocks have fewer than 512 bytes,
  /// more than 4,096, or no power of two, or one block is more than a command takes; `not_ready`, it has no medium;
  /// `out_of_range`, it reports 2^64 sectors or more; as `read`. `last_failure` has the details. After an error the
  /// unit is not open, and its engine is still that of `host`.
  [[nodiscard]] result<void> open(Device& host, address where) {
    *this = reader{};
    host_ = &host;
    const auto seen = where.lun > last_lun ? errc::invalid_argument : look(where);
    if (!seen) close();
    return seen;
  }

  [[nodiscard]] address where() const { return address_of(lun_); }
  [[nodiscard]] const failure& last_failure() const {
    static constexpr failure none{};
    return host_ != nullptr ? host_->last_failure() : none;
  }

  /// Size in sectors of 512 bytes, as it was at `open` or at the last `refresh`; 0 while the device is down.
  [[nodiscard]] u64 capacity() const { return is_up() ? capacity_ : 0; }
  /// Bytes in one of the unit's own blocks, a power of two. Requests are whole blocks, though sectors are counted.
  [[nodiscard]] u32 block_size() const { return sector_bytes << shift_; }
  /// The most bytes of one request. Waiting calls split longer transfers; `submit_read` returns `out_of_range` for
  /// them.
  [[nodiscard]] u32 largest_request() const { return largest_; }
  /// Over how many pieces of memory one request may be scattered.
  [[nodiscard]] u16 most_pieces() const { return host_ != nullptr ? host_->limits_.segments() : u16{0}; }

  /// Reads any length, as `blk::device` does, to whose contract this adds: a command that takes longer than the
  /// platform waits ends as `options::late` of the host has it. A unit that is not ready, or has something to say first
  /// (UNIT ATTENTION), is asked again within bounds. But after a report that the medium (28h) or the capacity (2Ah/09h)
  /// may have changed, all transfers end with `not_ready` until `refresh` or `open`: the data would be of another
  /// medium. Errors also: `not_ready`, `canceled`, `not_found`, `unsupported` as `error_of` (scsi/sense.hpp) has them.
  [[nodiscard]] result<void> read(u64 sector, bytes data) { return move(transfer_way::read, sector, data); }

  /// As `check`, and looks at the unit again: a disk may grow and shrink, and a drive have another medium. On error the
  /// old facts stay.
  [[nodiscard]] result<void> refresh() {
    if (!is_up()) return errc::not_started;
    VIRTIO_TRY(host_->check());
    reader fresh;
    VIRTIO_TRY(fresh.open(*host_, where()));
    *this = fresh;
    return {};
  }

  // The engine, as of `blk::device`; it is the host's, whose every unit shares it. Of a unit that never was opened it
  // has nothing, and returns `not_started`.

  [[nodiscard]] result<token> submit_read(u64 sector, bytes data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), data, cookie);
  }
  [[nodiscard]] result<token> submit_read(u64 sector, scatter<bytes> data, u64 cookie = 0) {
    return submit(transfer_way::read, sector, data.size(), data, cookie);
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

 protected:
  using on_change = typename Device::on_change;
  enum class capacity_command : u8 { of_ten, of_sixteen };

  [[nodiscard]] bool is_up() const { return host_ != nullptr && start_ == host_->starts_ && host_->set_.is_up(); }
  [[nodiscard]] result<void> ready() {
    if (!is_up()) return errc::not_started;
    if (seen_ == host_->changes_) [[likely]] return {};
    if (host_->has_changed(lun_, seen_)) return errc::not_ready;
    seen_ = host_->changes_;
    return {};
  }

  /// By ten bytes, which every unit knows; by sixteen where those do not reach, or may say more.
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
    // An answer that was not written is one block; a disk without any says that its last is all ones.
    if (last >= ~u64{0} >> shift_) return errc::out_of_range;
    capacity_ = (last + 1) << shift_;
    return {};
  }
  /// Limits one request to the whole blocks of `most` bytes. Errors: `unsupported`, that is no block.
  [[nodiscard]] result<void> limit(u64 most) {
    largest_ = static_cast<u32>(most) & ~(block_size() - 1);
    return largest_ == 0 ? errc::unsupported : errc::ok;
  }

  [[nodiscard]] result<void> check_extent(u64 sector, u64 count) {
    VIRTIO_TRY(ready());
    return virtio::detail::check_extent(sector, count, capacity_, (1u << shift_) - 1);
  }
  [[nodiscard]] result<void> check_range(u64 sector, u64 size) {
    if (size % sector_bytes != 0) return errc::misaligned;
    return check_extent(sector, size / sector_bytes);
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
      const command next = command_of(what, sector, part.size());
      const errc ended = host_->run(lun_, next, part, direction_of(what), on_change::end);
      if (cut.retry_shorter(ended, part)) [[unlikely]] continue;
      VIRTIO_TRY(result<void>{ended});
      cut.advance(sector, all, part);
    }
    return {};
  }
  template <class Data>
  [[nodiscard]] result<token> submit(transfer_way what, u64 sector, u64 size, const Data& from, u64 cookie) {
    VIRTIO_TRY(check_range(sector, size));
    if (size > largest_) return errc::out_of_range;
    return host_->submit(lun_, command_of(what, sector, size), from, direction_of(what), cookie);
  }

  Device* host_ = nullptr;
  u64 capacity_ = 0;  // sectors
  u32 start_ = 0;     // of the device
  u32 seen_ = 0;      // changes at the device that this unit's facts are newer than
  u32 largest_ = 0;   // bytes in one command, whole blocks
  u32 lun_ = 0;       // its address
  u8 shift_ = 0;      // sectors in a block, as a power of two

 private:
  static constexpr u32 careful = 65536;  // bytes of one request, which every unit takes

  [[nodiscard, gnu::noinline]] result<void> look(address where) {
    lun_ = lun_of(where);
    start_ = host_->starts_;
    VIRTIO_TRY(learn_capacity(capacity_command::of_ten));
    seen_ = host_->changes_;  // earlier ones are covered: the capacity was reported after them
    return limit(virtio::detail::smaller(host_->limits_.largest(), careful));
  }
  /// Of no unit, and of no size; the engine is still the host's.
  [[gnu::cold]] void close() {
    Device* const host = host_;
    *this = reader{};
    host_ = host;
  }
};

}  // namespace virtio::scsi
