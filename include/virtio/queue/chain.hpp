// SPDX-License-Identifier: MIT
// What every ring checks of a chain, while it writes it. Layer: queue.
#pragma once

#include <virtio/queue/concepts.hpp>

namespace virtio::detail {

// Flags of a descriptor, the same in both rings.
inline constexpr u16 desc_next = 1;
inline constexpr u16 desc_write = 2;
inline constexpr u16 desc_indirect = 4;

/// Calls `write(piece, flags)` for all parts of a chain but the last, then `end(piece, flags)`. Readable parts come first
/// (2.7.4.2, 2.8.6), and there are fewer than 2^32 bytes (2.7.5.3). What was written before an error was found must not matter.
/// Gives the bytes that the device may write. The chain is not empty.
template <class Write, class End>
[[nodiscard, gnu::always_inline]] inline result<u32> write_chain(const segments& chain, Write&& write, End&& end) {
  u64 total = 0;
  u64 readable = 0;
  u32 kind = 0;  // flags of the part that is being written; only the end of it can change them
  const segment* piece = chain.begin();
  for (const segment* const last = piece + (chain.size() - 1);; ++piece) {
    const u32 flags = piece->way == direction::from_device ? desc_write : 0;
    if (flags != kind) {
      if (flags == 0) [[unlikely]] return errc::invalid_argument;
      readable = total;
      kind = flags;
    }
    total += piece->length;
    if (piece == last) break;
    write(*piece, kind);
  }
  end(*piece, kind);
  if (total >> 32 != 0) [[unlikely]] return errc::out_of_range;
  return kind == 0 ? 0 : static_cast<u32>(total - readable);
}

}  // namespace virtio::detail
