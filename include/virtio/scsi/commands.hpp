// SPDX-License-Identifier: MIT
// The commands that the driver sends, byte by byte, and where their answers have what it reads.
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

/// A command descriptor block; shorter ones are followed by zeroes.
struct command {
  u8 bytes[longest_command];
};

/// TEST UNIT READY, and questions with the length that their answers may have.
inline constexpr command test_unit_ready{{0x00}};
inline constexpr command inquiry{{0x12, 0, 0, 0, 36}};
inline constexpr command block_limits{{0x12, 1, 0xb0, 0, 64}};
inline constexpr u8 page_bytes = 104;
inline constexpr command serial_page{{0x12, 1, 0x80, 0, page_bytes}};
inline constexpr command identification_page{{0x12, 1, 0x83, 0, page_bytes}};
inline constexpr command read_capacity_10{{0x25}};
inline constexpr command read_capacity_16{{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}};
inline constexpr u8 mode_bytes = 64;
inline constexpr command caching_mode{{0x1a, 0x08, 0x08, 0, mode_bytes}};  // MODE SENSE (6) without block descriptors
inline constexpr command synchronize_cache{{0x35}};                // all of it
inline constexpr command unmap{{0x42, 0, 0, 0, 0, 0, 0, 0, 24}};

[[nodiscard]] constexpr u32 list_bytes(u32 units) { return 8 + 8 * units; }

/// REPORT LUNS: all that the target's unit 0 knows of.
[[nodiscard]] constexpr command report_luns(u32 bytes) {
  command out{{0xa0}};
  detail::put(out.bytes + 6, bytes, 4);
  return out;
}

enum class transfer_way : u8 { read = 0x28, write = 0x2a };  // the ten-byte commands; those of sixteen lie 0x60 higher

/// READ or WRITE of `count` blocks, below 65,536, from `block` on: of ten bytes where they reach, which is all that some CD drives know.
[[nodiscard]] inline command transfer(transfer_way what, u64 block, u32 count) {
  command out{};
  const u8 operation = static_cast<u8>(what);
  if (block + count <= 0xffff'ffff) {
    out.bytes[0] = operation;
    detail::put(out.bytes + 2, block, 4);
    detail::put(out.bytes + 7, count, 2);
  } else {
    out.bytes[0] = static_cast<u8>(operation + 0x60);
    detail::put(out.bytes + 2, block, 8);
    detail::put(out.bytes + 10, count, 4);
  }
  return out;
}

inline constexpr u32 unmap_list_bytes = 24;

/// What UNMAP reads: one extent, of up to 2^32 - 1 blocks.
struct unmap_list {
  u8 bytes[unmap_list_bytes]{0, 22, 0, 16};

  unmap_list(u64 block, u32 count) {
    detail::put(bytes + 8, block, 8);
    detail::put(bytes + 16, count, 4);
  }
};

/// What a unit is (peripheral device types of SPC-4). Others exist.
enum class kind : u8 { disk = 0x00, tape = 0x01, processor = 0x03, cd = 0x05, optical = 0x07, changer = 0x08, reduced_disk = 0x0e,
                       none = 0x1f };

/// A unit that was found.
struct found {
  address where{};
  scsi::kind kind = scsi::kind::none;
  char vendor[8]{};     // padded with blanks, as units say it
  char product[16]{};
};

}  // namespace virtio::scsi
