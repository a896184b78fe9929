// SPDX-License-Identifier: MIT
// The operands of discard, write zeroes and secure erase: extents of a disk, and a device's limits on their number and
// size. Spec: virtio 1.4, 5.2.4 and 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/device/session.hpp>

namespace virtio::blk {

using virtio::extent;
using virtio::extents;

/// An operation on extents. Each has a feature, a request type and three limits in config.
enum class operation : u8 { discard, write_zeroes, secure_erase };

/// The feature of an operation.
[[nodiscard]] constexpr feature feature_of(operation what) {
  return what == operation::discard        ? feature::discard
         : what == operation::write_zeroes ? feature::write_zeroes
                                           : feature::secure_erase;
}
/// The request type of an operation.
[[nodiscard]] constexpr request request_of(operation what) {
  return what == operation::discard        ? request::discard
         : what == operation::write_zeroes ? request::write_zeroes
                                           : request::secure_erase;
}

/// Whether the device may release the storage of zeroed sectors. Later writes there may then fail for lack of space.
enum class unmap : u8 { no, allowed };

/// A device's limits on one request of an operation.
struct extent_limits {
  u32 sectors = 0;    // maximum sectors of one extent, a multiple of the disk's blocks
  u32 extents = 0;    // maximum number of extents in one request
  u32 alignment = 0;  // splits should be at multiples of this many sectors; a power of two

  /// Returns how many of `count` sectors from `sector` on the next request takes: the maximum, reduced to end at an
  /// aligned sector.
  [[nodiscard]] constexpr u64 part(u64 sector, u64 count) const {
    if (count <= sectors) return count;
    const u64 cut = (sector + sectors) & ~u64{alignment - 1};
    return cut > sector ? cut - sector : sectors;
  }
  [[nodiscard]] friend constexpr bool operator==(const extent_limits&, const extent_limits&) = default;
};

/// The limits of every operation, each read from config at its first use.
class extent_limits_table {
 public:
  /// Returns the limits of an operation, for a disk with blocks of `block` sectors. Errors: `unsupported`: the feature
  /// is missing, no whole block fits, or config ends before the limits; `device_misbehaved`: config is never stable.
  template <class Session>
  [[nodiscard]] result<extent_limits> of(const Session& device, operation what, u32 block) {
    if (!device.features().has(feature_of(what))) return errc::unsupported;
    extent_limits& kept = kept_[static_cast<usize>(what)];
    const u8 bit = static_cast<u8>(1u << static_cast<u8>(what));
    if ((known_ & bit) != 0) return kept;
    if (const auto said = read(device, what, kept); !said)  // config may end before the limits
      return said.error() == errc::device_misbehaved ? said.error() : errc::unsupported;
    // Zero means not specified: assume the maximum of a transfer, and one extent, the minimum of a request.
    kept.sectors = (kept.sectors == 0 ? largest_transfer / sector_bytes : kept.sectors) & ~(block - 1);
    if (kept.sectors == 0) return errc::unsupported;
    if (kept.extents == 0) kept.extents = 1;
    // The alignment is a hint. One that is not a multiple of a block, or not a power of two, is replaced by the block.
    if (!virtio::detail::is_power_of_two(kept.alignment) || kept.alignment < block) kept.alignment = block;
    known_ = static_cast<u8>(known_ | bit);
    return kept;
  }
  void forget() { known_ = 0; }  // the next use reads config again

 private:
  template <class Session>
  [[nodiscard]] static result<void> read(const Session& device, operation what, extent_limits& out) {
    const usize at =
        config::discard.offset + (config::write_zeroes.offset - config::discard.offset) * static_cast<usize>(what);
    const auto fill_in = [&](extent_limits& all) -> result<void> {
      VIRTIO_TRY_ASSIGN(all.sectors, read_field(device.transport(), config_field<u32>{at}));
      VIRTIO_TRY_ASSIGN(all.extents, read_field(device.transport(), config_field<u32>{at + 4}));
      all.alignment = 0;
      if (what == operation::write_zeroes) return {};  // has no alignment field
      VIRTIO_TRY_ASSIGN(all.alignment, read_field(device.transport(), config_field<u32>{at + 8}));
      return {};
    };
    return read_config(device.transport(), out, fill_in);
  }

  u8 known_ = 0;
  extent_limits kept_[3]{};
};

}  // namespace virtio::blk
