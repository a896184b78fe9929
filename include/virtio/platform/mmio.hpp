// SPDX-License-Identifier: MIT
// Registers in mapped memory. Every access compiles to one plain load or store: hypervisors decode the instruction that
// trapped, and support few forms (KVM on Arm has no syndrome for write-back forms; OpenBSD's vmd executes
// read-modify-write forms wrongly). Except on x86, a barrier orders registers and ordinary memory: memory before a
// register write, a register read before memory (docs/memory-order.md). Layer: platform.
#pragma once

#include <virtio/platform/registers.hpp>

namespace virtio {
namespace detail {

template <class T>
[[nodiscard]] T mmio_load(const volatile T* at) {
  T value;
#if defined(__aarch64__)
  // A compiler may choose a write-back form for a volatile access, which KVM cannot emulate.
  if constexpr (sizeof(T) == 1) asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
  else asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__x86_64__) || defined(__i386__)
  // Exactly one mov: a compiler may fold a volatile access into an `or` or a `test` with a memory operand.
  if constexpr (sizeof(T) == 1) asm volatile("movb %1, %0" : "=q"(value) : "m"(*at) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("movw %1, %0" : "=r"(value) : "m"(*at) : "memory");
  else asm volatile("movl %1, %0" : "=r"(value) : "m"(*at) : "memory");
#elif defined(__powerpc__)
  // Caching-inhibited storage is not ordered against other storage, and a load completes when something depends on it.
  asm volatile("sync" ::: "memory");
  value = *at;
  asm volatile("twi 0, %0, 0\n\tisync" ::"r"(static_cast<u32>(value)) : "memory");
#else
  value = *at;
#if defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  /// This register before the memory it refers to; registers are ordered anyway.
  asm volatile("fence i, rw" ::: "memory");
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // the strongest fence, for a processor on which this is untested
#endif
#endif
  return reorder<byte_order::little>(value);
}

template <class T>
void mmio_store(volatile T* at, T value) {
  value = reorder<byte_order::little>(value);
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
  if constexpr (sizeof(T) == 1) asm volatile("strb %w0, [%1]" : : "rZ"(value), "r"(at) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("strh %w0, [%1]" : : "rZ"(value), "r"(at) : "memory");
  else asm volatile("str %w0, [%1]" : : "rZ"(value), "r"(at) : "memory");
#elif defined(__x86_64__) || defined(__i386__)
  if constexpr (sizeof(T) == 1) asm volatile("movb %1, %0" : "=m"(*at) : "qi"(value) : "memory");
  else if constexpr (sizeof(T) == 2) asm volatile("movw %1, %0" : "=m"(*at) : "ri"(value) : "memory");
  else asm volatile("movl %1, %0" : "=m"(*at) : "ri"(value) : "memory");
#else
#if defined(__arm__)
  asm volatile("dmb oshst" ::: "memory");
#elif defined(__riscv)
  // Earlier accesses to memory before a register write that notifies the device of them.
  asm volatile("fence rw, o" ::: "memory");
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
  *at = value;
#endif
}

}  // namespace detail

/// A range of registers in memory that the CPU can address. The mapping must be uncached (device memory).
class mmio_space {
 public:
  constexpr mmio_space() = default;                                          // empty
  constexpr mmio_space(uptr base, usize size) : base_{base}, size_{size} {}  // `size` bytes from `base` on
  /// Returns the same space. For code that also serves `io_space`.
  [[nodiscard]] static constexpr mmio_space memory(uptr base, usize size) { return {base, size}; }

  /// `register_space` concept: reads a register. One access.
  template <register_value T>
  [[nodiscard]] T read(usize offset) const {
    static_assert(sizeof(T) <= 4);
    return detail::mmio_load(reinterpret_cast<const volatile T*>(base_ + offset));
  }

  /// `register_space` concept: writes a register. One access.
  template <register_value T>
  void write(usize offset, T value) const {
    static_assert(sizeof(T) <= 4);
    detail::mmio_store(reinterpret_cast<volatile T*>(base_ + offset), value);
  }

  [[nodiscard]] constexpr usize size() const { return size_; }  // bytes
  /// `register_space` concept: returns a part of the space.
  [[nodiscard]] constexpr mmio_space part(usize offset, usize length) const { return {base_ + offset, length}; }

 private:
  uptr base_ = 0;
  usize size_ = 0;
};

static_assert(register_space<mmio_space>);

}  // namespace virtio
