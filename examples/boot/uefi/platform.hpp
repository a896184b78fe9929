// SPDX-License-Identifier: MIT
// One PCI device under UEFI as a platform of the library: the device's PCI I/O protocol maps buffers, and the boot
// services keep the time. A platform value belongs to one device: see `uefi::device`, which has its storage.
#pragma once

#include <virtio/platform/concepts.hpp>

#include "efi.hpp"
#include "services.hpp"

namespace uefi {

using virtio::errc, virtio::result, virtio::segment, virtio::u64, virtio::usize;

/// The permanent mapping of a device: its driver's storage, from AllocateBuffer.
struct shared_memory {
  efi::pci_io* io = nullptr;
  virtio::dma_area area{};  // empty: no storage is mapped
  void* mapping = nullptr;

  /// Maps the driver's storage in place of the previous mapping. Error: `dma_unreachable`.
  result<void> map(const void* at, usize n) {
    unmap();
    size_t mapped = n;
    u64 device = 0;
    const auto common = efi::pci_io::operation::common_buffer;
    if (io == nullptr || efi::failed(io->map(io, common, at, &mapped, &device, &mapping))) return errc::dma_unreachable;
    area = {static_cast<virtio::u8*>(const_cast<void*>(at)), n, virtio::dma_addr{device}};
    if (mapped >= n) return {};
    unmap();
    return errc::dma_unreachable;
  }
  void unmap() {
    if (area.size != 0) io->unmap(io, mapping);
    area = {};
  }
};

struct platform {
  using barriers = virtio::dma_barriers;
  static constexpr auto access_platform = virtio::access_policy::through_map;  // PCI I/O handles an IOMMU

  shared_memory* own = nullptr;

  result<void> map(const volatile void* va, usize n, virtio::direction way, virtio::segments& out) const {
    const auto* at = static_cast<const virtio::u8*>(const_cast<const void*>(va));
    if (way == virtio::direction::shared) {
      VIRTIO_TRY(own->map(at, n));
      return out.push(own->area.at, n, way);
    }
    using op = efi::pci_io::operation;
    const op operation = way == virtio::direction::to_device ? op::bus_master_read : op::bus_master_write;
    const virtio::u16 first = out.size();
    while (n != 0) {
      size_t mapped = n;  // the firmware may map less: another call then maps the rest
      u64 device = 0;
      void* mapping = nullptr;
      const bool done = !efi::failed(own->io->map(own->io, operation, at, &mapped, &device, &mapping));
      const bool usable = done && mapped != 0 && mapped <= n;
      const virtio::u16 here = out.size();
      if (!usable || !out.push(virtio::dma_addr{device}, mapped, way, handle_of(mapping))) {
        if (done) own->io->unmap(own->io, mapping);
        for (virtio::u16 i = first; i < here; ++i)
          if (!out[i].continues()) own->io->unmap(own->io, mapping_of(out[i].handle));
        return errc::no_space;
      }
      at += mapped;
      n -= mapped;
    }
    return {};
  }
  void unmap(const segment& piece, virtio::u32) const { own->io->unmap(own->io, mapping_of(piece.handle)); }

  bool keep_waiting(virtio::waiting why, u64 attempt) const { return uefi::keep_waiting(why, attempt); }

 private:
  // EDK II's Map returns ~0 as the mapping of a buffer that it maps as it is (NO_MAPPING). That value means `continued`
  // as a handle.
  static u64 handle_of(void* mapping) { return reinterpret_cast<usize>(mapping) + 1; }
  static void* mapping_of(u64 handle) { return reinterpret_cast<void*>(static_cast<usize>(handle) - 1); }
};

static_assert(virtio::platform<platform>);

}  // namespace uefi
