// SPDX-License-Identifier: MIT
// PCI under UEFI as a host of the library: functions are handles with PCI I/O, which also accesses BARs. The firmware
// has already sized and enumerated all of them.
#pragma once

#include <virtio/pci.hpp>

#include "services.hpp"

namespace uefi {

/// A function: its location, for reports, and the handle for its accesses.
struct pci_function : virtio::pci::address {
  efi::handle handle = nullptr;
  efi::pci_io* io = nullptr;
};

/// A BAR, or a part of one. Each access is one call.
class bar_space {
 public:
  constexpr bar_space() = default;
  constexpr bar_space(efi::pci_io* io, virtio::pci::bar_kind kind, virtio::u8 bar, virtio::usize size)
      : io_{io}, size_{size}, kind_{kind}, bar_{bar} {}

  template <virtio::register_value T>
  [[nodiscard]] T read(virtio::usize offset) const {
    T value = static_cast<T>(~T{0});
    const auto access = kind_ == virtio::pci::bar_kind::io ? io_->io_read : io_->memory_read;
    access(io_, width_of<T>(), bar_, first_ + offset, 1, &value);
    virtio::dma_barriers::full();
    return value;
  }
  template <virtio::register_value T>
  void write(virtio::usize offset, T value) const {
    virtio::dma_barriers::full();
    const auto access = kind_ == virtio::pci::bar_kind::io ? io_->io_write : io_->memory_write;
    access(io_, width_of<T>(), bar_, first_ + offset, 1, &value);
  }
  [[nodiscard]] constexpr virtio::usize size() const { return size_; }
  [[nodiscard]] constexpr bar_space part(virtio::usize offset, virtio::usize length) const {
    bar_space out = *this;
    out.first_ += offset;
    out.size_ = length;
    return out;
  }

 private:
  template <class T>
  static constexpr efi::pci_io::width width_of() {
    return static_cast<efi::pci_io::width>(sizeof(T) / 2);
  }
  efi::pci_io* io_ = nullptr;
  virtio::u64 first_ = 0;
  virtio::usize size_ = 0;
  virtio::pci::bar_kind kind_ = virtio::pci::bar_kind::none;
  virtio::u8 bar_ = 0;
};

struct host {
  using function_id = pci_function;
  using bar_space = uefi::bar_space;

  [[nodiscard]] virtio::u32 config_read32(const pci_function& f, virtio::u16 offset) const {
    virtio::u32 value = ~virtio::u32{0};
    f.io->config_read(f.io, efi::pci_io::width::bits_32, offset, 1, &value);
    return value;
  }
  void config_write32(const pci_function& f, virtio::u16 offset, virtio::u32 value) const {
    f.io->config_write(f.io, efi::pci_io::width::bits_32, offset, 1, &value);
  }
  void config_write16(const pci_function& f, virtio::u16 offset, virtio::u16 value) const {
    f.io->config_write(f.io, efi::pci_io::width::bits_16, offset, 1, &value);
  }

  [[nodiscard]] virtio::result<bar_space> bar(const pci_function& f, virtio::u8 index) const {
    VIRTIO_TRY_ASSIGN(const auto found, place(f, index));
    return bar_space{f.io, found.info.kind, found.number, static_cast<virtio::usize>(found.info.size)};
  }
  [[nodiscard]] virtio::result<virtio::pci::bar_info> locate(const pci_function& f, virtio::u8 index) const {
    VIRTIO_TRY_ASSIGN(const auto found, place(f, index));
    return found.info;
  }

  template <class Visit>
  void each_function(Visit&& visit) const {
    each_interface<efi::pci_io>([&](efi::handle h, efi::pci_io& io) {
      size_t segment = 0, bus = 0, device = 0, number = 0;
      io.get_location(&io, &segment, &bus, &device, &number);
      const virtio::pci::address at{static_cast<virtio::u16>(segment), static_cast<virtio::u8>(bus),
                                    static_cast<virtio::u8>(device), static_cast<virtio::u32>(number)};
      return bool{visit(pci_function{at, h, &io})};
    });
  }

 private:
  struct placed {
    virtio::pci::bar_info info;
    virtio::u8 number;  // the firmware's
  };

  // EDK II numbers the existing BARs: the BAR after a 64-bit one has the next number, not the next but one. So the BAR
  // is found by the address in its register.
  [[nodiscard]] static virtio::result<placed> place(const pci_function& f, virtio::u8 index) {
    namespace pci = virtio::pci;
    if (index > 5) return virtio::errc::not_found;
    const auto at = static_cast<virtio::u16>(pci::config::bar0 + 4u * index);
    const virtio::u32 lower = host{}.config_read32(f, at);
    const bool is_io = (lower & 1u) != 0, is_wide = !is_io && (lower & 6u) == 4u && index != 5;
    const virtio::u64 upper = is_wide ? host{}.config_read32(f, static_cast<virtio::u16>(at + 4)) : 0;
    placed out{{is_io ? pci::bar_kind::io : pci::bar_kind::memory, is_wide, !is_io && (lower & 8u) != 0,
                upper << 32 | (lower & ~(is_io ? 3u : 15u)), 0},
               0};
    // Address 0 is valid: AAVMF assigns it to the first I/O BAR on QEMU's virt.
    for (virtio::u8 number = 0; number < 6; ++number) {
      void* described = nullptr;
      if (efi::failed(f.io->get_bar_attributes(f.io, number, nullptr, &described)) || described == nullptr) continue;
      const efi::address_space space = *static_cast<const efi::address_space*>(described);
      services().free_pool(described);
      const bool same_kind = space.tag == 0x8a && (space.type == 1) == is_io && space.size != 0;
      // Revisions of the specification disagree on whether `first` is a CPU or a bus address.
      if (!same_kind || (space.first != out.info.base && space.first + space.translation != out.info.base)) continue;
      out.info.size = space.size;
      out.number = number;
      return out;
    }
    return virtio::errc::not_found;
  }
};

static_assert(virtio::register_space<bar_space> && virtio::pci::host<host>);

}  // namespace uefi
