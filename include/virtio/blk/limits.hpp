// SPDX-License-Identifier: MIT
// What a disk says of itself in device config: how large it is, and what one transfer may be made of.
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
                                               // Firecracker, Alioth: one segment is served, and the status goes into the second.
                                               {feature::seg_max, config::seg_max.offset, 1},
                                               {feature::blk_size, config::blk_size.offset, sector_bytes}};

}  // namespace detail

/// What transfers must keep to. All-zero until `read`.
class limits {
 public:
  /// Reads them from config; a request of ours has at most `segments` pieces of data. Errors: those of the transport;
  /// `device_misbehaved`, config never stable; `unsupported`, no block fits a request, or the size of a block is no power of two. `why`
  /// says it all then.
  template <class Session>
  [[nodiscard, gnu::always_inline]] result<void> read(const Session& device, u16 segments, verdict& why) {
    why = verdict::config_unreadable;
    const auto fill_in = [&device](snapshot& all) -> result<void> {
      VIRTIO_TRY_ASSIGN(all.capacity, read_field(device.transport(), config::capacity));
      u32* limit = all.of;
      for (const auto& field : detail::limit_fields) {
        // A field counts only with its feature (2.5.1); zero in one means "not said" to devices that leave it blank.
        *limit = field.otherwise;
        if ((device.features().word(0) >> static_cast<u8>(field.with) & 1u) != 0) {  // all of them are in there
          VIRTIO_TRY_ASSIGN(const u32 said, read_field(device.transport(), config_field<u32>{field.offset}));
          if (said != 0) *limit = said;
        }
        ++limit;
      }
      return {};
    };
    VIRTIO_TRY(read_config(device.transport(), said_, fill_in));
    segments_ = static_cast<u16>(virtio::detail::smaller(u32{segments}, said_.of[1]));
    const u32 block = said_.of[2] < sector_bytes ? sector_bytes : said_.of[2];  // smaller ones are met by any request
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
  [[nodiscard]] u32 stated_block_size() const { return said_.of[2]; }

  [[nodiscard]] u64 capacity() const { return said_.capacity; }                  // sectors of 512 bytes
  [[nodiscard]] u32 size_max() const { return said_.of[0]; }                     // bytes in one segment
  [[nodiscard]] u16 segments() const { return segments_; }                       // in one request
  [[nodiscard]] u32 largest() const { return largest_; }                         // bytes in one request, whole blocks
  [[nodiscard]] u32 block_sectors() const { return block_mask_ + 1; }            // a power of two
  [[nodiscard]] u32 block_size() const { return block_sectors() * sector_bytes; }

  /// Whether these are whole blocks inside the disk.
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
