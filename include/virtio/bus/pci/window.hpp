// SPDX-License-Identifier: MIT
// The window in configuration space (VIRTIO_PCI_CAP_PCI_CFG): access to a memory BAR that the CPU cannot reach, for
// instance above 4 GiB on a 32-bit CPU. Three fields of a capability select a register, and a fourth accesses it.
// Spec: virtio 1.4, 4.1.4.9. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/bars.hpp>
#include <virtio/bus/pci/capabilities.hpp>

namespace virtio::pci {

/// Offsets of fields in the window's capability.
namespace window_field {
inline constexpr u16 bar = 4;      // BAR number
inline constexpr u16 offset = 8;   // in the BAR
inline constexpr u16 length = 12;  // 1, 2 or 4 bytes
inline constexpr u16 data = 16;    // accesses the register
inline constexpr u16 end = 20;     // bytes of the capability
}  // namespace window_field

/// A part of a BAR, accessed through the window of its function. Cost: a register access is four accesses to
/// configuration space, so a doorbell is four writes instead of one; with ports CF8 and CFC each of them is two. All
/// copies of this space share one window, without a lock: do not use a doorbell or `acknowledge_interrupt` in an
/// interrupt handler.
template <config_space H>
class window_space {
 public:
  constexpr window_space() = default;  // empty
  /// All `size` bytes of BAR `bar`. `capability` is the offset of the window's capability.
  constexpr window_space(const H& host, typename H::function_id id, u8 capability, u8 bar, u32 size)
      : host_{host}, id_{id}, size_{size}, capability_{capability}, bar_{bar} {}

  /// `register_space` concept: reads a register.
  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    static_assert(sizeof(T) <= 4);
    return static_cast<T>(read_bytes(static_cast<u32>(offset), sizeof(T)));
  }
  /// `register_space` concept: writes a register.
  template <register_value T>
  void write(usize offset, T value) const {
    static_assert(sizeof(T) <= 4);
    write_bytes(static_cast<u32>(offset), sizeof(T), value);
  }

  [[nodiscard]] constexpr usize size() const { return size_; }  // bytes
  /// `register_space` concept: returns a part of the space.
  [[nodiscard]] constexpr window_space part(usize offset, usize length) const {
    window_space out = *this;
    out.start_ += static_cast<u32>(offset);
    out.size_ = static_cast<u32>(length);
    return out;
  }

 private:
  [[nodiscard, gnu::noinline]] u32 read_bytes(u32 offset, u32 count) const {
    select(offset, count);
    return host_.config_read32(id_, at(window_field::data));
  }
  [[gnu::noinline]] void write_bytes(u32 offset, u32 count, u32 value) const {
    select(offset, count);
    host_.config_write32(id_, at(window_field::data), value);
  }

  // The length is written first: the offset must be a multiple of the length at any time. The bytes after the BAR
  // number are read-only.
  void select(u32 offset, u32 count) const {
    host_.config_write32(id_, at(window_field::bar), bar_);
    host_.config_write32(id_, at(window_field::length), count);
    host_.config_write32(id_, at(window_field::offset), start_ + offset);
  }
  [[nodiscard]] constexpr u16 at(u16 field) const { return static_cast<u16>(capability_ + field); }

  VIRTIO_EMPTY_MEMBER H host_{};
  typename H::function_id id_{};
  u32 start_ = 0;
  u32 size_ = 0;
  u8 capability_ = 0;
  u8 bar_ = 0;
};

/// The space of a BAR, accessed through the host's `bar` or through the window, decided at run time.
template <register_space Direct, config_space H>
class bar_or_window {
 public:
  constexpr bar_or_window() : direct_{} {}  // an empty direct space
  /// A space that the host reaches.
  constexpr explicit bar_or_window(const Direct& direct) : direct_{direct} {}
  /// A space in the window.
  constexpr explicit bar_or_window(const window_space<H>& window) : window_{window}, is_window_{true} {}

  /// `register_space` concept: reads a register.
  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    return is_window_ ? window_.template read<T>(offset) : direct_.template read<T>(offset);
  }
  /// `register_space` concept: writes a register.
  template <register_value T>
  void write(usize offset, T value) const {
    is_window_ ? window_.template write<T>(offset, value) : direct_.template write<T>(offset, value);
  }

  [[nodiscard]] constexpr usize size() const { return is_window_ ? window_.size() : direct_.size(); }  // bytes
  /// `register_space` concept: returns a part of the space.
  [[nodiscard]] constexpr bar_or_window part(usize offset, usize length) const {
    return is_window_ ? bar_or_window{window_.part(offset, length)} : bar_or_window{direct_.part(offset, length)};
  }
  [[nodiscard]] constexpr bool is_window() const { return is_window_; }  // whether it uses the window

 private:
  union {
    Direct direct_;
    window_space<H> window_;
  };
  bool is_window_ = false;
};

/// Returns the offset of the function's window capability, 0 without one: the first of that type with room for its
/// data. Its stated length is ignored: Cloud Hypervisor had 16 until 2026, with the data after that. crosvm also has
/// 16, but the next capability follows there.
template <config_space H>
[[nodiscard]] u8 find_window(const H& h, typename H::function_id id) {
  u8 found = 0;
  each_capability(h, id, [&](u16 at, u32 head) {
    const bool is_window =
        (head & 0xffu) == capability_id::vendor && head >> 24 == static_cast<u8>(structure::config_window);
    if (!is_window || at + window_field::end > 256) return true;
    bool has_room = true;
    each_capability(h, id, [&](u16 other, u32) { return has_room = other <= at || other >= at + window_field::end; });
    if (has_room) found = static_cast<u8>(at);
    return found == 0;
  });
  return found;
}

/// The host `H` with the window for structures in memory BARs that `H` cannot reach: `struct board : windowed<cf8<>>`.
/// Programs that do not use it have no cost. The window is the last resort: a structure with any directly reachable
/// capability uses that. The block of a legacy device has no capability and never uses the window.
template <host H>
struct windowed : H {
  using function_id = typename H::function_id;                // `host` concept
  using bar_space = bar_or_window<typename H::bar_space, H>;  // `host` concept

  /// `host` concept: returns the space of a BAR that `H` reaches.
  [[nodiscard]] result<bar_space> bar(function_id id, u8 index) const {
    VIRTIO_TRY_ASSIGN(const auto direct, H::bar(id, index));
    return bar_space{direct};
  }

  /// `host` concept: returns the space of a BAR through the window. Errors: `not_found` if `bar` reaches it,
  /// `out_of_range` without a window. Not for I/O BARs: QEMU's window ignores the BAR number and always accesses its
  /// memory BAR.
  [[nodiscard]] result<bar_space> bar_through_window(function_id id, u8 index) const {
    const H& direct = *this;
    if (direct.bar(id, index).error() != errc::out_of_range) return errc::not_found;
    const u8 window = find_window(direct, id);
    VIRTIO_TRY_ASSIGN(const bar_info found, probe_bar(direct, id, index));
    if (window == 0 || found.kind != bar_kind::memory) return errc::out_of_range;
    // Structures start at 32-bit offsets, so the rest of a larger BAR is not used.
    const u32 size = static_cast<u32>(virtio::detail::smaller(found.size, u64{0xffffffffu}));
    return bar_space{window_space<H>{direct, id, window, index, size}};
  }
};

}  // namespace virtio::pci
