// SPDX-License-Identifier: MIT
// A stream in memory, with the bytes of the peer and of the engine. A test chooses the sizes of pieces and the room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <usbip/engine/stream.hpp>

struct wire {
  std::vector<std::uint8_t> to_engine;
  std::vector<std::uint8_t> to_peer;
  std::size_t largest_piece = SIZE_MAX;                 // bytes that one `receive` shows
  std::size_t largest_send = SIZE_MAX;                  // bytes that one `send` takes
  std::size_t room = SIZE_MAX;                          // bytes that fit in `to_peer`
  usbip::stream_state end = usbip::stream_state::open;  // after the bytes in `to_engine`
  std::size_t calls = 0;

  usbip::usize send(usbip::pieces list) {
    ++calls;
    std::size_t taken = 0;
    for (const usbip::const_bytes& one : list) {
      const std::size_t count = std::min({one.size, largest_send - taken, room - std::min(room, to_peer.size())});
      to_peer.insert(to_peer.end(), one.data, one.data + count);
      taken += count;
      if (count < one.size) break;
    }
    return taken;
  }
  template <class F>
  usbip::usize receive(F&& look) {
    ++calls;
    if (to_engine.empty()) return 0;
    // A copy of exactly this size, so that sanitizers detect a read past its end.
    const std::vector<std::uint8_t> shown(
        to_engine.begin(), to_engine.begin() + static_cast<std::ptrdiff_t>(std::min(largest_piece, to_engine.size())));
    const usbip::usize taken = look(usbip::const_bytes{shown.data(), shown.size()});
    to_engine.erase(to_engine.begin(), to_engine.begin() + static_cast<std::ptrdiff_t>(taken));
    return taken;
  }
  [[nodiscard]] usbip::stream_state state() const { return to_engine.empty() ? end : usbip::stream_state::open; }
};
