// SPDX-License-Identifier: MIT
// What a program may want to know of a disk besides its size: how its blocks lie, how worn it is, how its cache works. All of it
// is the device's word and changes nothing in how it is driven. Spec: virtio 1.4, 5.2.4 and 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/device/session.hpp>

namespace virtio::blk {

/// How to place and size requests so that the disk serves them best, in sectors of 512 bytes. Hints; 1 or 0 when not said.
struct topology {
  u64 physical_block = 1;  // what the medium writes at once
  u64 first_aligned = 0;   // the first sector that starts a physical block
  u64 smallest_io = 0;     // transfers should not be smaller than this,
  u64 best_io = 0;         // and go best in multiples of this
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
    all = {.physical_block = exponent < 32 ? unit << exponent : unit,  // what cannot be is not said
           .first_aligned = unit * offset,
           .smallest_io = unit * smallest,
           .best_io = unit * best};
    return {};
  };
  VIRTIO_TRY(read_config(device.transport(), found, fill_in));
  return found;
}

/// How worn the medium is: pre_eol 1 normal, 2 more than 80 % of its spare blocks are used, 3 more than 90 %; the estimates
/// in steps of 10 % of its life, 11 when that is over. 0: the device does not know. Any other number is the device's fancy.
struct lifetime {
  u16 pre_eol = 0;
  u16 estimate_a = 0;
  u16 estimate_b = 0;
};

/// What the device writes to say so.
template <byte_order Order>
struct lifetime_cells {
  from_device<u16, Order> pre_eol, estimate_a, estimate_b;

  void clear() {
    pre_eol.clear_before_use();
    estimate_a.clear_before_use();
    estimate_b.clear_before_use();
  }
  // Unchecked: numbers for somebody to read, nothing is done with them.
  template <class Barriers>
  [[nodiscard]] lifetime fetch() const {
    return {pre_eol.template fetch<Barriers>().unchecked(), estimate_a.template fetch<Barriers>().unchecked(),
            estimate_b.template fetch<Barriers>().unchecked()};
  }
};
static_assert(sizeof(lifetime_cells<byte_order::little>) == 6);

/// Whether a write that has completed is on the medium (writethrough), or only after a flush (writeback).
enum class cache_mode : u8 { writethrough, writeback };

/// Switches the cache, for which CONFIG_WCE has been negotiated. Errors: `io_error`, it stays as it was; those of the transport.
template <class Session>
[[nodiscard]] result<void> write_cache_mode(Session& device, cache_mode mode) {
  VIRTIO_TRY(write_field(device.transport(), config::writeback, static_cast<u8>(mode)));
  VIRTIO_TRY_ASSIGN(const u8 now, read_field(device.transport(), config::writeback));
  return now == static_cast<u8>(mode) ? result<void>{} : result<void>{errc::io_error};
}

}  // namespace virtio::blk
