// SPDX-License-Identifier: MIT
// One PCI device between the firmware's driver and ours: `claim` takes it from the firmware's driver, `release` returns
// it.
#pragma once

#include "pci.hpp"
#include "platform.hpp"

namespace uefi {

class device {
 public:
  /// Disconnects the firmware's drivers from the function, keeps them away, and allocates `bytes` of storage for ours.
  /// Errors: `busy`, a driver does not let go; `no_space`.
  [[nodiscard]] result<void> claim(const pci_function& which, usize bytes) {
    which_ = which;
    was_driven_ = is_driven(which.handle);
    void* io = nullptr;
    if (efi::failed(services().disconnect_controller(which.handle, nullptr, nullptr)) ||
        efi::failed(services().open_protocol(which.handle, &efi::pci_io::id, &io, self, nullptr,
                                             efi::open::exclusive))) {
      connect_again();
      return errc::busy;
    }
    using what = efi::pci_io::attributes_do;
    auto* const pci = static_cast<efi::pci_io*>(io);
    own_.io = pci;
    pci->attributes(pci, what::get, 0, &found_);
    // Without the second EDK II copies every buffer above 4 GiB. Not every root bridge has it.
    pci->attributes(pci, what::enable, efi::pci_io::io_memory_and_bus_master, nullptr);
    pci->attributes(pci, what::enable, efi::pci_io::dual_address_cycle, nullptr);
    pages_ = (bytes + 4095) / 4096;
    void* memory = nullptr;
    size_t mapped = pages_ * 4096;
    u64 at = 0;
    constexpr auto any = efi::allocate::any_pages;
    constexpr auto common = efi::pci_io::operation::common_buffer;
    if (efi::failed(pci->allocate_buffer(pci, any, efi::memory_type::boot_services_data, pages_, &memory, 0))) {
      pages_ = 0;
    } else if (!efi::failed(pci->map(pci, common, memory, &mapped, &at, &own_.mapping))) {
      own_.area = {static_cast<virtio::u8*>(memory), mapped, virtio::dma_addr{at}};
      if (mapped == pages_ * 4096) return {};
      pci->unmap(pci, own_.mapping);
    }
    if (pages_ != 0) pci->free_buffer(pci, pages_, memory);
    give_back();
    return errc::no_space;
  }

  /// After the driver's hand_off: frees the storage, and connects the firmware's drivers again where they were
  /// connected. OVMF connects those of the devices that it may boot from, and leaves the others alone.
  void release() {
    own_.io->unmap(own_.io, own_.mapping);
    own_.io->free_buffer(own_.io, pages_, own_.area.data);
    give_back();
  }

  [[nodiscard]] uefi::platform platform() const { return {&own_}; }
  [[nodiscard]] virtio::dma_region storage() const { return {own_.area.data, own_.area.size}; }

 private:
  void give_back() {
    own_.io->attributes(own_.io, efi::pci_io::attributes_do::set, found_, nullptr);
    services().close_protocol(which_.handle, &efi::pci_io::id, self, nullptr);
    connect_again();
    own_ = {};
  }
  void connect_again() const {
    if (was_driven_) services().connect_controller(which_.handle, nullptr, nullptr, 1);
  }
  [[nodiscard]] static bool is_driven(efi::handle function) {
    efi::open_entry* all = nullptr;
    size_t count = 0;
    if (efi::failed(services().open_protocol_information(function, &efi::pci_io::id, &all, &count))) return false;
    constexpr auto by_driver = static_cast<uint32_t>(efi::open::by_driver);
    bool found = false;
    for (size_t i = 0; i < count; ++i) found = found || (all[i].attributes & by_driver) != 0;
    services().free_pool(all);
    return found;
  }

  pci_function which_{};
  uefi::storage own_{};
  u64 found_ = 0;  // attributes
  size_t pages_ = 0;
  bool was_driven_ = false;
};

}  // namespace uefi
