// SPDX-License-Identifier: MIT
// The parts that all disk drivers share, whatever the format of their requests: sectors, extents, the limits of a
// transfer, the splitting of long transfers, and the interface of any disk for programs.
// Layer: device.
#pragma once

#include <virtio/device/request_queue.hpp>

namespace virtio {

/// Bytes of a sector. All sector numbers and capacities count these, whatever the disk's block size.
inline constexpr u32 sector_bytes = 512;

/// A disk that is up, as a program uses it: the calls that `blk::device` and `scsi::unit` share. Their starts differ.
template <class D>
concept block_storage = requires(D d, const D c, u64 sector, bytes to, const_bytes from, scatter<bytes> parts,
                                 scatter<const_bytes> pieces, token which) {
  { c.capacity() } -> same_as<u64>;
  { c.is_read_only() } -> same_as<bool>;
  { c.block_size() } -> same_as<u32>;
  { c.has_write_cache() } -> same_as<bool>;
  { c.largest_request() } -> same_as<u32>;
  { c.most_pieces() } -> same_as<u16>;
  { d.read(sector, to) } -> same_as<result<void>>;
  { d.write(sector, from) } -> same_as<result<void>>;
  { d.flush() } -> same_as<result<void>>;
  { d.discard(sector, sector) } -> same_as<result<void>>;
  { c.range_progress() } -> same_as<u64>;
  { d.submit_read(sector, to, sector) } -> same_as<result<token>>;
  { d.submit_read(sector, parts, sector) } -> same_as<result<token>>;
  { d.submit_write(sector, from, sector) } -> same_as<result<token>>;
  { d.submit_write(sector, pieces, sector) } -> same_as<result<token>>;
  { d.submit_flush(sector) } -> same_as<result<token>>;
  { c.in_flight() } -> same_as<u16>;
  d.kick();
  { d.next_completion()->which } -> same_as<token&>;
  { d.next_completion()->cookie } -> same_as<u64&>;
  { d.wait_next()->status } -> same_as<errc&>;
  { d.wait(which) } -> same_as<result<void>>;
  { d.refresh() } -> same_as<result<void>>;
};

/// Consecutive sectors of 512 bytes.
struct extent {
  u64 sector = 0;  // the first sector
  u64 count = 0;   // number of sectors
};

/// A list of extents, owned by the caller; a single one is a list too.
struct extents {
  const extent* first = nullptr;  // the first extent
  usize count = 0;                // number of extents

  constexpr extents(const extent& one) : first{&one}, count{1} {}            // of one extent
  constexpr extents(const extent* list, usize n) : first{list}, count{n} {}  // of `n` extents
  /// Of all extents in an array.
  template <usize N>
  constexpr extents(const extent (&list)[N]) : first{list}, count{N} {}

  [[nodiscard]] constexpr const extent* begin() const { return first; }        // the first extent
  [[nodiscard]] constexpr const extent* end() const { return first + count; }  // after the last extent
};

namespace detail {

/// Returns whether these are whole blocks, of `block_mask + 1` sectors, inside a disk of `capacity` sectors. Subtracts,
/// since sector + count may overflow.
[[nodiscard]] constexpr errc check_extent(u64 sector, u64 count, u64 capacity, u32 block_mask) {
  if (count == 0) return errc::invalid_argument;
  if ((static_cast<u32>(sector | count) & block_mask) != 0) return errc::misaligned;
  if (sector > capacity || count > capacity - sector) [[unlikely]]
    return errc::out_of_range;
  return errc::ok;
}

/// Cuts a transfer of any length into requests, each as large as the device and the memory allow:
///
///     while (!data.empty()) {
///       const bytes part = cut.next(data);
///       const auto sent = submit(sector, part);
///       if (cut.retry_shorter(sent.error(), part)) continue;
///       VIRTIO_TRY(wait_for(sent));
///       cut.advance(sector, data, part);
///     }
///
/// A loop that received `submit` as a callable would hide the driver's address and the kind of request from the
/// compiler: 19 more instructions per request in a program with one disk.
class request_splitter {
 public:
  /// For a disk with blocks of `block` bytes, a power of two. A request takes up to `largest` bytes, whole blocks, in
  /// up to `segments` pieces.
  request_splitter(u32 block, u32 largest, u16 segments) : block_{block}, piece_{largest}, units_{segments} {}

  /// Returns the part of `data`, from its start, for the next request.
  [[nodiscard, gnu::always_inline]] bytes next(bytes data) const {
    return data.part(0, piece_ - (place(data) & boundary_mask_));
  }

  /// Returns whether a request for `part` failed because of its pieces and a shorter one may succeed.
  [[nodiscard, gnu::always_inline]] bool retry_shorter(errc how, bytes part) {
    return how == errc::too_many_pieces && shorten(part);
  }
  /// `part` has been transferred.
  [[gnu::always_inline]] static void advance(u64& sector, bytes& data, bytes part) {
    sector += part.size() / sector_bytes;
    data = data.part(part.size(), data.size());
  }

 private:
  /// `part` was scattered over more pieces than a request has. Makes the next request shorter: as many units as it may
  /// have segments. Returns false if `part` is one block already. A unit is a power of two, even if SIZE_MAX is not, so
  /// that units end at page boundaries: with units of a page, each segment covers a page.
  [[nodiscard, gnu::always_inline]] bool shorten(bytes part) {
    if (part.size() <= block_) return false;
    u64 length;
    do {
      (unit_ != block_ ? unit_ : units_) /= 2;  // to one block at least, which is shorter than the part
      boundary_mask_ = unit_ - block_;
      length = u64{unit_} * units_ - (place(part) & boundary_mask_);
    } while (length >= part.size());
    piece_ = unit_ * units_;  // of two units or more, all but one are less than the part: 1 GiB at most
    return true;
  }
  [[nodiscard]] static u32 place(bytes data) { return static_cast<u32>(reinterpret_cast<uptr>(data.data())); }

  u32 block_;
  u32 piece_;              // maximum bytes of one request
  u32 boundary_mask_ = 0;  // address bits of the boundary that a request must not cross
  u32 unit_ = largest_transfer;
  u32 units_;
};

/// Maximum number of requests of one call for an extent.
inline constexpr u32 most_requests_per_call = 65536;

/// Processes one extent of any length by successive requests: `part(sector, count)` returns the length of the next one,
/// `send(extent)` makes it. The device decides the number of requests: a hostile one could require 2^64 of one block
/// each and answer each at once. `range_progress` counts the sectors that are done. Errors: those of `send`;
/// `unfinished`, sectors remain.
template <class Part, class Send>
[[nodiscard, gnu::always_inline]] inline result<void> in_requests(u64& range_progress, u64 sector, u64 count,
                                                                  Part&& part, Send&& send) {
  for (u32 requests = 0; range_progress != count; ++requests) {
    if (requests == most_requests_per_call) return errc::unfinished;
    const extent next{sector + range_progress, part(sector + range_progress, count - range_progress)};
    VIRTIO_TRY(send(next));
    range_progress += next.count;
  }
  return {};
}

}  // namespace detail
}  // namespace virtio
