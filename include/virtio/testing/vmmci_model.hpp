// SPDX-License-Identifier: MIT
// OpenBSD vmd's control device, and a PCI bus with only this device and its host bridge. Registers return a value only
// at their first byte, whatever the width; elsewhere the processor's register keeps its content. The clock latches; a
// guest has limited time to acknowledge a command. Written after vmd's sources of 2018 to 2026, which agree in this;
// not run on vmd.
// Every access is logged. Layer: testing (plugs into bus/pci).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <virtio/bus/pci/host.hpp>
#include <virtio/testing/device_memory.hpp>

namespace virtio::testing {

/// The device and its bus. Time passes only by `pass`.
class vmmci_model {
 public:
  static constexpr std::uint32_t none = 0, shutdown = 1, reboot = 2, syncrtc = 3;  // commands
  static constexpr std::uint64_t second = 1'000'000;

  /// The host's view of the machine.
  enum class machine : std::uint8_t {
    runs,
    ends,    // the guest acknowledged, and the host waits for its end
    off,     // at the guest's request
    killed,  // the guest did not acknowledge in time, or did not end
  };

  // --- the host's side ---

  std::uint32_t offers = 7;                    // TIMESYNC, ACK, SYNCRTC
  std::uint64_t now = 1'700'000'000 * second;  // microseconds since 1970
  std::uint64_t acknowledged_within = 3 * second;
  std::uint64_t ended_within = 120 * second;  // 30 s in vmd versions without 1.x devices
  std::uint64_t microseconds_per_access = 0;  // microseconds
  bool present = true;                        // false: everything reads as ones
  std::uint32_t microseconds_are = 0;         // if not 0, the value instead of microseconds: no vmd does this

  /// Time passes on the host.
  void pass(std::uint64_t microseconds) {
    now += microseconds;
    if (waits_ && now >= deadline_) {
      state_ = state_ == machine::off ? machine::off : machine::killed;
      waits_ = false;
    }
  }
  /// The host sends its guest a command. False: the guest does not receive it.
  bool ask(std::uint32_t command) {
    if ((status_ & 4) == 0 || command == pending_) return false;
    if (command == syncrtc && (accepted_ & 4) == 0) return false;
    pending_ = command;
    isr_ |= 2;
    ++interrupts;
    if (command != syncrtc) wait(acknowledged_within);
    return true;
  }
  /// A command that a later vmd may send.
  void ask_unknown(std::uint32_t command) { pending_ = command; }

  [[nodiscard]] machine state() const { return state_; }
  [[nodiscard]] std::uint32_t pending() const { return pending_; }
  [[nodiscard]] std::uint32_t accepted() const { return accepted_; }
  [[nodiscard]] std::uint8_t status() const { return status_; }
  [[nodiscard]] bool line_is_up() const { return isr_ != 0; }
  unsigned interrupts = 0;

  /// Every access to the registers: "r4@0x18", "w4@0x14=0x1".
  [[nodiscard]] std::string take_log() { return std::exchange(log_, {}); }
  /// Driver errors: accesses without an effect or a value.
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }
  void clear_violations() { violations_.clear(); }

  // --- the guest's side ---

  static constexpr std::uint8_t control_slot = 3;
  std::uint16_t bridge_vendor = 0x0b5d, bridge_device = 0x0666;  // of slot 0; other machines have other values

  [[nodiscard]] std::uint32_t config_read(pci::address at, std::uint16_t offset) {
    if (!present || at.bus != 0 || at.function != 0 || (at.slot != 0 && at.slot != control_slot)) return ones;
    if (at.slot == 0)
      return offset == 0 ? std::uint32_t{bridge_device} << 16 | bridge_vendor : offset == 8 ? 0x0600'0000u : 0u;
    switch (offset) {
      case 0x00: return 0x0777'0b5d;
      case 0x04: return command_register_;
      case 0x08: return 0x0780'0000;  // revision 0
      case 0x10: return bar_;
      case 0x2c: return 0xffff'0b5d;
      case 0x3c: return 0x0000'0105;
      default: return 0;  // no capabilities
    }
  }
  void config_write(pci::address at, std::uint16_t offset, std::uint32_t value) {
    if (!present || at.slot != control_slot) return;
    if (offset == 0x04) command_register_ = value & 0xffff;
    if (offset == 0x10) bar_ = value == ones ? 0xffff'f001 : (value & 0xffff'f000) | 1;
  }

  /// One `in` of this width. The processor's register keeps the bytes that are not read.
  std::uint32_t in(std::uint32_t offset, unsigned width) {
    note("r" + std::to_string(width) + "@" + wire::hex(offset));
    const std::uint32_t mask = mask_of(width);
    if (!present) return ones & mask;
    std::uint32_t value = 0;
    if (answers(offset, value)) {
      if (width != width_of(offset)) report(offset, width, "not the register's width");
      eax_ = (eax_ & ~mask) | (value & mask);
    } else {
      report(offset, width, "no register begins there, and the processor's keeps what it had");
    }
    now += microseconds_per_access;
    return eax_ & mask;
  }
  void out(std::uint32_t offset, unsigned width, std::uint32_t value) {
    note("w" + std::to_string(width) + "@" + wire::hex(offset) + "=" + wire::hex(value));
    if (!present) return;
    if (width != width_of(offset)) report(offset, width, "not a register's width");
    switch (offset) {
      case 0x04:
        if ((value & ~offers) != 0)
          violations_.push_back("FEAT-01: features accepted that are not offered: " + wire::hex(value & ~offers));
        accepted_ = value & offers;
        return;
      case 0x0e: return;                                              // there is no queue to be selected
      case 0x12: status_ = static_cast<std::uint8_t>(value); return;  // 0 ends nothing that is pending
      case 0x14: return answered(value);
      default: report(offset, width, "written, and nothing happens");
    }
  }

 private:
  static constexpr std::uint32_t ones = 0xffff'ffff;
  [[nodiscard]] static std::uint32_t mask_of(unsigned width) { return width == 4 ? ones : (1u << (8 * width)) - 1; }
  [[nodiscard]] static unsigned width_of(std::uint32_t offset) {
    if (offset == 0x12 || offset == 0x13) return 1;
    return offset == 0x0c || offset == 0x0e || offset == 0x10 ? 2 : 4;
  }

  [[nodiscard]] bool answers(std::uint32_t offset, std::uint32_t& value) {
    value = 0;
    switch (offset) {
      case 0x00: value = offers; return true;
      case 0x04: value = accepted_; return true;
      case 0x08:
      case 0x0c:
      case 0x0e:
      case 0x10: return true;  // of no queue
      case 0x12: value = status_; return true;
      case 0x13: value = std::exchange(isr_, std::uint8_t{0}); return true;
      case 0x14: value = pending_; return true;
      case 0x18:
        latched_ = now;
        value = static_cast<std::uint32_t>(latched_ / second);
        return true;
      case 0x20:
        value = microseconds_are != 0 ? microseconds_are : static_cast<std::uint32_t>(latched_ % second);
        return true;
      case 0x1c:
      case 0x24: return true;  // the upper halves, which are shifted the wrong way
      default: return false;
    }
  }

  void answered(std::uint32_t command) {
    switch (command) {
      case none: return;
      case shutdown:
        if (pending_ == none) {
          state_ = machine::off;
          return wait(acknowledged_within);
        }
        [[fallthrough]];
      case reboot:
        if (command == pending_ && waits_) {
          state_ = machine::ends;
          wait(ended_within);
        }
        return;
      case syncrtc: pending_ = none; return;
      default: violations_.push_back("vmmci: command " + std::to_string(command) + " is none");
    }
  }
  void wait(std::uint64_t microseconds) {
    waits_ = true;
    deadline_ = now + microseconds;
  }

  void note(const std::string& what) { log_ += (log_.empty() ? "" : " ") + what; }
  void report(std::uint32_t offset, unsigned width, const char* what) {
    violations_.push_back("vmmci: access of " + std::to_string(width) + " bytes at " + wire::hex(offset) + ": " + what);
  }

  std::uint32_t command_register_ = 0, bar_ = 0x0000'3001, accepted_ = 0, pending_ = none;
  std::uint32_t eax_ = 0x0b5d'cafe;  // what the processor's register had before
  std::uint8_t status_ = 0, isr_ = 0;
  std::uint64_t latched_ = 0, deadline_ = 0;
  bool waits_ = false;
  machine state_ = machine::runs;
  std::string log_;
  std::vector<std::string> violations_;
};

/// The registers in its BAR: a register space.
struct vmmci_registers {
  vmmci_model* model = nullptr;
  usize start = 0, length = 0;

  template <class T>
  [[nodiscard]] T read(usize offset) const {
    return static_cast<T>(model->in(static_cast<std::uint32_t>(start + offset), sizeof(T)));
  }
  template <class T>
  void write(usize offset, T value) const {
    model->out(static_cast<std::uint32_t>(start + offset), sizeof(T), value);
  }
  [[nodiscard]] usize size() const { return length; }
  [[nodiscard]] vmmci_registers part(usize offset, usize n) const { return {model, start + offset, n}; }
};

/// The bus, as a driver's host.
struct vmmci_host {
  using function_id = pci::address;
  using bar_space = vmmci_registers;

  vmmci_model* model = nullptr;

  [[nodiscard]] u32 config_read32(pci::address at, u16 offset) const { return model->config_read(at, offset); }
  void config_write32(pci::address at, u16 offset, u32 value) const { model->config_write(at, offset, value); }
  [[nodiscard]] result<vmmci_registers> bar(pci::address at, u8 index) const {
    if (!model->present || at.slot != vmmci_model::control_slot || index != 0) return errc::not_found;
    return vmmci_registers{model, 0, 0x1000};
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    pci::each_numbered_function(*this, 0, visit);
  }
};

static_assert(pci::host<vmmci_host>);

}  // namespace virtio::testing
