// SPDX-License-Identifier: MIT
// The commands that the driver sends, byte by byte, and the positions of the values that it reads in their answers.
// Spec: SPC-4, SBC-3, MMC-6. Layer: scsi.
#pragma once

#include <virtio/device/disk.hpp>
#include <virtio/scsi/protocol.hpp>

namespace virtio::scsi {

namespace detail {

/// Numbers inside commands are big-endian.
constexpr void put(u8* at, u64 value, u32 size) {
  while (size-- != 0) {
    at[size] = static_cast<u8>(value);
    value >>= 8;
  }
}

}  // namespace detail

/// A command descriptor block of 16 bytes as two big-endian numbers; zeroes follow shorter ones.
struct command {
  /// Bytes 0 to 7.
  u64 high = 0, low = 0;  // bytes 8 to 15

  /// A command from its bytes.
  [[nodiscard]] static constexpr command of(const u8 (&bytes)[longest_command]) {
    command out;
    for (u32 i = 0; i < 8; ++i) {
      out.high = out.high << 8 | bytes[i];
      out.low = out.low << 8 | bytes[8 + i];
    }
    return out;
  }
};

/// TEST UNIT READY.
inline constexpr command test_unit_ready = command::of({0x00});
inline constexpr command inquiry = command::of({0x12, 0, 0, 0, 36});                         // standard data
inline constexpr command block_limits = command::of({0x12, 1, 0xb0, 0, 64});                 // VPD page B0h
inline constexpr u8 page_bytes = 104;                                                        // of a VPD page's answer
inline constexpr command serial_page = command::of({0x12, 1, 0x80, 0, page_bytes});          // VPD page 80h
inline constexpr command identification_page = command::of({0x12, 1, 0x83, 0, page_bytes});  // VPD page 83h
inline constexpr command read_capacity_10 = command::of({0x25});  // capacity below 2^32 blocks
/// Capacity, and support of UNMAP.
inline constexpr command read_capacity_16 = command::of({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32});
inline constexpr u8 mode_bytes = 64;                                                     // of a mode page's answer
inline constexpr command caching_mode = command::of({0x1a, 0x08, 0x08, 0, mode_bytes});  // without block descriptors
inline constexpr command synchronize_cache = command::of({0x35});                        // of the whole unit
inline constexpr command unmap = command::of({0x42, 0, 0, 0, 0, 0, 0, 0, 24});           // with a list of one extent

/// Returns the page code of an INQUIRY.
[[nodiscard]] constexpr u8 page_of(command what) { return static_cast<u8>(what.high >> 40); }

/// Bytes of a list of `units` units.
[[nodiscard]] constexpr u32 list_bytes(u32 units) { return 8 + 8 * units; }

/// REPORT LUNS: all units that the target's unit 0 reports.
[[nodiscard]] constexpr command report_luns(u32 bytes) { return {u64{0xa0} << 56 | bytes >> 16, u64{bytes} << 48}; }

/// The ten-byte commands; the codes of sixteen bytes are 0x60 higher
enum class transfer_way : u8 { read = 0x28, write = 0x2a };

/// READ or WRITE of `count` blocks, below 65,536, from `block` on: the ten-byte command if possible, since some CD
/// drives support no other.
[[nodiscard]] inline command transfer(transfer_way what, u64 block, u32 count) {
  const u64 operation = static_cast<u8>(what);
  if (block + count <= 0xffff'ffff) return {operation << 56 | block << 16 | count >> 8, u64{count} << 56};
  return {(operation + 0x60) << 56 | block >> 16, block << 48 | u64{count} << 16};
}

inline constexpr u32 unmap_list_bytes = 24;  // a list of one extent

/// The parameter list of UNMAP: one extent, of up to 2^32 - 1 blocks.
struct unmap_list {
  u8 bytes[unmap_list_bytes]{0, 22, 0, 16};  // big-endian

  /// `count` blocks from `block` on.
  unmap_list(u64 block, u32 count) {
    detail::put(bytes + 8, block, 8);
    detail::put(bytes + 16, count, 4);
  }
};

/// The type of a unit (peripheral device types of SPC-4). Other values occur.
enum class kind : u8 {
  disk = 0x00,
  tape = 0x01,
  processor = 0x03,
  cd = 0x05,
  optical = 0x07,
  changer = 0x08,
  reduced_disk = 0x0e,
  none = 0x1f
};

/// A unit that was found.
struct found {
  address where{};                     // its address
  scsi::kind kind = scsi::kind::none;  // its type
  char vendor[8]{};                    // padded with blanks, as the unit sends it
  char product[16]{};                  // padded with blanks
};

}  // namespace virtio::scsi
