// SPDX-License-Identifier: MIT
// What driver and block device say to each other: feature bits, config fields, the request header and its status.
// Spec: virtio 1.4, 5.2. Layer: blk.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/device/disk.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::blk {

/// Feature bits of block devices (5.2.3).
enum class feature : u8 {
  size_max = 1,
  seg_max = 2,
  geometry = 4,
  read_only = 5,
  blk_size = 6,
  scsi = 7,  // legacy only
  flush = 9,
  topology = 10,
  config_wce = 11,
  multi_queue = 12,
  discard = 13,
  write_zeroes = 14,
  lifetime = 15,
  secure_erase = 16,
  zoned = 17,
};
constexpr void feature_bits_of(feature) {}

[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::size_max: return "BLK_SIZE_MAX";
    case feature::seg_max: return "BLK_SEG_MAX";
    case feature::geometry: return "BLK_GEOMETRY";
    case feature::read_only: return "BLK_RO";
    case feature::blk_size: return "BLK_BLK_SIZE";
    case feature::scsi: return "BLK_SCSI";
    case feature::flush: return "BLK_FLUSH";
    case feature::topology: return "BLK_TOPOLOGY";
    case feature::config_wce: return "BLK_CONFIG_WCE";
    case feature::multi_queue: return "BLK_MQ";
    case feature::discard: return "BLK_DISCARD";
    case feature::write_zeroes: return "BLK_WRITE_ZEROES";
    case feature::lifetime: return "BLK_LIFETIME";
    case feature::secure_erase: return "BLK_SECURE_ERASE";
    case feature::zoned: return "BLK_ZONED";
  }
  return nullptr;
}

/// Fields of device config (5.2.4).
namespace config {
inline constexpr config_field<u64> capacity{0x00};  // in sectors
inline constexpr config_field<u32> size_max{0x08};
inline constexpr config_field<u32> seg_max{0x0c};
inline constexpr config_field<u32> blk_size{0x14};
inline constexpr config_field<u8> physical_block_exp{0x18};  // log2 of the blocks in a physical block
inline constexpr config_field<u8> alignment_offset{0x19};    // in blocks
inline constexpr config_field<u16> min_io_size{0x1a};        // in blocks
inline constexpr config_field<u32> opt_io_size{0x1c};        // in blocks
inline constexpr config_field<u8> writeback{0x20};           // the one that the driver may write
// Three limits in a row each: sectors of one extent, extents of one request, sectors where cuts should be (not for write zeroes).
inline constexpr config_field<u32> discard{0x24};
inline constexpr config_field<u32> write_zeroes{0x30};
inline constexpr config_field<u32> secure_erase{0x3c};
static_assert(write_zeroes.offset - discard.offset == secure_erase.offset - write_zeroes.offset);
}  // namespace config

using virtio::sector_bytes;

/// The length of a disk's identification string, which is not terminated when it fills them all.
inline constexpr usize id_bytes = 20;

/// What a request asks for (5.2.6).
enum class request : u32 {
  in = 0,
  out = 1,
  flush = 4,
  get_id = 8,
  get_lifetime = 10,
  discard = 11,
  write_zeroes = 13,
  secure_erase = 14,
};

/// The first 16 bytes of every request; the device reads them.
template <byte_order Order>
struct header {
  to_device<u32, Order> type;
  to_device<u32, Order> reserved;
  to_device<u64, Order> sector;
};
static_assert(sizeof(header<byte_order::little>) == 16);

/// The data of discard, write zeroes and secure erase: one of these for each extent; the device reads them.
template <byte_order Order>
struct extent_cells {
  to_device<u64, Order> sector;
  to_device<u32, Order> count;
  to_device<u32, Order> flags;
};
static_assert(sizeof(extent_cells<byte_order::little>) == 16);

/// The last byte of every request; the device writes it.
namespace status {
inline constexpr u8 ok = 0;
inline constexpr u8 io_error = 1;
inline constexpr u8 unsupported = 2;
inline constexpr u8 unwritten = 0xff;  // ours, put there before the device is asked
}  // namespace status

}  // namespace virtio::blk
