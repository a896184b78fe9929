// SPDX-License-Identifier: MIT
// Ethernet frames in a stream of bytes: each follows a prefix with its length. Nothing else in the stream marks where a
// frame begins, so an end that has lost its place cannot find it again. It detects that by lengths that no frame has,
// and by silence.
// Layer: vsock (may include base).
#pragma once

#include <virtio/base/types.hpp>

namespace virtio::vsock {

/// The form of the prefix.
enum class framing : u8 {
  hyperkit = 0,  // two bytes, little-endian: gvproxy's, unless it serves a QEMU
  qemu,          // four bytes, big-endian
};

/// Bytes of the longest prefix.
inline constexpr u32 most_prefix_bytes = 4;
/// Bytes of a prefix.
[[nodiscard]] constexpr u32 prefix_bytes(framing how) { return how == framing::hyperkit ? 2 : 4; }

/// Writes the prefix of a frame of `size` bytes to the first `prefix_bytes`.
constexpr void put_prefix(framing how, u32 size, u8 (&to)[most_prefix_bytes]) {
  if (how == framing::hyperkit) {
    to[0] = static_cast<u8>(size);
    to[1] = static_cast<u8>(size >> 8);
  } else {
    for (u32 i = 0; i < 4; ++i) to[i] = static_cast<u8>(size >> (24 - 8 * i));
  }
}
/// The size in the prefix at `from`: any value.
[[nodiscard]] constexpr u32 get_prefix(framing how, const u8* from) {
  if (how == framing::hyperkit) return u32{from[0]} | u32{from[1]} << 8;
  return u32{from[0]} << 24 | u32{from[1]} << 16 | u32{from[2]} << 8 | from[3];
}

/// Bytes of the longest frame of a link with this MTU: header, VLAN tag, MTU.
[[nodiscard]] constexpr u32 longest_frame(u32 mtu) { return mtu + 18; }
/// Whether a frame can have `size` bytes with this MTU. None is shorter than its header.
[[nodiscard]] constexpr bool is_frame_size(u32 size, u32 mtu) { return size - 14 <= longest_frame(mtu) - 14; }

}  // namespace virtio::vsock
