// SPDX-License-Identifier: MIT
// Where ECAM is, as ACPI says: the MCFG table, and the way to it from the RSDP. Nothing here touches memory by itself: the board
// shows bytes. Firmware is trusted with what it says, not with where it ends: every length is checked and every walk bounded.
// Spec: ACPI 6.5, 5.2.5 to 5.2.8; PCI Firmware 3.3, 4.1.2. Layer: bus/pci.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/bus/pci/ecam.hpp>

namespace virtio::pci {
namespace acpi {

inline constexpr usize header_bytes = 36;         // of every table: signature, length, ..., checksum over the whole
inline constexpr usize most_bytes = 64 * 1024;    // a table that is longer is none of those looked for here
inline constexpr usize most_tables = 256;

/// A little-endian number at `offset`, aligned or not; zeros stand for what is not there.
template <class T>
[[nodiscard]] T number(const_bytes from, usize offset) {
  u64 value = 0;
  for (usize i = 0; i < sizeof(T) && offset + i < from.size(); ++i) value |= u64{from.data()[offset + i]} << (8 * i);
  return static_cast<T>(value);
}

[[nodiscard]] inline bool sums_to_zero(const_bytes what) {
  u8 sum = 0;
  for (usize i = 0; i < what.size(); ++i) sum = static_cast<u8>(sum + what.data()[i]);
  return sum == 0;
}

[[nodiscard]] inline bool starts_with(const_bytes what, const_bytes letters) {
  if (what.size() < letters.size()) return false;
  for (usize i = 0; i < letters.size(); ++i)
    if (what.data()[i] != letters.data()[i]) return false;
  return true;
}

/// The whole table that starts `table`, when it is one with this signature and a right checksum; nothing else.
[[nodiscard]] inline const_bytes checked(const_bytes table, const_bytes signature) {
  const u32 length = number<u32>(table, 4);
  if (!starts_with(table, signature) || length < header_bytes || length > table.size()) return {};
  const const_bytes whole = table.part(0, length);
  return sums_to_zero(whole) ? whole : const_bytes{};
}

/// Finds the table with this signature of four letters, from the RSDP on: through the XSDT, or the RSDT of an older firmware.
/// `view(address, size)` gives `size` bytes of physical memory as `const_bytes`, an empty one where it cannot. What it shows is
/// read more than once. Errors: `invalid_argument` for bytes that are no RSDP, `not_found`.
template <class View>
[[nodiscard]] result<const_bytes> find_table(const_bytes rsdp, const_bytes signature, View&& view) {
  if (!starts_with(rsdp, text("RSD PTR ")) || rsdp.size() < 20 || !sums_to_zero(rsdp.part(0, 20))) return errc::invalid_argument;
  const auto table_at = [&](u64 address, const_bytes wanted) -> const_bytes {
    const const_bytes head = view(address, header_bytes);
    const u32 length = number<u32>(head, 4);
    if (head.size() < header_bytes || !starts_with(head, wanted) || length > most_bytes) return {};
    return checked(view(address, length), wanted);
  };

  const u64 xsdt = rsdp.data()[15] >= 2 && rsdp.size() >= 36 && sums_to_zero(rsdp.part(0, 36)) ? number<u64>(rsdp, 24) : 0;
  const const_bytes roots = xsdt != 0 ? table_at(xsdt, text("XSDT")) : table_at(number<u32>(rsdp, 16), text("RSDT"));
  const usize width = xsdt != 0 ? 8 : 4;
  for (usize n = 0; n < most_tables && header_bytes + (n + 1) * width <= roots.size(); ++n) {
    const usize place = header_bytes + n * width;
    const const_bytes found = table_at(width == 8 ? number<u64>(roots, place) : number<u32>(roots, place), signature);
    if (!found.empty()) return found;
  }
  return errc::not_found;
}

}  // namespace acpi

/// The MCFG table: one row for each piece of a machine's configuration space. Holds a view, so the table must stay.
class mcfg {
 public:
  /// Error: `invalid_argument` when these bytes are no such table.
  [[nodiscard]] static result<mcfg> read(const_bytes table) {
    mcfg out;
    out.table_ = acpi::checked(table, text("MCFG"));
    if (out.table_.size() < first_row) return errc::invalid_argument;
    return out;
  }

  /// None in a default one.
  [[nodiscard]] usize rows() const { return table_.empty() ? 0 : (table_.size() - first_row) / row_bytes; }

  /// The host for row `n`. `map` says where the CPU reaches configuration space and BARs; a machine with ports asks for `io_space`:
  /// `table.row<io_space>(0)`. Errors: `not_found` after the last row, `invalid_argument` for a row that makes no sense,
  /// `out_of_range` when it lies where the CPU does not get. Each row is a host of its own: a program that means to see every device
  /// goes through all of them.
  template <register_space Space = mmio_space, bus_map Map = linear_map>
  [[nodiscard]] result<memory_config<12, Map, Space>> row(usize n, const Map& map = {}) const {
    if (n >= rows()) return errc::not_found;
    const const_bytes one = table_.part(first_row + n * row_bytes, row_bytes);
    const u64 base = acpi::number<u64>(one, 0);
    const u8 first_bus = one.data()[10], last_bus = one.data()[11];
    if (base == 0 || base % bus_bytes != 0 || last_bus < first_bus) return errc::invalid_argument;
    // The address is that of bus 0, be it there or not.
    const usize buses = usize{last_bus} - first_bus + 1;
    const u64 first = base + first_bus * bus_bytes;
    if (first < base) return errc::out_of_range;
    const auto where = map.cpu_address(first, buses * bus_bytes);
    if (!where) return errc::out_of_range;
    memory_config<12, Map, Space> out;
    out.base = *where;
    out.buses = buses;
    out.bars = map;
    out.segment_number = acpi::number<u16>(one, 8);
    out.first_bus = first_bus;
    return out;
  }

  /// The host for a PCI segment, by its first row: others of the same segment are reached by `row`. Errors: `not_found`, and those of
  /// its row.
  template <register_space Space = mmio_space, bus_map Map = linear_map>
  [[nodiscard]] result<memory_config<12, Map, Space>> segment(u16 number, const Map& map = {}) const {
    for (usize n = 0; n < rows(); ++n)
      if (acpi::number<u16>(table_, first_row + n * row_bytes + 8) == number) return row<Space>(n, map);
    return errc::not_found;
  }

 private:
  static constexpr usize first_row = 44;  // eight reserved bytes behind the header
  static constexpr usize row_bytes = 16;
  static constexpr u64 bus_bytes = u64{1} << 20;

  const_bytes table_{};
};

}  // namespace virtio::pci
