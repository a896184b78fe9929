// SPDX-License-Identifier: MIT
// The hot-plug slot of a PCIe root port or of a switch's downstream port: presence, attention button, power. Machines
// whose slots belong to ACPI use other registers; their ports have no slot.
//
// After a device was plugged in: power_on(), wait (hardware: a second), assign(), find(), start(). Before it is
// removed: hand_off() of its driver, then power_off().
// Spec: PCI Express 2.0, 7.8.9 to 7.8.11. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/capabilities.hpp>

namespace virtio::pci {

/// The hot-plug registers of one port. All-zero until `open`.
template <config_space H>
class slot {
 public:
  /// Finds the registers. Error: `not_found` if the function is not a PCIe port with a hot-plug slot.
  [[nodiscard]] result<void> open(const H& h, typename H::function_id port) {
    *this = {};
    u16 at = 0;
    each_capability(h, port, [&](u16 where, u32 head) {
      constexpr u32 slot_implemented = 0x0100'0000;
      if ((head & 0xffu) == capability_id::pci_express && (head & slot_implemented) != 0) at = where;
      return (head & 0xffu) != capability_id::pci_express;
    });
    constexpr u32 hot_plug_capable = 0x40;
    if (at == 0 || at > 0x100 - 0x1c || (h.config_read32(port, static_cast<u16>(at + 0x14)) & hot_plug_capable) == 0)
      return errc::not_found;
    host_ = h;
    port_ = port;
    at_ = static_cast<u16>(at + 0x18);
    return {};
  }

  /// Returns whether the slot contains a device, powered or not.
  [[nodiscard]] bool occupied() const { return (registers() & presence) != 0; }

  /// Returns whether the attention button was pressed since the last call: a request to remove or to start the device.
  [[nodiscard]] bool attention() const {
    const u32 now = registers();
    if ((now & button) == 0) return false;
    host_.config_write32(port_, at_, (now & controls) | button);  // write one to clear
    return true;
  }

  /// Switches the slot on. The device answers after the start-up time of its hardware.
  void power_on() const { control(indicator_on, indicator_off | power_is_off); }
  /// Switches the slot off, which removes the device. Its driver must have handed it off.
  void power_off() const { control(indicator_off | power_is_off, indicator_off); }

 private:
  // Slot control in the low half, slot status in the high half.
  static constexpr u32 controls = 0xffff;
  static constexpr u32 indicator_on = 0x0100;
  static constexpr u32 indicator_off = 0x0300;  // both bits of the power indicator
  static constexpr u32 power_is_off = 0x0400;
  static constexpr u32 button = u32{0x0001} << 16;
  static constexpr u32 presence = u32{0x0040} << 16;

  // A removed port, and one that was never opened, has an empty slot.
  [[nodiscard]] u32 registers() const {
    const u32 now = at_ == 0 ? 0 : host_.config_read32(port_, at_);
    return now == 0xffffffffu ? 0 : now;
  }
  void control(u32 set, u32 clear) const {
    if (at_ != 0) host_.config_write32(port_, at_, ((registers() & ~clear) | set) & controls);
  }

  VIRTIO_EMPTY_MEMBER H host_{};
  typename H::function_id port_{};
  u16 at_ = 0;
};

}  // namespace virtio::pci
