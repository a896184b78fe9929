// SPDX-License-Identifier: MIT
// One logical unit with the calls of a disk: disks and CD drives. A program for a `virtio::block_storage` accepts this
// or a `blk::device`.
// Spec: virtio 1.4, 5.6; SBC-3, MMC-6. Layer: scsi.
#pragma once

#include <virtio/scsi/reader.hpp>

namespace virtio::scsi {

/// A disk or a CD drive with all calls of a disk. The contract of `reader` also applies.
template <class Device>
class unit : public reader<Device> {
  using base = reader<Device>;

 public:
  using base::block_size;
  /// As `reader::last_failure`.
  using base::last_failure;

  /// Reads the unit's kind, capacity, write protection, and limits of one command. Waits for a unit that is becoming
  /// ready, within the platform's bound. Errors: `not_found`; `wrong_device` (not a disk); `not_ready` (no medium, or a
  /// change during the call); `unsupported` (its blocks have fewer than 512 bytes, more than 4,096, or not a power of
  /// two, or one block is more than a command accepts); `out_of_range` (it reports 2^64 sectors or more); as `read`.
  /// `last_failure` has the details. After an error the unit is not open, and its engine is still that of `host`.
  [[nodiscard]] result<void> open(Device& host, address where) {
    *this = unit{};
    host_ = &host;
    VIRTIO_TRY_ASSIGN(const found one, host.inquire(where));
    if (!is_disk(one.kind) && one.kind != kind::cd && one.kind != kind::optical) return errc::wrong_device;
    lun_ = lun_of(where);
    const auto seen = look(one.kind);
    if (!seen) close();
    return seen;
  }

  /// Whether writes fail with `read_only`.
  [[nodiscard]] bool is_read_only() const { return read_only_; }
  /// Whether completed writes need a `flush` to be stable. A unit that does not report it is assumed to have a cache.
  [[nodiscard]] bool has_write_cache() const { return cached_; }
  /// Maximum bytes of one request, by the host's max_sectors (5.6.4), the unit's block limits, and the commands.
  /// Waiting calls split longer transfers; `submit_read` and `submit_write` return `out_of_range` for them.
  [[nodiscard]] u32 largest_request() const { return base::largest_request(); }
  /// Whether the unit supports `discard`.
  [[nodiscard]] bool can_discard() const { return most_unmapped_ != 0; }

  /// Writes any length, under the contract of `read`: a write never reaches another medium. Additional error:
  /// `read_only`.
  [[nodiscard]] result<void> write(u64 sector, const_bytes data) {
    if (is_read_only()) return errc::read_only;
    return move(transfer_way::write, sector, readable(data));
  }
  /// Makes all completed writes stable. Does nothing on a unit without a write cache. A unit that neither reports a
  /// cache nor supports SYNCHRONIZE CACHE has none.
  [[nodiscard]] result<void> flush() {
    VIRTIO_TRY(ready());
    if (!has_write_cache()) return {};
    const errc how = host_->run(lun_, synchronize_cache, bytes{}, direction::to_device, on_change::end);
    if (how != errc::unsupported || says_caching_ || !host_->last_failure().has(sense_key::illegal_request, 0x20))
      return how;
    cached_ = false;
    return {};
  }
  /// Informs the unit that the contents of `count` sectors from `sector` on are not needed, as `blk::device::discard`.
  [[nodiscard]] result<void> discard(u64 sector, u64 count) {
    range_progress_ = 0;
    VIRTIO_TRY(may_discard());
    if (count != 0) VIRTIO_TRY(check_extent(sector, count));
    return virtio::detail::in_requests(
        range_progress_, sector, count,
        [this](u64, u64 left) { return virtio::detail::smaller(left, u64{most_unmapped_} << shift_); },
        [this](const extent& part) { return discard_one(part); });
  }
  /// Sectors that the last `discard` completed, as `blk::device`.
  [[nodiscard]] u64 range_progress() const { return range_progress_; }
  /// The bound of requests of one call.
  static constexpr u32 most_requests_per_call = virtio::detail::most_requests_per_call;

  /// Checks as `check`, and reads the unit's facts again: a disk may grow and shrink, and a drive may have another
  /// medium. On error the old facts stay.
  [[nodiscard]] result<void> refresh() {
    if (!is_up()) return errc::not_started;
    VIRTIO_TRY(host_->check());
    unit fresh;
    VIRTIO_TRY(fresh.open(*host_, base::where()));
    *this = fresh;
    return {};
  }

  // The engine. `submit_read` is in `reader`.

  /// Stages one write, as `blk::device::submit_write`.
  [[nodiscard]] result<token> submit_write(u64 sector, const_bytes data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    return submit(transfer_way::write, sector, data.size(), readable(data), cookie);
  }
  /// The same with data in several pieces.
  [[nodiscard]] result<token> submit_write(u64 sector, scatter<const_bytes> data, u64 cookie = 0) {
    if (is_read_only()) return errc::read_only;
    return submit(transfer_way::write, sector, data.size(), data, cookie);
  }
  /// Stages a flush. Additional error: `unsupported` without a write cache.
  [[nodiscard]] result<token> submit_flush(u64 cookie = 0) {
    VIRTIO_TRY(ready());
    if (!has_write_cache()) return errc::unsupported;
    return host_->submit(lun_, synchronize_cache, bytes{}, direction::to_device, cookie);
  }
  /// Stages a discard of one extent. Additional errors: `table_full` (more extents); `out_of_range` (longer than the
  /// unit accepts).
  [[nodiscard]] result<token> submit_discard(extents where, u64 cookie = 0) {
    VIRTIO_TRY(may_discard());
    if (where.count == 0) return errc::invalid_argument;
    if (where.count != 1) return errc::table_full;
    VIRTIO_TRY(check_extent(where.first->sector, where.first->count));
    if (where.first->count >> shift_ > most_unmapped_) return errc::out_of_range;
    return host_->submit(lun_, unmap, list_of(*where.first), direction::to_device, cookie);
  }

 private:
  using typename base::capacity_command;
  using typename base::on_change;
  using base::check_extent;
  using base::host_;
  using base::is_up;
  using base::limit;
  using base::lun_;
  using base::move;
  using base::readable;
  using base::ready;
  using base::shift_;
  using base::submit;

  [[nodiscard]] static bool is_disk(kind what) { return what == kind::disk || what == kind::reduced_disk; }
  /// Detaches from the unit, without a size; the engine is still the host's.
  [[gnu::cold]] void close() {
    Device* const host = host_;
    *this = unit{};
    host_ = host;
  }

  [[nodiscard, gnu::noinline]] result<void> look(kind what) {
    Device& host = *host_;
    this->start_ = host.starts_;
    if (const errc how = host.run(lun_, test_unit_ready, bytes{}, direction::to_device, on_change::repeat);
        how != errc::ok)
      return how;
    this->seen_ = host.changes_;  // earlier changes are covered by the commands below
    VIRTIO_TRY(this->learn_capacity(is_disk(what) ? capacity_command::of_sixteen : capacity_command::of_ten));
    if (is_disk(what) && (host.answered(14, 1) & 0x80) != 0) most_unmapped_ = largest_transfer / sector_bytes;
    u64 most = virtio::detail::smaller(host.limits_.largest(), most_blocks * block_size());
    // Units need not support this page: these are the values of a unit without it.
    read_only_ = what == kind::cd;
    cached_ = !read_only_;
    if (host.ask(lun_, caching_mode, mode_bytes) == errc::ok) {
      if ((host.answered(2, 1) & 0x80) != 0) read_only_ = true;
      // Some units send block descriptors although the command excludes them; the page follows them.
      const u32 page = 4 + static_cast<u32>(host.answered(3, 1));
      if (page + 3 <= mode_bytes && (host.answered(page, 1) & 0x3f) == 0x08) {
        if ((host.answered(page + 2, 1) & 0x04) == 0) cached_ = false;
        says_caching_ = true;
      }
    }
    if (is_disk(what) && host.ask(lun_, block_limits, 64) == errc::ok && host.answered(1, 1) == 0xb0) {
      const u64 blocks = host.answered(8, 4);
      if (blocks != 0) most = virtio::detail::smaller(most, blocks * block_size());
      // 0: not reported; or the unit accepts no UNMAP.
      const u32 unmapped = static_cast<u32>(host.answered(20, 4));
      if (most_unmapped_ != 0 && unmapped != 0) most_unmapped_ = unmapped;
    }
    VIRTIO_TRY(ready());
    return limit(most);
  }
  [[nodiscard]] result<void> may_discard() {
    VIRTIO_TRY(ready());
    if (is_read_only()) return errc::read_only;
    return can_discard() ? errc::ok : errc::unsupported;
  }

  [[nodiscard]] unmap_list list_of(const extent& part) const {
    return {part.sector >> shift_, static_cast<u32>(part.count >> shift_)};
  }
  [[nodiscard]] result<void> discard_one(const extent& part) {
    host_->cells_.write_room(list_of(part));
    return host_->run(lun_, unmap, host_->room(unmap_list_bytes), direction::to_device, on_change::end);
  }

  static constexpr u32 most_blocks = 32768;  // the maximum of the ten-byte commands, as a power of two

  u64 range_progress_ = 0;
  u32 most_unmapped_ = 0;  // blocks in one command
  bool read_only_ = false;
  bool cached_ = false;
  bool says_caching_ = false;
};

}  // namespace virtio::scsi
