// SPDX-License-Identifier: MIT
// The calls of a disk besides read, write and flush: discard, write zeroes, secure erase, identification, wear, write
// cache, topology, a new capacity. Each is a request or a part of config. blk/device.hpp makes requests and waits for
// them; its `device` inherits these calls.
// Spec: virtio 1.4, 5.2.4 to 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/extents.hpp>
#include <virtio/blk/facts.hpp>
#include <virtio/blk/limits.hpp>
#include <virtio/device/request_queue.hpp>

namespace virtio::blk {

/// These calls. `Disk` is the `blk::device` that derives from this class and makes the requests.
template <class Disk>
class extras {
 public:
  // Properties --------------------------------------------------------------------------------------------------------

  /// Reads the disk's identification (serial): up to 20 characters, without a NUL if it has 20. The bytes after a NUL
  /// are undefined. With `alignas(32)` the array is in one page, and so in one piece (`most_pieces`) of memory that is
  /// scattered by pages. Waits and fails as `read`. Additional error: `unsupported`.
  [[nodiscard]] result<void> get_id(u8 (&id)[id_bytes]) { return disk().wait_for(submit_get_id(id)); }

  /// Stages a request for the identification, exactly 20 bytes, as `submit_read`.
  [[nodiscard]] result<token> submit_get_id(u8 (&id)[id_bytes], u64 cookie = 0) {
    return disk().submit(request::get_id, 0, bytes{id, id_bytes}, direction::from_device, cookie);
  }

  /// Returns hints for the placement of requests. Errors: `unsupported`: the device does not report them;
  /// `out_of_range`: its config ends before them; `not_started`; `device_misbehaved`.
  [[nodiscard]] result<topology> get_topology() const {
    VIRTIO_TRY(disk().set_.ready());
    return read_topology(disk().set_.session(), disk().limits_.block_sectors());
  }

  /// Checks the status, as `check`, and reads capacity and limits again: a disk may grow and shrink while it runs.
  /// Requests in flight follow the old limits; the device fails those that exceed its new end. Errors: as `check`;
  /// `unsupported` and `device_misbehaved`: the new limits are invalid, and the old ones stay.
  [[nodiscard]] result<void> refresh() {
    VIRTIO_TRY(disk().check());
    limits fresh;
    verdict wrong;
    VIRTIO_TRY(fresh.read(disk().set_.session(), disk().longest_data(), wrong));
    disk().limits_ = fresh;
    extent_limits_.forget();
    return {};
  }

  /// Reads the disk's wear. Waits and fails as `read`. Additional error: `unsupported`: the device does not report it.
  [[nodiscard]] result<lifetime> get_lifetime() {
    VIRTIO_TRY(disk().set_.ready());
    if (!disk().features().has(feature::lifetime)) return errc::unsupported;
    VIRTIO_TRY_ASSIGN(const u16 slot, disk().reserve());
    auto& cells = *disk().cells_.template own<lifetime_cells<Disk::cells::order>>(slot);
    cells.clear();
    VIRTIO_TRY_ASSIGN(const token mine,
                      submit_own(request::get_lifetime, slot, sizeof cells, direction::from_device, 0));
    answer ended;
    if (const errc waited = disk().await(mine, owner::call, ended); waited != errc::ok) return waited;
    const lifetime said = cells.template fetch<typename Disk::barriers>();
    if (const errc how = disk().finish(ended); how != errc::ok) return how;
    return said;
  }

  /// Enables or disables the device's write cache. Disabling it flushes earlier writes; after that `flush` does
  /// nothing. Exception: if other requests were in flight in the meantime, their writes may be in the cache, and
  /// `flush` still makes requests. Errors: as `flush`; `unsupported`: the device has no such switch; `io_error`: the
  /// device did not switch.
  [[nodiscard]] result<void> set_write_cache(cache_mode mode) {
    VIRTIO_TRY(disk().set_.ready());
    if (!disk().features().has(feature::config_wce)) return errc::unsupported;
    disk().writes_through_ = false;
    VIRTIO_TRY(write_cache_mode(disk().set_.session(), mode));
    if (mode == cache_mode::writeback) return {};
    VIRTIO_TRY(disk().wait_for(disk().submit_flush()));  // the switch itself makes nothing stable (5.2.6.1)
    disk().writes_through_ = disk().in_flight() == 0;
    return {};
  }

  // Extents: blocking calls for one of any length, and `submit_*` for several -----------------------------------------

  /// Discards `count` sectors from `sector` on: until they are written again, their contents are undefined. The call
  /// makes a request for each part that the device's limits allow. If one fails, some parts are discarded and some are
  /// not. A call makes at most `most_requests_per_call` requests; continue with another call after the sectors of
  /// `range_progress`. Waits and fails as `write`. Additional errors: `unsupported`: the device does not support it;
  /// `unfinished`: sectors remain.
  [[nodiscard]] result<void> discard(u64 sector, u64 count) {
    return by_requests(operation::discard, sector, count, unmap::no);
  }

  /// Makes `count` sectors from `sector` on read as zeroes, without transferring zeroes. Otherwise as `discard`.
  [[nodiscard]] result<void> write_zeroes(u64 sector, u64 count, unmap memory = unmap::no) {
    return by_requests(operation::write_zeroes, sector, count, memory);
  }

  /// Destroys the contents of `count` sectors from `sector` on, and all copies in the device. Otherwise as `discard`.
  [[nodiscard]] result<void> secure_erase(u64 sector, u64 count) {
    return by_requests(operation::secure_erase, sector, count, unmap::no);
  }

  /// Returns how many sectors, from the first one on, the last of these three calls has processed, whatever it
  /// returned:
  ///     for (u64 at = 0; at < count; at += disk.range_progress())
  ///       if (auto r = disk.discard(first + at, count - at); !r && r.error() != errc::unfinished) return r;
  [[nodiscard]] u64 range_progress() const { return range_progress_; }
  /// Maximum number of requests of one of these three calls.
  static constexpr u32 most_requests_per_call = virtio::detail::most_requests_per_call;

  /// Stages a discard of several extents, as `submit_write`. The list is not used after the call. Additional errors:
  /// `unsupported`: the device does not support it; `out_of_range` also beyond `limits_of(operation::discard)`;
  /// `table_full`: more than `options::extents` extents; `too_many_pieces`: their 16 bytes each take more segments of
  /// the device's size than a request has. After `io_error` the state of each extent is unknown.
  /// Cost: the first call of an operation after `start` or `refresh` reads config.
  [[nodiscard]] result<token> submit_discard(extents where, u64 cookie = 0) {
    return submit_extents(operation::discard, where, unmap::no, cookie);
  }
  /// Stages a write of zeroes, as `submit_discard`. After `io_error` some of the extents may be written and some not.
  [[nodiscard]] result<token> submit_write_zeroes(extents where, unmap memory = unmap::no, u64 cookie = 0) {
    return submit_extents(operation::write_zeroes, where, memory, cookie);
  }
  /// Stages a secure erase, as `submit_discard`.
  [[nodiscard]] result<token> submit_secure_erase(extents where, u64 cookie = 0) {
    return submit_extents(operation::secure_erase, where, unmap::no, cookie);
  }

  /// Returns the device's limits on one request of an operation. Errors: `unsupported`, also if the config ends before
  /// the limits; `not_started`; `device_misbehaved`.
  [[nodiscard]] result<extent_limits> limits_of(operation what) {
    VIRTIO_TRY(disk().set_.ready());
    return extent_limits_.of(disk().set_.session(), what, disk().limits_.block_sectors());
  }

 protected:
  /// Drops the limits of the previous device. `start` calls it.
  void forget_extent_limits() { extent_limits_.forget(); }

 private:
  [[nodiscard]] Disk& disk() { return static_cast<Disk&>(*this); }
  [[nodiscard]] const Disk& disk() const { return static_cast<const Disk&>(*this); }

  /// Stages a request: header, extents, status.
  [[nodiscard]] result<token> submit_extents(operation what, extents where, unmap memory, u64 cookie) {
    if (disk().is_read_only()) return errc::read_only;
    VIRTIO_TRY_ASSIGN(const extent_limits most, limits_of(what));
    if (where.count == 0) return errc::invalid_argument;
    if (where.count > most.extents) return errc::out_of_range;
    if (where.count > Disk::cells::extents) return errc::table_full;
    VIRTIO_TRY_ASSIGN(const u16 slot, disk().reserve());
    auto* cells = disk().cells_.template own<extent_cells<Disk::cells::order>>(slot);
    for (const extent& one : where) {
      VIRTIO_TRY(disk().check_extent(one.sector, one.count));
      if (one.count > most.sectors) return errc::out_of_range;
      cells->sector.store(one.sector);
      cells->count.store(static_cast<u32>(one.count));
      cells->flags.store(static_cast<u32>(memory));
      ++cells;
    }
    return submit_own(request_of(what), slot, sizeof *cells * where.count, direction::to_device, cookie);
  }

  /// Stages a request: header, `size` bytes of the slot's room, status.
  [[nodiscard]] result<token> submit_own(request what, u16 slot, usize size, direction way, u64 cookie) {
    segment room[Disk::longest_list];
    segments chain{room};
    disk().begin(chain, slot);
    // The last place is for the status byte.
    if (!chain.push(disk().cells_.own_at(slot), size, way) || chain.size() == chain.capacity())
      return errc::too_many_pieces;
    return disk().finish_chain(slot, chain, 0, what, 0, cookie);
  }

  [[nodiscard]] result<void> by_requests(operation what, u64 sector, u64 count, unmap memory) {
    range_progress_ = 0;
    if (disk().is_read_only()) return errc::read_only;
    VIRTIO_TRY_ASSIGN(const extent_limits most, limits_of(what));
    if (count != 0) VIRTIO_TRY(disk().check_extent(sector, count));
    return virtio::detail::in_requests(
        range_progress_, sector, count, [&most](u64 at, u64 left) { return most.part(at, left); },
        [&](const extent& part) { return disk().wait_for(submit_extents(what, part, memory, 0)); });
  }

  u64 range_progress_ = 0;
  extent_limits_table extent_limits_{};
};

}  // namespace virtio::blk
