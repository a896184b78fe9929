// SPDX-License-Identifier: MIT
// The porting surface of a kernel with virtual addresses that differ from physical ones: the image is at one offset,
// all memory and the devices' registers are at others.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/polling.hpp>

namespace kernel {

inline constexpr virtio::uptr image = 0xffffffff80000000;    // the address of physical address 0, by link.ld
inline constexpr virtio::uptr direct = 0xffff800000000000;   // a second mapping of the first 4 GiB, by start.S
inline constexpr virtio::uptr devices = 0xffffc00000000000;  // 1 GiB of addresses for device memory

extern "C" virtio::u64 device_pages[512];  // start.S: the page table of `devices`, of 2 MiB each
inline virtio::u32 device_pages_used = 0;

struct memory_range {  // from the loader
  virtio::u64 at, size;
  virtio::u32 type, reserved;
};
inline const memory_range* memory = nullptr;
inline virtio::u32 memory_ranges = 0;

/// Returns whether any of these bytes is memory (usable, or with ACPI's tables): a lying host may place a BAR there.
[[nodiscard]] inline bool is_memory(virtio::u64 at, virtio::u64 size) {
  for (virtio::u32 i = 0; i < memory_ranges; ++i)
    if ((memory[i].type == 1 || memory[i].type == 3 || memory[i].type == 4) && at < memory[i].at + memory[i].size &&
        memory[i].at < at + size)
      return true;
  return false;
}

/// Returns the end of the processor's physical addresses: the higher bits of a page table entry have other meanings.
[[nodiscard]] inline virtio::u64 end_of_addresses() {
  virtio::u32 a = 0x80000008, b, c, d;
  asm("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
  return virtio::u64{1} << (a & 63);
}

/// Returns the CPU's address of BARs and configuration space, and maps their pages at the first use. (A kernel that has
/// mapped the whole bus at one offset needs no class: `virtio::pci::linear_map{.offset = direct}`.)
struct device_map {
  [[nodiscard]] virtio::result<virtio::uptr> cpu_address(virtio::u64 at, virtio::u64 size) const {
    constexpr virtio::u64 page = 1u << 21, uncached = 0x9b;  // present, writable, large
    const virtio::u64 first = at & ~(page - 1), count = (at + size - 1 - first) / page + 1;
    const virtio::u64 end = end_of_addresses();
    if (at >= end || size > end - at || count > 512 || is_memory(at, size)) return virtio::errc::out_of_range;
    const auto is_mapped = [&](virtio::u32 n) {
      for (virtio::u64 i = 0; i < count; ++i)
        if (device_pages[n + i] != ((first + i * page) | uncached)) return false;
      return true;
    };
    virtio::u32 n = 0;
    while (n + count <= device_pages_used && !is_mapped(n)) ++n;
    if (n + count > device_pages_used) {
      n = device_pages_used;
      if (n + count > 512) return virtio::errc::no_space;
      for (virtio::u64 i = 0; i < count; ++i) device_pages[n + i] = (first + i * page) | uncached;
      device_pages_used += static_cast<virtio::u32>(count);
    }
    return devices + n * page + (at - first);
  }
};

/// `Host` accesses configuration space: `pci::cf8` or `pci::ecam_with_ports`.
template <class Host>
struct board : Host, virtio::polling<> {
  using barriers = virtio::smp_barriers;

  /// Static objects are in the image, allocated memory is in the direct map. Both are contiguous for the device.
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    const auto at = reinterpret_cast<virtio::uptr>(va);
    if (at < direct) return virtio::errc::dma_unreachable;
    return out.push(virtio::dma_addr{at - (at >= image ? image : direct)}, n, way);
  }
};

}  // namespace kernel
