// SPDX-License-Identifier: MIT
// Ordering between driver and device, as types: the type decides, never a flag.
//   smp_barriers  the device is another CPU (every hypervisor that emulates devices on a processor). C++ atomics suffice.
//   dma_barriers  the device may be hardware on a bus. C++ promises nothing there, so these are the architecture's own.
// A session asks for ORDER_PLATFORM exactly when its platform uses a set that orders the platform.
// docs/memory-order.md has the table of instructions. Spec: virtio 1.4, 2.7.13.4 and 6 (ORDER_PLATFORM). Layer: platform.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// The contract of a barrier set. All functions are static and take u16 and u32; `load` takes u8, too.
///  1. `load`/`store` access memory exactly once and are not torn.
///  2. `load_acquire`: no later access moves before it. Partner: the device's store of the same word.
///  3. `store_release`: no earlier access moves after it. Partner: the device's load of the same word.
///  4. `full`: no later load moves before an earlier store (the one reordering that x86 does).
///  5. `orders_platform` says whether all of this holds for hardware on a bus.
/// A set may have `store_plain(target, value)`, also for 64 bits: it then stores what the rings store without any ordering. For tests,
/// which see every store of a ring this way.
template <class B>
concept barrier_set = requires(const u8* status, const u16* source, u16* target, u16 value, const u32* wide_source, u32* wide_target,
                               u32 wide_value) {
  typename detail::constant<bool{B::orders_platform}>;
  { B::load(status) } -> same_as<u8>;
  { B::load(source) } -> same_as<u16>;
  { B::load(wide_source) } -> same_as<u32>;
  { B::load_acquire(source) } -> same_as<u16>;
  { B::load_acquire(wide_source) } -> same_as<u32>;
  { B::store(target, value) };
  { B::store(wide_target, wide_value) };
  { B::store_release(target, value) };
  { B::store_release(wide_target, wide_value) };
  { B::full() };
};

/// For devices that are software on another CPU, or on this one.
struct smp_barriers {
  static constexpr bool orders_platform = false;

  template <register_value T>
  static T load(const T* from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }
  template <register_value T>
  static T load_acquire(const T* from) { return __atomic_load_n(from, __ATOMIC_ACQUIRE); }
  template <register_value T>
  static void store(T* to, T value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
  template <register_value T>
  static void store_release(T* to, T value) { __atomic_store_n(to, value, __ATOMIC_RELEASE); }
  static void full() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
};

namespace detail {

// Asked where dma_barriers are used, and nowhere else: a program on any other processor has smp_barriers, or a set of its own.
template <class Used>
inline constexpr bool has_device_barriers =
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__) || defined(__riscv) || defined(__powerpc__)
    true;
#else
    false;
#endif
#define VIRTIO_NEEDS_DEVICE_BARRIERS(used)         \
  static_assert(detail::has_device_barriers<used>, \
                "no device barriers are known for this processor: use smp_barriers, or write a barrier set of your own")

// Earlier loads before later loads and stores, as a bus master sees them.
inline void device_read_barrier() {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence ir, iorw" ::: "memory");  // i and o are registers: a load of the ring before whatever its content leads to
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  asm volatile("" ::: "memory");  // x86: loads are not reordered with loads, nor later stores with earlier loads
#endif
}

// Earlier loads and stores before later stores.
inline void device_write_barrier() {
#if defined(__aarch64__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence iorw, ow" ::: "memory");  // data, descriptors and their reads before the index, and before a doorbell
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  asm volatile("" ::: "memory");  // x86: stores to ordinary memory become visible in order
#endif
}

// Earlier register accesses, writes included, before later accesses to memory, together with a full barrier of any set. Only RISC-V
// keeps the two apart in its fences.
inline void registers_before_memory() {
#if defined(__riscv)
  asm volatile("fence io, rw" ::: "memory");  // an acknowledgement is a register write, which `fence rw, rw` says nothing about
#endif
}

inline void device_full_barrier() {
#if defined(__aarch64__) || defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  asm volatile("fence iorw, iorw" ::: "memory");  // the index before the device's wish, whether that is memory or a register
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

}  // namespace detail

/// For devices that may be real hardware.
struct dma_barriers {
  static constexpr bool orders_platform = true;

  template <register_value T>
  static T load(const T* from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }
  template <register_value T>
  static T load_acquire(const T* from) {
    VIRTIO_NEEDS_DEVICE_BARRIERS(T);
    const T value = __atomic_load_n(from, __ATOMIC_RELAXED);
    detail::device_read_barrier();
    return value;
  }
  template <register_value T>
  static void store(T* to, T value) { __atomic_store_n(to, value, __ATOMIC_RELAXED); }
  template <register_value T>
  static void store_release(T* to, T value) {
    VIRTIO_NEEDS_DEVICE_BARRIERS(T);
    detail::device_write_barrier();
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
  }
  template <class Used = void>
  static void full() {
    VIRTIO_NEEDS_DEVICE_BARRIERS(Used);
    detail::device_full_barrier();
  }
};

#undef VIRTIO_NEEDS_DEVICE_BARRIERS

static_assert(barrier_set<smp_barriers> && barrier_set<dma_barriers>);

}  // namespace virtio
