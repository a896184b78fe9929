// SPDX-License-Identifier: MIT
// A disk's size and its limits on transfers, read from device config.
// Spec: virtio 1.4, 5.2.4. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/device/disk.hpp>

namespace virtio::blk {
namespace detail {

struct limit_field {
  feature with;
  u8 offset;  // of a u32
  u32 otherwise;
};
inline constexpr limit_field limit_fields[] = {{feature::size_max, config::size_max.offset, largest_transfer},
                                               // Firecracker, Alioth: serve one segment and write the status into the
                                               // second.
                                               {feature::seg_max, config::seg_max.offset, 1},
                                               {feature::blk_size, config::blk_size.offset, sector_bytes}};

}  // namespace detail

/// Limits on transfers. All-zero until `read`.
class limits {
 public:
  /// Reads the limits from config. A request of the driver has at most `segments` pieces of data. On error `why` has
  /// the reason. Errors: those of the transport; `device_misbehaved`: config is never stable; `unsupported`: no block
  /// fits into a request, or the block size is not a power of two.
  template <class Session>
  [[nodiscard, gnu::always_inline]] result<void> read(const Session& device, u16 segments, verdict& why) {
    why = verdict::config_unreadable;
    const auto fill_in = [&device](snapshot& all) -> result<void> {
      VIRTIO_TRY_ASSIGN(all.capacity, read_field(device.transport(), config::capacity));
      u32* limit = all.of;
      for (const auto& field : detail::limit_fields) {
        // A field is valid only with its feature (2.5.1). Some devices leave a field zero: it counts as not specified.
        *limit = field.otherwise;
        if ((device.features().word(0) >> static_cast<u8>(field.with) & 1u) != 0) {  // all are in word 0
          VIRTIO_TRY_ASSIGN(const u32 said, read_field(device.transport(), config_field<u32>{field.offset}));
          if (said != 0) *limit = said;
        }
        ++limit;
      }
      return {};
    };
    VIRTIO_TRY(read_config(device.transport(), said_, fill_in));
    segments_ = static_cast<u16>(virtio::detail::smaller(u32{segments}, said_.of[1]));
    const u32 block = said_.of[2] < sector_bytes ? sector_bytes : said_.of[2];  // any request is whole smaller blocks
    block_mask_ = block / sector_bytes - 1;
    const u64 most = u64{size_max()} * segments_;
    const u32 sectors = static_cast<u32>(virtio::detail::smaller(most, u64{largest_transfer})) / sector_bytes;
    largest_ = (sectors & ~block_mask_) * sector_bytes;
    why = verdict::block_size_invalid;
    if (!virtio::detail::is_power_of_two(block)) return errc::unsupported;
    why = verdict::limits_unusable;
    if (largest_ == 0) return errc::unsupported;
    return {};
  }
  /// Bytes of one block as the device reports it, also if it is not valid.
  [[nodiscard]] u32 stated_block_size() const { return said_.of[2]; }

  [[nodiscard]] u64 capacity() const { return said_.capacity; }                    // sectors of 512 bytes
  [[nodiscard]] u32 size_max() const { return said_.of[0]; }                       // bytes in one segment
  [[nodiscard]] u16 segments() const { return segments_; }                         // data segments in one request
  [[nodiscard]] u32 largest() const { return largest_; }                           // bytes in one request, whole blocks
  [[nodiscard]] u32 block_sectors() const { return block_mask_ + 1; }              // sectors of a block, a power of two
  [[nodiscard]] u32 block_size() const { return block_sectors() * sector_bytes; }  // bytes of a block

  /// Returns whether these are whole blocks inside the disk. Errors: `invalid_argument` (no sectors), `misaligned`,
  /// `out_of_range`.
  [[nodiscard]] errc check(u64 sector, u64 count) const {
    return virtio::detail::check_extent(sector, count, capacity(), block_mask_);
  }

 private:
  struct snapshot {
    u64 capacity = 0;
    u32 of[3]{};  // the rows of limit_fields
    [[nodiscard]] friend constexpr bool operator==(const snapshot&, const snapshot&) = default;
  };

  snapshot said_{};
  u32 block_mask_ = 0;  // sectors in one of the disk's blocks, less one
  u32 largest_ = 0;
  u16 segments_ = 0;
};

}  // namespace virtio::blk
