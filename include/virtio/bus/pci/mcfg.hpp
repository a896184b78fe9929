// SPDX-License-Identifier: MIT
// The address of ECAM from ACPI: the MCFG table, and the path to it from the RSDP. This code reads only bytes that the
// board provides. It trusts the firmware's values but not its lengths: every length is checked and every walk bounded.
// Spec: ACPI 6.5, 5.2.5 to 5.2.8; PCI Firmware 3.3, 4.1.2. Layer: bus/pci.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/bus/pci/ecam.hpp>

namespace virtio::pci {

/// Access to ACPI tables.
namespace acpi {

/// Of every table: signature, length, ..., checksum over the whole table.
inline constexpr usize header_bytes = 36;
inline constexpr usize most_bytes = 64 * 1024;  // longer tables are ignored
inline constexpr usize most_tables = 256;       // further entries of the root table are ignored

/// Returns the little-endian number at `offset`, which may be unaligned. Missing bytes read as zeros.
template <class T>
[[nodiscard]] T number(const_bytes from, usize offset) {
  u64 value = 0;
  for (usize i = 0; i < sizeof(T) && offset + i < from.size(); ++i) value |= u64{from.data()[offset + i]} << (8 * i);
  return static_cast<T>(value);
}

/// Returns whether the sum of the bytes is 0 modulo 256.
[[nodiscard]] inline bool sums_to_zero(const_bytes what) {
  u8 sum = 0;
  for (usize i = 0; i < what.size(); ++i) sum = static_cast<u8>(sum + what.data()[i]);
  return sum == 0;
}

/// Returns whether `what` begins with `letters`.
[[nodiscard]] inline bool starts_with(const_bytes what, const_bytes letters) {
  if (what.size() < letters.size()) return false;
  for (usize i = 0; i < letters.size(); ++i)
    if (what.data()[i] != letters.data()[i]) return false;
  return true;
}

/// Returns the table at the start of `table` if its signature and checksum are right, else an empty view.
[[nodiscard]] inline const_bytes checked(const_bytes table, const_bytes signature) {
  const u32 length = number<u32>(table, 4);
  if (!starts_with(table, signature) || length < header_bytes || length > table.size()) return {};
  const const_bytes whole = table.part(0, length);
  return sums_to_zero(whole) ? whole : const_bytes{};
}

/// Finds the table with this signature of four letters, starting at the RSDP: through the XSDT, or the RSDT of older
/// firmware. `view(address, size)` returns `size` bytes of physical memory as `const_bytes`, or an empty view if it
/// cannot. The bytes are read more than once. Errors: `invalid_argument` if the bytes are not an RSDP, `not_found`.
template <class View>
[[nodiscard]] result<const_bytes> find_table(const_bytes rsdp, const_bytes signature, View&& view) {
  if (!starts_with(rsdp, text("RSD PTR ")) || rsdp.size() < 20 || !sums_to_zero(rsdp.part(0, 20)))
    return errc::invalid_argument;
  const auto table_at = [&](u64 address, const_bytes wanted) -> const_bytes {
    const const_bytes head = view(address, header_bytes);
    const u32 length = number<u32>(head, 4);
    if (head.size() < header_bytes || !starts_with(head, wanted) || length > most_bytes) return {};
    return checked(view(address, length), wanted);
  };

  const u64 xsdt =
      rsdp.data()[15] >= 2 && rsdp.size() >= 36 && sums_to_zero(rsdp.part(0, 36)) ? number<u64>(rsdp, 24) : 0;
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

/// The MCFG table: one row for each part of a machine's configuration space. It is a view, so the table must outlive
/// it.
class mcfg {
 public:
  /// Checks a table. Error: `invalid_argument` if the bytes are not an MCFG table.
  [[nodiscard]] static result<mcfg> read(const_bytes table) {
    mcfg out;
    out.table_ = acpi::checked(table, text("MCFG"));
    if (out.table_.size() < first_row) return errc::invalid_argument;
    return out;
  }

  /// Returns the number of rows, 0 for a default object.
  [[nodiscard]] usize rows() const { return table_.empty() ? 0 : (table_.size() - first_row) / row_bytes; }

  /// Returns the host for row `n`. `map` maps configuration space and BARs to CPU addresses. Machines with ports use
  /// `io_space`: `table.row<io_space>(0)`. Each row is a separate host: to find all devices, use all rows. Errors:
  /// `not_found` after the last row; `invalid_argument` for an invalid row; `out_of_range` if the CPU cannot reach it.
  template <register_space Space = mmio_space, bus_map Map = linear_map>
  [[nodiscard]] result<memory_config<12, Map, Space>> row(usize n, const Map& map = {}) const {
    if (n >= rows()) return errc::not_found;
    const const_bytes one = table_.part(first_row + n * row_bytes, row_bytes);
    const u64 base = acpi::number<u64>(one, 0);
    const u8 first_bus = one.data()[10], last_bus = one.data()[11];
    if (base == 0 || base % bus_bytes != 0 || last_bus < first_bus) return errc::invalid_argument;
    // The address is that of bus 0, even if the row does not contain bus 0.
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

  /// Returns the host for a PCI segment, from its first row. Use `row` for other rows of the segment. Errors:
  /// `not_found`, and those of its row.
  template <register_space Space = mmio_space, bus_map Map = linear_map>
  [[nodiscard]] result<memory_config<12, Map, Space>> segment(u16 number, const Map& map = {}) const {
    for (usize n = 0; n < rows(); ++n)
      if (acpi::number<u16>(table_, first_row + n * row_bytes + 8) == number) return row<Space>(n, map);
    return errc::not_found;
  }

 private:
  static constexpr usize first_row = 44;  // eight reserved bytes follow the header
  static constexpr usize row_bytes = 16;
  static constexpr u64 bus_bytes = u64{1} << 20;

  const_bytes table_{};
};

}  // namespace virtio::pci
