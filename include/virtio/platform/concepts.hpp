// SPDX-License-Identifier: MIT
// What a machine must provide: the porting contract. A platform is a small value that is copied. An empty one has no
// cost; a stateful one contains a pointer. docs/porting.md shows how to write one. The test kit's `strict_platform`
// detects violations. Layer: platform.
#pragma once

#include <virtio/base/report.hpp>
#include <virtio/config.hpp>
#include <virtio/platform/barriers.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio {

/// What a wait is for, so that a platform can bound each kind separately. `reset` and `request` wait for a device,
/// which is expected to answer. `connect`, `shutdown` and `peer` wait for the peer of a connection, which may never
/// answer. `peer` waits for a client, for bytes, or for room to send, for as long as the program chooses.
enum class waiting : u8 { reset, request, connect, shutdown, peer };

/// What a platform does if a device offers ACCESS_PLATFORM: the device uses an IOMMU, or reaches only part of memory
/// (6).
enum class access_policy : u8 {
  addresses_are_right,  // accept: the addresses of map() are valid for this device
  through_map,          // accept: map() programs the IOMMU or copies through reachable memory
  refuse,               // reject, and name the feature: the addresses of map() would be wrong
};

/// A platform:
///  1. names its barrier set as `barriers`;
///  2. `map(va, n, way, out)` appends to `out` the device's addresses of the `n` bytes at `va`, in order and
///     completely. On an error it undoes its mappings (callers ignore the list then). With `direction::shared` it must
///     translate in place, never copy. It may set `segment::handle`. The error `no_space` means that a smaller request
///     would succeed: too little room in `out` or in a bounce pool. Drivers then map less, down to one block or byte;
///  3. `keep_waiting(why, attempt)` lets time pass (pause, yield, halt) and returns whether to go on; `attempt` counts
///     from 0. `false` ends the wait. For `reset` and `request` that resets the device, which returns the buffers, so
///     use generous limits. A wait of `connect`, `shutdown` or `peer`, and that of a console for bytes or room, ends
///     with an error, and the device stays up;
///  4. optional `unmap(segment, written)`: called once for each push() of map(), also if push() made several pieces of
///     it (SIZE_MAX of a disk), after the device is done with all of them. The segment has address, length, direction
///     and handle of the push(); a longer length is 0xffffffff. The device wrote at most the first `written` bytes.
///     Never called for `direction::shared`. A platform that must end shared mappings does so after the driver's
///     hand_off();
///  5. optional `trace(event)`: receives status writes, feature words, queues and doorbells;
///  6. optional `static constexpr bool sleeps = true`: keep_waiting may halt until an interrupt, except for
///     `waiting::reset`, and the library enables an interrupt before each such call. A device sends no interrupt at the
///     end of a reset;
///  7. optional `static constexpr access_policy access_platform`; the default is `addresses_are_right`;
///  8. optional `for_device(where)` returns the platform for the device at `where`, a location from discovery. A
///     driver's start() calls it on the given platform and stores the result. For machines that map memory per device,
///     such as UEFI: programs then start all drivers with one value, also when they try several devices.
/// No member may throw. The library calls none of them from an interrupt handler.
template <class P>
concept platform =
    small_value<P> && barrier_set<typename P::barriers> &&
    requires(const P p, const volatile void* va, usize n, direction way, segments& out, waiting why, u64 attempt) {
      { p.map(va, n, way, out) } -> same_as<result<void>>;
      { p.keep_waiting(why, attempt) } -> same_as<bool>;
    };

namespace detail {

template <class P>
concept unmaps = requires(const P p, const segment& piece, u32 written) { p.unmap(piece, written); };

/// Unmaps the mappings of the `count` pieces from `first` on, each once and as a whole. The device wrote the first
/// `written` of the bytes that it may write.
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

/// Returns the platform of the device at `where` (item 8 of `platform`).
template <platform P, class Location>
[[nodiscard, gnu::always_inline]] constexpr decltype(auto) platform_for(const P& given, const Location& where) {
  if constexpr (requires {
                  { given.for_device(where) } -> same_as<P>;
                })
    return given.for_device(where);
  else return (given);
}

}  // namespace detail

/// Finds the device's address of `storage`. Errors: those of map(); `dma_unreachable` if the storage is not contiguous
/// for the device.
template <platform P>
[[nodiscard]] result<void> locate(const P& p, dma_region storage, dma_area& area) {
  segment_list<1> pieces;
  pieces.limit_pieces(0x8000'0000);  // not a request: a driver's storage may be larger
  const auto mapped = p.map(storage.data, storage.size, direction::shared, pieces);
  if (mapped.error() == errc::no_space) return errc::dma_unreachable;  // more than one piece
  VIRTIO_TRY(mapped);
  if (pieces.size() != 1 || pieces[0].length != storage.size) return errc::dma_unreachable;
  area = {storage.data, storage.size, pieces[0].at};
  return {};
}

}  // namespace virtio
