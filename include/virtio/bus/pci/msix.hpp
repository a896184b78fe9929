// SPDX-License-Identifier: MIT
// MSI-X: a table in a BAR. Each vector has an address and a value; the device writes the value to the address to raise
// an interrupt. The owner of the interrupt controller creates the messages. Drivers get vector numbers when they start.
//
//   virtio::pci::msix<board> table;
//   table.open(host, where->id);            // masks all vectors
//   table.route(0, my_message);             // on x86: {0xfee00000 | apic id << 12, idt vector}
//   table.enable();                         // replaces the interrupt line
//   disk.start(board{}, *where, disk_dma, {.config = 0, .first = 0});
//
// Spec: PCI 3.0, 6.8.2; virtio 1.4, 4.1.5.1.2. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/capabilities.hpp>

namespace virtio::pci {

/// The message that a device writes to raise an interrupt.
struct msi_message {
  u64 address = 0;  // where it is written
  u32 data = 0;     // the value
};

/// The MSI-X table of one function. All-zero until `open`. A reset of the virtio device clears the vectors of its
/// queues, but not the table.
template <host H>
class msix {
 public:
  using space = typename H::bar_space;  // of the table's BAR

  /// Finds the table, masks every vector and switches MSI-X off. Enables the function's memory decoding. Errors:
  /// `not_found` (no MSI-X capability), `device_misbehaved` (the table does not fit its BAR), those of `host.bar`.
  [[nodiscard]] result<void> open(const H& h, typename H::function_id id) {
    virtio::detail::clear(*this);
    const msix_state found = find_msix(h, id);
    if (found.at == 0 || found.at > 256 - 12) return errc::not_found;  // three dwords
    const u32 place = h.config_read32(id, static_cast<u16>(found.at + 4));
    VIRTIO_TRY_ASSIGN(const space whole, h.bar(id, static_cast<u8>(place & 7u)));
    const usize start = place & ~7u;
    const usize bytes = usize{found.vectors} * entry_bytes;
    if (start > whole.size() || bytes > whole.size() - start) return errc::device_misbehaved;
    host_ = h;
    id_ = id;
    at_ = found.at;
    count_ = found.vectors;
    table_ = whole.part(start, bytes);
    change_command(host_, id_, command::memory, 0);
    control(0, enabled | all_masked);
    for (u16 vector = 0; vector < count_; ++vector) mask(vector);
    return {};
  }

  /// Returns the number of vectors, 0 before `open`.
  [[nodiscard]] u16 size() const { return count_; }

  /// Sets the message of a vector and unmasks it. Error: `out_of_range`. Five register accesses.
  [[nodiscard]] result<void> route(u16 vector, msi_message message) const {
    if (vector >= count_) return errc::out_of_range;
    mask(vector);  // otherwise the device could use half of the old and half of the new message
    write(vector, 0, static_cast<u32>(message.address));
    write(vector, 4, static_cast<u32>(message.address >> 32));
    write(vector, 8, message.data);
    unmask(vector);
    return {};
  }

  /// Masks a vector: the device keeps its interrupts pending until `unmask`. Ignores vectors out of range.
  void mask(u16 vector) const { write(vector, 12, 1); }
  /// Unmasks a vector. Ignores vectors out of range.
  void unmask(u16 vector) const { write(vector, 12, 0); }

  /// Switches MSI-X on. The device no longer uses its interrupt line. A legacy device's configuration moves by four
  /// bytes.
  void enable() const { control(enabled, all_masked); }
  /// Switches MSI-X off. The device uses its interrupt line again.
  void disable() const { control(0, enabled); }

 private:
  static constexpr usize entry_bytes = 16;
  static constexpr u32 enabled = 0x8000;
  static constexpr u32 all_masked = 0x4000;

  void write(u16 vector, usize offset, u32 value) const {
    if (vector < count_) table_.template write<u32>(vector * entry_bytes + offset, value);
  }
  void control(u32 set, u32 clear) const {
    if (count_ == 0) return;
    const u32 now = host_.config_read32(id_, at_);
    write_half(host_, id_, static_cast<u16>(at_ + 2), static_cast<u16>((now >> 16 | set) & ~clear),
               static_cast<u16>(now));
  }

  VIRTIO_EMPTY_MEMBER H host_{};
  typename H::function_id id_{};
  space table_{};
  u16 at_ = 0;
  u16 count_ = 0;
};

}  // namespace virtio::pci
