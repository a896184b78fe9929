// SPDX-License-Identifier: MIT
// Properties of a disk besides its size: topology, wear and write cache. The device reports topology and wear; the
// driver passes them on and does not depend on them. Spec: virtio 1.4, 5.2.4 and 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/device/session.hpp>

namespace virtio::blk {

/// Hints for the position and size of requests, in sectors of 512 bytes; 1 or 0 if not reported.
struct topology {
  u64 physical_block = 1;  // the unit in which the medium writes
  u64 first_aligned = 0;   // the first sector that starts a physical block
  u64 smallest_io = 0;     // the smallest suitable transfer
  u64 best_io = 0;         // transfers should be multiples of this
  [[nodiscard]] friend constexpr bool operator==(const topology&, const topology&) = default;
};

/// Reads the topology of a disk with blocks of `block` sectors. Errors: `unsupported`; those of `read_config`.
template <class Session>
[[nodiscard]] result<topology> read_topology(const Session& device, u32 block) {
  if (!device.features().has(feature::topology)) return errc::unsupported;
  topology found;
  const auto fill_in = [&](topology& all) -> result<void> {
    VIRTIO_TRY_ASSIGN(const u8 exponent, read_field(device.transport(), config::physical_block_exp));
    VIRTIO_TRY_ASSIGN(const u8 offset, read_field(device.transport(), config::alignment_offset));
    VIRTIO_TRY_ASSIGN(const u16 smallest, read_field(device.transport(), config::min_io_size));
    VIRTIO_TRY_ASSIGN(const u32 best, read_field(device.transport(), config::opt_io_size));
    const u64 unit = block;
    all = {.physical_block = exponent < 32 ? unit << exponent : unit,  // an impossible exponent is ignored
           .first_aligned = unit * offset,
           .smallest_io = unit * smallest,
           .best_io = unit * best};
    return {};
  };
  VIRTIO_TRY(read_config(device.transport(), found, fill_in));
  return found;
}

/// The wear of the medium. Other values are not defined; do not interpret them.
struct lifetime {
  u16 pre_eol = 0;     // 1: normal; 2: more than 80 % of the spare blocks are used; 3: more than 90 %; 0: unknown
  u16 estimate_a = 0;  // used life of SLC cells, in steps of 10 %; 11: exceeded; 0: unknown
  u16 estimate_b = 0;  // the same for MLC cells
};

/// The device's answer in memory (5.2.6).
template <byte_order Order>
struct lifetime_cells {
  from_device<u16, Order> pre_eol;     // the same fields as in `lifetime`
  from_device<u16, Order> estimate_a;  // the same
  from_device<u16, Order> estimate_b;  // the same

  /// Zeroes the fields before the request.
  void clear() {
    pre_eol.clear_before_use();
    estimate_a.clear_before_use();
    estimate_b.clear_before_use();
  }
  /// Reads the fields.
  // Unchecked: the driver only passes these numbers on.
  template <class Barriers>
  [[nodiscard]] lifetime fetch() const {
    return {pre_eol.template fetch<Barriers>().unchecked(), estimate_a.template fetch<Barriers>().unchecked(),
            estimate_b.template fetch<Barriers>().unchecked()};
  }
};
static_assert(sizeof(lifetime_cells<byte_order::little>) == 6);

/// Whether a completed write is stable (writethrough), or only after a flush (writeback).
enum class cache_mode : u8 { writethrough, writeback };

/// Switches the cache. Requires CONFIG_WCE. Errors: `io_error`: the mode did not change; those of the transport.
template <class Session>
[[nodiscard]] result<void> write_cache_mode(Session& device, cache_mode mode) {
  VIRTIO_TRY(write_field(device.transport(), config::writeback, static_cast<u8>(mode)));
  VIRTIO_TRY_ASSIGN(const u8 now, read_field(device.transport(), config::writeback));
  return now == static_cast<u8>(mode) ? result<void>{} : result<void>{errc::io_error};
}

}  // namespace virtio::blk
