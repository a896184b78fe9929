// SPDX-License-Identifier: MIT
// Memory order between driver and device, chosen by a type, never by a flag.
//   smp_barriers  the device is another CPU (every hypervisor that emulates devices on a processor). C++ atomics
//   suffice. dma_barriers  the device may be hardware on a bus. C++ defines no order there; these are instructions of
//   the CPU.
// A session requests ORDER_PLATFORM exactly if its platform's set orders accesses of hardware.
// docs/memory-order.md has the table of instructions. Spec: virtio 1.4, 2.7.13.4 and 6 (ORDER_PLATFORM). Layer:
// platform.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// The contract of a barrier set. All functions are static and take u16 and u32; `load` also takes u8.
///  1. `load`/`store` access memory exactly once and are not torn.
///  2. `load_acquire`: no later access moves before it. Partner: the device's store of the same word.
///  3. `store_release`: no earlier access moves after it. Partner: the device's load of the same word.
///  4. `full`: no later load moves before an earlier store (the one reordering that x86 does).
///  5. `orders_platform` states whether items 1 to 4 hold for hardware on a bus.
/// A set may have `store_plain(target, value)`, also for 64 bits. The rings then use it for stores without ordering. It
/// lets tests observe every store of a ring.
template <class B>
concept barrier_set = requires(const u8* status, const u16* source, u16* target, u16 value, const u32* wide_source,
                               u32* wide_target, u32 wide_value) {
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

/// The barrier set for devices in software, on this CPU or another one.
struct smp_barriers {
  static constexpr bool orders_platform = false;  // orders software only

  /// `barrier_set` concept: loads without order.
  template <register_value T>
  [[gnu::always_inline]] static T load(const T* from) {
    return __atomic_load_n(from, __ATOMIC_RELAXED);
  }
  /// `barrier_set` concept: loads with acquire order.
  template <register_value T>
  static T load_acquire(const T* from) {
    return __atomic_load_n(from, __ATOMIC_ACQUIRE);
  }
  /// `barrier_set` concept: stores without order.
  template <register_value T>
  static void store(T* to, T value) {
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
  }
  /// `barrier_set` concept: stores with release order.
  template <register_value T>
  static void store_release(T* to, T value) {
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
  }
  /// `barrier_set` concept: a full fence.
  static void full() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
};

namespace detail {

// Evaluated only where dma_barriers are used: a program on any other processor uses smp_barriers or its own set.
template <class Used>
inline constexpr bool has_device_barriers =
#if defined(__x86_64__) || defined(__i386__) || defined(__aarch64__) || defined(__arm__) || defined(__riscv) || \
    defined(__powerpc__)
    true;
#else
    false;
#endif
#define VIRTIO_NEEDS_DEVICE_BARRIERS(used) \
  static_assert(                           \
      detail::has_device_barriers<used>,   \
      "no device barriers are known for this processor: use smp_barriers, or write a barrier set of your own")

// Orders earlier loads before later loads and stores, as observed by a bus master.
inline void device_read_barrier() {
#if defined(__aarch64__)
  asm volatile("dmb oshld" ::: "memory");
#elif defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  /// I and o are registers: a load of the ring before the accesses that depend on it.
  asm volatile("fence ir, iorw" ::: "memory");
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  asm volatile("" ::: "memory");  // x86: loads are not reordered with loads, nor later stores with earlier loads
#endif
}

// Orders earlier loads and stores before later stores.
inline void device_write_barrier() {
#if defined(__aarch64__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  /// Data, descriptors and their reads before the index, and before a doorbell.
  asm volatile("fence iorw, ow" ::: "memory");
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  asm volatile("" ::: "memory");  // x86: stores to ordinary memory become visible in order
#endif
}

// Orders earlier register reads and writes before later accesses to memory, together with a full barrier of any set.
// Only RISC-V distinguishes registers and memory in its fences.
inline void registers_before_memory() {
#if defined(__riscv)
  /// An acknowledgement is a register write, which `fence rw, rw` does not order.
  asm volatile("fence io, rw" ::: "memory");
#endif
}

inline void device_full_barrier() {
#if defined(__aarch64__) || defined(__arm__)
  asm volatile("dmb osh" ::: "memory");
#elif defined(__riscv)
  /// The index before the device's suppression word, in memory or a register.
  asm volatile("fence iorw, iorw" ::: "memory");
#elif defined(__powerpc__)
  asm volatile("sync" ::: "memory");
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

}  // namespace detail

/// The barrier set for devices that may be hardware.
struct dma_barriers {
  static constexpr bool orders_platform = true;  // orders hardware too

  /// `barrier_set` concept: loads without order.
  template <register_value T>
  [[gnu::always_inline]] static T load(const T* from) {
    return __atomic_load_n(from, __ATOMIC_RELAXED);
  }
  /// `barrier_set` concept: loads with acquire order.
  template <register_value T>
  static T load_acquire(const T* from) {
    VIRTIO_NEEDS_DEVICE_BARRIERS(T);
    const T value = __atomic_load_n(from, __ATOMIC_RELAXED);
    detail::device_read_barrier();
    return value;
  }
  /// `barrier_set` concept: stores without order.
  template <register_value T>
  static void store(T* to, T value) {
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
  }
  /// `barrier_set` concept: stores with release order.
  template <register_value T>
  static void store_release(T* to, T value) {
    VIRTIO_NEEDS_DEVICE_BARRIERS(T);
    detail::device_write_barrier();
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
  }
  /// `barrier_set` concept: a full fence.
  template <class Used = void>
  static void full() {
    VIRTIO_NEEDS_DEVICE_BARRIERS(Used);
    detail::device_full_barrier();
  }
};

#undef VIRTIO_NEEDS_DEVICE_BARRIERS

static_assert(barrier_set<smp_barriers> && barrier_set<dma_barriers>);

}  // namespace virtio
