// SPDX-License-Identifier: MIT
// Registers in x86 I/O ports, and a space that is ports or memory, decided at run time: a BAR can be either.
// Layer: platform.
#pragma once

#if !defined(__x86_64__) && !defined(__i386__)
#error "virtio/platform/ports.hpp: only x86 has I/O ports"
#endif

#include <virtio/platform/mmio.hpp>

namespace virtio {
namespace detail {

// Single instructions, never `rep ins/outs`: OpenBSD's vmd stops the machine when it meets those.
template <class T>
[[nodiscard]] T port_in(u16 port) {
  T value;
  if constexpr (sizeof(T) == 1) asm volatile("inb %w1, %b0" : "=a"(value) : "Nd"(port) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("inw %w1, %w0" : "=a"(value) : "Nd"(port) : "memory");
  else asm volatile("inl %w1, %k0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

template <class T>
void port_out(u16 port, T value) {
  if constexpr (sizeof(T) == 1) asm volatile("outb %b0, %w1" : : "a"(value), "Nd"(port) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("outw %w0, %w1" : : "a"(value), "Nd"(port) : "memory");
  else asm volatile("outl %k0, %w1" : : "a"(value), "Nd"(port) : "memory");
}

}  // namespace detail

/// A range of I/O ports.
class port_space {
 public:
  constexpr port_space() = default;                                         // empty
  constexpr port_space(u16 base, usize size) : base_{base}, size_{size} {}  // `size` ports from `base` on

  /// `register_space` concept: reads a register. One access.
  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    static_assert(sizeof(T) <= 4);
    return detail::port_in<T>(static_cast<u16>(base_ + offset));
  }
  /// `register_space` concept: writes a register. One access.
  template <register_value T>
  void write(usize offset, T value) const {
    static_assert(sizeof(T) <= 4);
    detail::port_out<T>(static_cast<u16>(base_ + offset), value);
  }

  [[nodiscard]] constexpr usize size() const { return size_; }  // bytes
  /// `register_space` concept: returns a part of the space.
  [[nodiscard]] constexpr port_space part(usize offset, usize length) const {
    return {static_cast<u16>(base_ + offset), length};
  }

 private:
  u16 base_ = 0;
  usize size_ = 0;
};

/// Registers in ports or in memory. OpenBSD's vmd has also its modern registers in ports.
class io_space {
 public:
  constexpr io_space() = default;           // empty
  constexpr io_space(port_space) = delete;  // use ports() or memory()
  /// Returns `size` ports from `base` on.
  [[nodiscard]] static constexpr io_space ports(u16 base, usize size) { return {base, size, way::ports}; }
  /// Returns `size` bytes of device memory from `base` on.
  [[nodiscard]] static constexpr io_space memory(uptr base, usize size) { return {base, size, way::memory}; }

  /// `register_space` concept: reads a register. One access.
  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    static_assert(sizeof(T) <= 4);
    return way_ == way::ports ? detail::port_in<T>(static_cast<u16>(base_ + offset))
                              : detail::mmio_load(reinterpret_cast<const volatile T*>(base_ + offset));
  }
  /// `register_space` concept: writes a register. One access.
  template <register_value T>
  void write(usize offset, T value) const {
    static_assert(sizeof(T) <= 4);
    if (way_ == way::ports) detail::port_out<T>(static_cast<u16>(base_ + offset), value);
    else detail::mmio_store(reinterpret_cast<volatile T*>(base_ + offset), value);
  }

  [[nodiscard]] constexpr usize size() const { return size_; }  // bytes
  /// `register_space` concept: returns a part of the space.
  [[nodiscard]] constexpr io_space part(usize offset, usize length) const { return {base_ + offset, length, way_}; }

 private:
  enum class way : bool { memory, ports };  // with a bool as base type, testing it needs no comparison

  constexpr io_space(uptr base, usize size, way reached) : base_{base}, size_{size}, way_{reached} {}

  uptr base_ = 0;
  usize size_ = 0;
  way way_ = way::memory;
};

static_assert(register_space<port_space> && register_space<io_space>);

}  // namespace virtio
