// SPDX-License-Identifier: MIT
// A register space of plain bytes that records every access: "r2@0x18 w2@0x16=0x1". Its copies share one recording.
// Layer: testing (plugs into platform).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <virtio/platform/registers.hpp>
#include <virtio/testing/device_memory.hpp>

namespace virtio::testing {

/// The bytes of a recording_space, and its record.
struct recording {
  enum class answers : u8 {
    normally,
    // as hosts that support whole registers only: narrower or misaligned reads return rubbish, writes are lost
    dwords_only,
    all_ones,  // as a removed device
  };

  explicit recording(usize size) : bytes(size) {}

  std::vector<u8> bytes;
  std::string log;
  answers mode = answers::normally;
  u32 rubbish = 0xbadc0de5;  // value of a read of the wrong width
  usize outside = 0;         // accesses beyond the space

  void put(usize offset, u64 value, unsigned width) { wire::put(bytes.data() + offset, value, width); }
  [[nodiscard]] u64 get(usize offset, unsigned width) const { return wire::get(bytes.data() + offset, width); }
  /// Returns the log so far and starts a new one.
  [[nodiscard]] std::string take_log() { return std::exchange(log, {}); }
};

class recording_space {
 public:
  constexpr recording_space() = default;
  explicit recording_space(recording& to) : to_{&to}, size_{to.bytes.size()} {}

  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    const usize at = start_ + offset;
    note("r" + std::to_string(sizeof(T)) + "@" + wire::hex(at));
    if (!inside(offset, sizeof(T)) || to_->mode == recording::answers::all_ones) return static_cast<T>(~T{0});
    if (to_->mode == recording::answers::dwords_only && (sizeof(T) != 4 || at % 4 != 0))
      return static_cast<T>(to_->rubbish);
    return static_cast<T>(to_->get(at, sizeof(T)));
  }
  template <register_value T>
  void write(usize offset, T value) const {
    const usize at = start_ + offset;
    note("w" + std::to_string(sizeof(T)) + "@" + wire::hex(at) + "=" + wire::hex(value));
    if (!inside(offset, sizeof(T)) || to_->mode == recording::answers::all_ones) return;
    if (to_->mode == recording::answers::dwords_only && (sizeof(T) != 4 || at % 4 != 0)) return;
    to_->put(at, value, sizeof(T));
  }
  [[nodiscard]] usize size() const { return size_; }
  [[nodiscard]] recording_space part(usize offset, usize length) const {
    recording_space out = *this;
    out.start_ += offset;
    out.size_ = length;
    return out;
  }

 private:
  void note(const std::string& what) const {
    if (!to_->log.empty()) to_->log += ' ';
    to_->log += what;
  }
  [[nodiscard]] bool inside(usize offset, usize width) const {
    const bool fits = offset <= size_ && width <= size_ - offset && start_ + offset + width <= to_->bytes.size();
    to_->outside += fits ? 0 : 1;
    return fits;
  }

  recording* to_ = nullptr;
  usize start_ = 0;
  usize size_ = 0;
};

static_assert(register_space<recording_space>);

}  // namespace virtio::testing
