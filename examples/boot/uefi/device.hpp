// SPDX-License-Identifier: MIT
// One PCI device, shared by the firmware's driver and the library's: `claim` takes it from the firmware's driver,
// `release` returns it.
#pragma once

#include "pci.hpp"
#include "platform.hpp"

namespace uefi {

/// Storage for a driver, allocated at its first use by AllocateBuffer of any device.
template <usize Bytes>
class dma_storage {
 public:
  /// Empty if there is no memory.
  operator virtio::dma_region() {  // NOLINT: as virtio::dma_storage
    if (memory_ == nullptr)
      each_interface<efi::pci_io>([&](efi::handle, efi::pci_io& io) {
        constexpr auto any = efi::allocate::any_pages;
        if (efi::failed(io.allocate_buffer(&io, any, efi::memory_type::boot_services_data, pages, &memory_, 0)))
          memory_ = nullptr;
        io_ = &io;
        return memory_ == nullptr;
      });
    if (memory_ == nullptr) return virtio::dma_region{};
    return {static_cast<virtio::u8*>(memory_), pages * 4096};
  }
  /// Frees the memory. No device may use it any more.
  void free() {
    if (memory_ != nullptr) io_->free_buffer(io_, pages, memory_);
    memory_ = nullptr;
  }

 private:
  static constexpr size_t pages = (Bytes + 4095) / 4096;
  void* memory_ = nullptr;
  efi::pci_io* io_ = nullptr;
};

class device {
 public:
  /// Disconnects the firmware's drivers from the function, and prevents a reconnection. Error: `busy`, a driver does
  /// not release it.
  [[nodiscard]] result<void> claim(const pci_function& which) {
    was_driven_ = is_driven(which.handle);
    which_ = which;
    void* io = nullptr;
    if (efi::failed(services().disconnect_controller(which.handle, nullptr, nullptr)) ||
        efi::failed(
            services().open_protocol(which.handle, &efi::pci_io::id, &io, self, nullptr, efi::open::exclusive))) {
      connect_again();
      return errc::busy;
    }
    using what = efi::pci_io::attributes_do;
    own_.io = static_cast<efi::pci_io*>(io);
    own_.io->attributes(own_.io, what::get, 0, &found_);
    // Without the second attribute EDK II copies every buffer above 4 GiB. Some root bridges do not have it.
    own_.io->attributes(own_.io, what::enable, efi::pci_io::io_memory_and_bus_master, nullptr);
    own_.io->attributes(own_.io, what::enable, efi::pci_io::dual_address_cycle, nullptr);
    return {};
  }

  /// After the driver's hand_off: leaves the device as it is, without a driver and off the bus. Its storage is not
  /// mapped any more.
  void leave() {
    own_.io->attributes(own_.io, efi::pci_io::attributes_do::disable, efi::pci_io::bus_master, nullptr);
    own_.unmap();
  }

  /// After the driver's hand_off: connects the firmware's drivers again where they were connected. OVMF connects those
  /// of the devices that it may boot from, and leaves the others alone.
  void release() {
    leave();
    own_.io->attributes(own_.io, efi::pci_io::attributes_do::set, found_, nullptr);
    services().close_protocol(which_.handle, &efi::pci_io::id, self, nullptr);
    own_ = {};
    connect_again();
  }

  [[nodiscard]] bool is(const pci_function& which) const { return own_.io != nullptr && which_.handle == which.handle; }
  [[nodiscard]] bool is_claimed() const { return own_.io != nullptr; }
  [[nodiscard]] uefi::platform platform() { return {&own_}; }

 private:
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
  shared_memory own_{};
  u64 found_ = 0;  // attributes
  bool was_driven_ = false;
};

}  // namespace uefi
