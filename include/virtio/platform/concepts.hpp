// SPDX-License-Identifier: MIT
// What a machine must offer: the porting contract. A platform is a small value, copied freely; an empty one costs nothing,
// a stateful one holds a pointer. docs/porting.md writes one; the test kit's `strict_platform` punishes
// shortcuts. Layer: platform.
#pragma once

#include <virtio/base/report.hpp>
#include <virtio/config.hpp>
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio {

/// What a wait is for, so that a platform can give each its own bound.
/// `request` is for a device, which will answer; `connect`, `shutdown` and `peer` are for the other end of a connection, which may not:
/// `peer` for a client, for bytes, or for room to send some, for as long as the program likes.
enum class waiting : u8 { reset, request, connect, shutdown, peer };

/// What to answer when a device offers ACCESS_PLATFORM (it goes through an IOMMU, or can reach only some memory).
enum class access_policy : u8 {
  addresses_are_right,  // accept: what map() gives is right for this device, as it is
  through_map,       // accept: map() programs the IOMMU or copies through reachable memory
  refuse,               // refuse by name: this platform would give wrong addresses
};

/// A platform:
///  1. names its barrier set as `barriers`;
///  2. `map(va, n, way, out)` appends to `out` the device's addresses of the `n` bytes at `va`, in order and completely, or
///     returns an error and undoes what it did (the list may keep what it appended, nobody looks at it). With
///     `direction::shared` it must translate in place, never copy. It may set `segment::handle`. The error `no_space` means
///     that less would do, too little room in `out` or in a bounce pool: drivers then ask for less, down to one block or byte;
///  3. `keep_waiting(why, attempt)` passes some time (pause, yield, halt) and says whether to go on; `attempt` counts from 0.
///     `false` ends the wait: the device is then reset to get the buffers back, so be patient;
///  4. optional `unmap(segment, written)`: called once for each push() of map(), in however many pieces push() cut it (SIZE_MAX of a
///     disk), after the device is done with all of them: the segment has address, length, direction and handle as push() got them,
///     0xffffffff for a longer length. The device wrote at most the first `written` bytes of it. Never called for
///     `direction::shared`. A platform that must take shared storage down does so after the device's hand_off();
///  5. optional `trace(event)`: sees status writes, feature words, queues and doorbells;
///  6. optional `static constexpr bool sleeps = true`: keep_waiting may halt until an interrupt, but for `waiting::reset`, and
///     the library asks the device for one before each such call. A device raises none for the end of a reset;
///  7. optional `static constexpr access_policy access_platform`; without it `addresses_are_right`;
///  8. optional `for_device(where)` returns the platform of the device at `where`, a location that discovery found. A
///     driver's start() asks the platform that it is given, and the driver keeps what is returned. For machines that map
///     memory device by device, such as UEFI: programs then start drivers with one value, also when they try several
///     devices.
/// None of them may throw, and none is called from an interrupt handler by the library.
template <class P>
concept platform = small_value<P> && barrier_set<typename P::barriers> &&
    requires(const P p, const volatile void* va, usize n, direction way, segments& out, waiting why, u64 attempt) {
      { p.map(va, n, way, out) } -> same_as<result<void>>;
      { p.keep_waiting(why, attempt) } -> same_as<bool>;
    };

namespace detail {

template <class P>
concept unmaps = requires(const P p, const segment& piece, u32 written) { p.unmap(piece, written); };

/// Unmaps what the `count` pieces from `first` on are of, each mapping once and whole; the device wrote the first `written` bytes of
/// those that it may write.
template <class P>
constexpr void unmap(const P& p, const segment* first, u16 count, u32 written) {
  if constexpr (unmaps<P>) {
    for (u16 i = 0; i < count;) {
      segment whole = first[i];
      while (++i < count && first[i].continues()) whole.length = smaller(first[i].length, ~whole.length) + whole.length;
      const u32 here = whole.way == direction::from_device ? smaller(written, whole.length) : 0;
      written -= here;
      p.unmap(whole, here);
    }
  }
}

template <class P>
[[nodiscard]] consteval bool sleeps() {
  if constexpr (requires { P::sleeps; }) return P::sleeps;
  else return false;
}

template <class P>
[[nodiscard]] consteval access_policy access_platform() {
  if constexpr (requires { P::access_platform; }) return P::access_platform;
  else return access_policy::addresses_are_right;
}

}  // namespace detail

namespace detail {

/// The platform of the device at `where`, see item 8.
template <platform P, class Location>
[[nodiscard, gnu::always_inline]] constexpr decltype(auto) platform_for(const P& given, const Location& where) {
  if constexpr (requires { { given.for_device(where) } -> same_as<P>; }) return given.for_device(where);
  else return (given);
}

}  // namespace detail

/// Where the device sees `storage`. Errors: `dma_unreachable` when it is not one contiguous piece for the device.
template <platform P>
[[nodiscard]] result<void> locate(const P& p, dma_region storage, dma_area& area) {
  segment_list<1> pieces;
  pieces.limit_pieces(0x8000'0000);  // no request: a driver's storage may be larger than those
  const auto mapped = p.map(storage.data, storage.size, direction::shared, pieces);
  if (mapped.error() == errc::no_space) return errc::dma_unreachable;  // more than one piece
  VIRTIO_TRY(mapped);
  if (pieces.size() != 1 || pieces[0].length != storage.size) return errc::dma_unreachable;
  area = {storage.data, storage.size, pieces[0].at};
  return {};
}

}  // namespace virtio
