// SPDX-License-Identifier: MIT
// From the bus to the CPU: BARs and configuration space lie at bus addresses, a program needs pointers. A ready-made host asks one
// object for every pointer that it hands out, so that a kernel says in one place where its mappings are. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/bars.hpp>
#include <virtio/config.hpp>

namespace virtio::pci {

/// What a ready-made host asks where the CPU reaches memory on the bus: a small value whose `cpu_address(at, size)` gives the address
/// of the `size` bytes from bus address `at` on, all of them mapped as device memory. It may map them there and then, and is asked for
/// the same range again whenever somebody looks at the device. Any error says that the CPU does not get there: the BAR is out of reach.
template <class M>
concept bus_map = small_value<M> && requires(const M m, u64 at, u64 size) {
  { m.cpu_address(at, size) } -> same_as<result<uptr>>;
};

/// `reach` of a CPU that reaches whatever a pointer can hold.
inline constexpr u64 everywhere = ~u64{0};

/// The usual map: the same distance everywhere. All-zero it is the identity mapping of 4 GiB that boot loaders leave.
struct linear_map {
  uptr offset = 0;  // CPU address less bus address: where a higher-half kernel has its direct map
  u64 floor = 0;    // where the guest's memory below 4 GiB ends: a host that lies may say that a BAR is in it. What memory there is above
                    // 4 GiB only a map of your own can tell from BARs
  u64 reach = 0;    // the first bus address that is not mapped; 0: 4 GiB

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

/// The space behind a BAR, for a host's `bar`: memory where `map` says; I/O from `ports(first, size)`, a `result<Space>`. Errors:
/// `not_found` (unimplemented, or no address assigned), `out_of_range`.
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
