// SPDX-License-Identifier: MIT
// What a disk can do besides reading, writing and flushing: discard, write zeroes, secure erase, identification, wear, write cache,
// topology, a new capacity. Each is a request or a part of config. How a request is made and waited for is in blk/device.hpp, whose
// `device` has these calls as its own.
// Spec: virtio 1.4, 5.2.4 to 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/extents.hpp>
#include <virtio/blk/facts.hpp>
#include <virtio/blk/limits.hpp>
#include <virtio/device/request_queue.hpp>

namespace virtio::blk {

/// These calls. `Disk` is the `blk::device` that derives from them and makes their requests.
template <class Disk>
class extras {
 public:
  // Facts ----------------------------------------------------------------------------------------------------------------

  /// The disk's identification (serial), up to 20 characters, not terminated when it fills them all; behind a NUL hosts leave
  /// what they like. `alignas(32)` keeps it in one page, and so in one piece (`most_pieces`) of memory that is scattered by pages.
  [[nodiscard]] result<void> get_id(u8 (&id)[id_bytes]) { return disk().wait_for(submit_get_id(id)); }

  /// Stages a request for the identification; exactly 20 bytes.
  [[nodiscard]] result<token> submit_get_id(u8 (&id)[id_bytes], u64 cookie = 0) {
    return disk().submit(request::get_id, 0, bytes{id, id_bytes}, direction::from_device, cookie);
  }

  /// How to place requests best. Errors: `unsupported` when the device does not say, `out_of_range` when its config ends before
  /// it does, `not_started`, `device_misbehaved`.
  [[nodiscard]] result<topology> get_topology() const {
    VIRTIO_TRY(disk().set_.ready());
    return read_topology(disk().set_.session(), disk().limits_.block_sectors());
  }

  /// As `check`, and reads capacity and limits again: a disk may grow and shrink while it runs. Requests that are out already keep
  /// to what was; the device fails those that reach past its new end. Errors: as `check`; `unsupported` and
  /// `device_misbehaved`, the new limits make no sense, and the old ones stay.
  [[nodiscard]] result<void> refresh() {
    VIRTIO_TRY(disk().check());
    limits fresh;
    verdict wrong;
    VIRTIO_TRY(fresh.read(disk().set_.session(), disk().longest_data(), wrong));
    disk().limits_ = fresh;
    extent_limits_.forget();
    return {};
  }

  /// How worn the disk is. Waits and fails as `read`. Errors also: `unsupported` when the device does not say.
  [[nodiscard]] result<lifetime> get_lifetime() {
    VIRTIO_TRY(disk().set_.ready());
    if (!disk().features().has(feature::lifetime)) return errc::unsupported;
    VIRTIO_TRY_ASSIGN(const u16 slot, disk().reserve());
    auto& cells = *disk().cells_.template own<lifetime_cells<Disk::cells::order>>(slot);
    cells.clear();
    VIRTIO_TRY_ASSIGN(const token mine, submit_own(request::get_lifetime, slot, sizeof cells, direction::from_device, 0));
    answer ended;
    if (const errc waited = disk().await(mine, owner::call, ended); waited != errc::ok) return waited;
    const lifetime said = cells.template fetch<typename Disk::barriers>();
    if (const errc how = disk().finish(ended); how != errc::ok) return how;
    return said;
  }

  /// Switches the device's write cache on or off. Switching it off flushes what was written before, and makes `flush` free from
  /// then on; unless other requests were in flight meanwhile, whose writes may still be in the cache: `flush` goes on then.
  /// Errors: as `flush`, `unsupported` when the device cannot, `io_error` when it does not.
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

  // Extents: one of any length, which waits, or some, which do not ------------------------------------------------------

  /// Tells the device that the contents of `count` sectors from `sector` on are not needed; until they are written again they read as
  /// anything. Split where the device's limits are, each part a request of its own: when one fails, some may be discarded and
  /// some not. The device says how much one request may name, and a call makes `most_requests_per_call` of them at most: what is left
  /// then is for the next call, from where `range_progress` says that this one came. Waits and fails as `write`. Errors also:
  /// `unsupported` when the device cannot; `unfinished`, there is more to do.
  [[nodiscard]] result<void> discard(u64 sector, u64 count) { return by_requests(operation::discard, sector, count, unmap::no); }

  /// Makes `count` sectors from `sector` on read as zeroes, without the data to write, likewise.
  [[nodiscard]] result<void> write_zeroes(u64 sector, u64 count, unmap memory = unmap::no) {
    return by_requests(operation::write_zeroes, sector, count, memory);
  }

  /// Destroys what is in `count` sectors from `sector` on, and all copies that the device has of it, likewise.
  [[nodiscard]] result<void> secure_erase(u64 sector, u64 count) {
    return by_requests(operation::secure_erase, sector, count, unmap::no);
  }

  /// How many sectors, from the first one on, the last call of these three is done with, whatever it returned:
  ///     for (u64 at = 0; at < count; at += disk.range_progress())
  ///       if (auto r = disk.discard(first + at, count - at); !r && r.error() != errc::unfinished) return r;
  [[nodiscard]] u64 range_progress() const { return range_progress_; }
  static constexpr u32 most_requests_per_call = virtio::detail::most_requests_per_call;

  /// Stages a discard of some extents; the list may go when this returns. Errors also: `unsupported` when the device cannot,
  /// `out_of_range` beyond `limits_of(operation::discard)` too, `table_full` with more than `options::extents` of them,
  /// `too_many_pieces` when their 16 bytes each take more segments of the device's size than a request has. After `io_error` nothing is
  /// known of any of the extents.
  /// Cost: the first call of a kind after `start` or `refresh` reads config.
  [[nodiscard]] result<token> submit_discard(extents where, u64 cookie = 0) {
    return submit_extents(operation::discard, where, unmap::no, cookie);
  }
  /// Stages a write of zeroes, likewise; `io_error` leaves some of the extents written and some not.
  [[nodiscard]] result<token> submit_write_zeroes(extents where, unmap memory = unmap::no, u64 cookie = 0) {
    return submit_extents(operation::write_zeroes, where, memory, cookie);
  }
  /// Stages a secure erase, likewise.
  [[nodiscard]] result<token> submit_secure_erase(extents where, u64 cookie = 0) {
    return submit_extents(operation::secure_erase, where, unmap::no, cookie);
  }

  /// What the device takes in one request to discard, write zeroes or erase securely. Errors: `unsupported`, also when its config
  /// ends before it says so; `not_started`, `device_misbehaved`.
  [[nodiscard]] result<extent_limits> limits_of(operation what) {
    VIRTIO_TRY(disk().set_.ready());
    return extent_limits_.of(disk().set_.session(), what, disk().limits_.block_sectors());
  }

 protected:
  /// For a device that is started.
  void forget_extent_limits() { extent_limits_.forget(); }

 private:
  [[nodiscard]] Disk& disk() { return static_cast<Disk&>(*this); }
  [[nodiscard]] const Disk& disk() const { return static_cast<const Disk&>(*this); }

  /// Header, extents, status.
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

  /// Header, `size` bytes of the slot's own room, status.
  [[nodiscard]] result<token> submit_own(request what, u16 slot, usize size, direction way, u64 cookie) {
    segment room[Disk::longest_list];
    segments chain{room};
    disk().begin(chain, slot);
    // The status byte needs the last place.
    if (!chain.push(disk().cells_.own_at(slot), size, way) || chain.size() == chain.capacity()) return errc::too_many_pieces;
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
