// SPDX-License-Identifier: MIT
// Memory shared with a device, one cell at a time. The type says who writes: `to_device` can only be stored,
// `from_device` can only be loaded and yields `untrusted`. No reference to the raw word escapes, so a decision is
// always made on one copy. Every access goes through the barrier set's functions, which is where a test can step in.
// Spec: virtio 1.4, 2.6 (byte order of ring fields). Layer: base.
#pragma once

#include <virtio/base/untrusted.hpp>

namespace virtio {

/// A cell that the driver writes and the device reads.
template <register_value T, byte_order Order = byte_order::little>
class to_device {
 public:
  /// Stores without ordering: what follows may become visible first. For everything a later `publish` covers.
  void store(T value) { value_ = detail::reorder<Order>(value); }
  /// The same for words of a ring, so that a barrier set which has a `store_plain` sees every one of them.
  template <class Barriers>
  void store(T value) {
    if constexpr (requires { Barriers::store_plain(&value_, value); }) Barriers::store_plain(&value_, detail::reorder<Order>(value));
    else store(value);
  }

  /// Stores so that the device, once it sees the value, sees everything stored before.
  template <class Barriers>
  void publish(T value) { Barriers::store_release(&value_, detail::reorder<Order>(value)); }

  /// Stores a hint that orders nothing (event and flag words); the caller's full fence says what it pairs with.
  template <class Barriers>
  void hint(T value) { Barriers::store(&value_, detail::reorder<Order>(value)); }

 private:
  T value_;
};

/// A cell that the device writes and the driver reads.
template <register_value T, byte_order Order = byte_order::little>
class from_device {
 public:
  /// One load without ordering.
  template <class Barriers>
  [[nodiscard, gnu::always_inline]] untrusted<T> fetch() const {
    return untrusted<T>{detail::reorder<Order>(Barriers::load(&value_))};
  }

  /// One load; what the device wrote before it stored the value is visible to all loads that follow.
  template <class Barriers>
  [[nodiscard]] untrusted<T> observe() const {
    return untrusted<T>{detail::reorder<Order>(Barriers::load_acquire(&value_))};
  }

  /// The driver's one right to write here: before the device is given the memory.
  void clear_before_use(T value = 0) { value_ = detail::reorder<Order>(value); }

 private:
  T value_;
};

}  // namespace virtio
