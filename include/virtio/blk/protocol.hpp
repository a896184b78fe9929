// SPDX-License-Identifier: MIT
// The protocol of block devices: feature bits, config fields, the request header and its status.
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
constexpr void feature_bits_of(feature) {}  // marks the enumeration as feature bits

/// The specification's name of a feature, without VIRTIO_ and F_; null if the bit is not in the enumeration.
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
inline constexpr config_field<u64> capacity{0x00};           // in sectors
inline constexpr config_field<u32> size_max{0x08};           // bytes in one segment
inline constexpr config_field<u32> seg_max{0x0c};            // segments in one request
inline constexpr config_field<u32> blk_size{0x14};           // bytes of a block
inline constexpr config_field<u8> physical_block_exp{0x18};  // log2 of the blocks in a physical block
inline constexpr config_field<u8> alignment_offset{0x19};    // in blocks
inline constexpr config_field<u16> min_io_size{0x1a};        // in blocks
inline constexpr config_field<u32> opt_io_size{0x1c};        // in blocks
inline constexpr config_field<u8> writeback{0x20};           // the cache mode; the only field that the driver may write
// Three consecutive limits each: sectors of one extent, extents of one request, alignment in sectors (not for write
// zeroes).
inline constexpr config_field<u32> discard{0x24};       // the first limit of discard
inline constexpr config_field<u32> write_zeroes{0x30};  // the first limit of write zeroes
inline constexpr config_field<u32> secure_erase{0x3c};  // the first limit of secure erase
static_assert(write_zeroes.offset - discard.offset == secure_erase.offset - write_zeroes.offset);
}  // namespace config

using virtio::sector_bytes;

/// Bytes of a disk's identification string. A string of 20 characters has no NUL.
inline constexpr usize id_bytes = 20;

/// Types of requests (5.2.6).
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
  to_device<u32, Order> type;      // a `request`
  to_device<u32, Order> reserved;  // 0
  to_device<u64, Order> sector;    // the first sector of a read or write; otherwise 0
};
static_assert(sizeof(header<byte_order::little>) == 16);

/// One extent in the data of discard, write zeroes and secure erase; the device reads it.
template <byte_order Order>
struct extent_cells {
  to_device<u64, Order> sector;  // the first sector
  to_device<u32, Order> count;   // number of sectors
  to_device<u32, Order> flags;   // bit 0: the device may unmap the sectors
};
static_assert(sizeof(extent_cells<byte_order::little>) == 16);

/// The last byte of every request; the device writes it.
namespace status {
inline constexpr u8 ok = 0;            // success
inline constexpr u8 io_error = 1;      // the request failed
inline constexpr u8 unsupported = 2;   // the device does not support the request
inline constexpr u8 unwritten = 0xff;  // the driver's initial value: the device has written no status
}  // namespace status

}  // namespace virtio::blk
