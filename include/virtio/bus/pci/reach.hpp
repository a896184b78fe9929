// SPDX-License-Identifier: MIT
// From bus addresses to CPU addresses: BARs and configuration space have bus addresses, a program needs pointers. A
// ready-made host gets every pointer from one object, so that a kernel describes its mappings in one place. Layer:
// bus/pci.
#pragma once

#include <virtio/bus/pci/bars.hpp>
#include <virtio/config.hpp>

namespace virtio::pci {

/// The mappings of bus memory for a ready-made host: a small value whose `cpu_address(at, size)` returns the CPU
/// address of `size` bytes from bus address `at` on, all mapped as device memory. It may map them on the call. Calls
/// for the same range repeat whenever the device is examined. Any error means that the CPU cannot reach the BAR.
template <class M>
concept bus_map = small_value<M> && requires(const M m, u64 at, u64 size) {
  { m.cpu_address(at, size) } -> same_as<result<uptr>>;
};

/// The `reach` of a CPU that can address everything that a pointer can hold.
inline constexpr u64 everywhere = ~u64{0};

/// The usual map: a constant offset. All-zero: the identity mapping of 4 GiB that boot loaders set up.
struct linear_map {
  uptr offset = 0;  // CPU address minus bus address: the direct map of a higher-half kernel
  /// End of the guest's memory below 4 GiB: an invalid BAR of a hostile host may point into it. Memory above 4 GiB can
  /// be distinguished from BARs only by a map of the program.
  u64 floor = 0;
  u64 reach = 0;  // the first bus address that is not mapped; 0: 4 GiB

  /// `bus_map` concept: returns a CPU address. Error: `out_of_range`.
  [[nodiscard]] constexpr result<uptr> cpu_address(u64 at, u64 size) const {
    const u64 end = reach == 0 ? u64{1} << 32 : reach;
    const u64 last = at + (size - 1);
    if (at < floor || last < at || last >= end || last > ~uptr{0}) return errc::out_of_range;
    const uptr first = static_cast<uptr>(at) + offset;
    if (first + static_cast<uptr>(size - 1) < first) return errc::out_of_range;
    return first;
  }
};

static_assert(bus_map<linear_map>);

/// Returns the register space of a BAR, for a host's `bar`: memory at the address from `map`, I/O from `ports(first,
/// size)`, a `result<Space>`. Errors: `not_found` (unimplemented, or no address assigned), `out_of_range`. Cost: that
/// of `probe_bar`.
template <class Space, config_space H, bus_map Map, class Ports>
[[nodiscard]] result<Space> open_bar(const H& h, typename H::function_id id, u8 index, const Map& map, Ports&& ports) {
  VIRTIO_TRY_ASSIGN(const bar_info found, probe_bar(h, id, index));
  if (found.base == 0) return errc::not_found;
  if (found.kind == bar_kind::io) {
    if (found.base > 0xffff || found.size > 0x10000 - found.base) return errc::out_of_range;
    return ports(static_cast<u16>(found.base), static_cast<usize>(found.size));
  }
  const auto at = map.cpu_address(found.base, found.size);
  if (!at || found.size > ~usize{0}) return errc::out_of_range;
  return Space::memory(*at, static_cast<usize>(found.size));
}

}  // namespace virtio::pci
