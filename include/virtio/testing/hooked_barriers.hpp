// SPDX-License-Identifier: MIT
// Barriers that call a test before and after every access to shared memory: to change a word between two reads, to
// count fences, to prove that a word is read once, to see every store to a ring in order.
// Layer: testing (plugs into platform).
#pragma once

#include <functional>

#include <virtio/platform/barriers.hpp>

namespace virtio::testing {

/// The hooks and counts of the calling thread. The address is that of the word.
struct barrier_hooks {
  std::function<void(const volatile void* at, usize width)> before_load, after_load, before_store, after_store;
  std::function<void()> before_full;
  u64 loads = 0, acquires = 0, stores = 0, releases = 0, fulls = 0;

  [[nodiscard]] static barrier_hooks& mine() {
    thread_local barrier_hooks hooks;
    return hooks;
  }
  /// Removes the hooks and clears the counts.
  static void clear() { mine() = {}; }
};

struct hooked_barriers {
  static constexpr bool orders_platform = false;

  template <register_value T>
  static T load(const T* from) {
    ++barrier_hooks::mine().loads;
    return around(from, [&] { return smp_barriers::load(from); });
  }
  template <register_value T>
  static T load_acquire(const T* from) {
    ++barrier_hooks::mine().acquires;
    return around(from, [&] { return smp_barriers::load_acquire(from); });
  }
  template <register_value T>
  static void store(T* to, T value) {
    ++barrier_hooks::mine().stores;
    call(barrier_hooks::mine().before_store, to, sizeof(T));
    smp_barriers::store(to, value);
    call(barrier_hooks::mine().after_store, to, sizeof(T));
  }
  /// Stores of the rings without ordering. Other kinds of cells do not use it.
  template <register_value T>
  static void store_plain(T* to, T value) {
    call(barrier_hooks::mine().before_store, to, sizeof(T));
    *to = value;
    call(barrier_hooks::mine().after_store, to, sizeof(T));
  }
  template <register_value T>
  static void store_release(T* to, T value) {
    ++barrier_hooks::mine().releases;
    call(barrier_hooks::mine().before_store, to, sizeof(T));
    smp_barriers::store_release(to, value);
    call(barrier_hooks::mine().after_store, to, sizeof(T));
  }
  static void full() {
    ++barrier_hooks::mine().fulls;
    if (barrier_hooks::mine().before_full) barrier_hooks::mine().before_full();
    smp_barriers::full();
  }

 private:
  using hook = std::function<void(const volatile void*, usize)>;
  static void call(const hook& f, const volatile void* at, usize width) {
    if (f) f(at, width);
  }
  template <class T, class Load>
  static T around(const T* from, Load&& access) {
    call(barrier_hooks::mine().before_load, from, sizeof(T));
    const T value = access();
    call(barrier_hooks::mine().after_load, from, sizeof(T));
    return value;
  }
};

static_assert(barrier_set<hooked_barriers>);

}  // namespace virtio::testing
