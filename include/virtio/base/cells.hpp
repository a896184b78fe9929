// SPDX-License-Identifier: MIT
// Memory shared with a device, one cell at a time. The type states which side writes: `to_device` can only be stored,
// `from_device` can only be loaded and returns `untrusted`. There is no reference to the raw word, so each decision is
// made on one copy. Every access goes through the barrier set's functions, where a test can intercept it.
// Spec: virtio 1.4, 2.6 (byte order of ring fields). Layer: base.
#pragma once

#include <virtio/base/untrusted.hpp>

namespace virtio {

/// A cell that the driver writes and the device reads.
template <register_value T, byte_order Order = byte_order::little>
class to_device {
 public:
  /// Stores without ordering: later stores may become visible first. For all stores before a `publish`.
  void store(T value) { value_ = detail::reorder<Order>(value); }
  /// Stores a word of a ring without ordering, through the barrier set's `store_plain` if it has one.
  template <class Barriers>
  void store(T value) {
    if constexpr (requires { Barriers::store_plain(&value_, value); })
      Barriers::store_plain(&value_, detail::reorder<Order>(value));
    else store(value);
  }

  /// Stores with release order: a device that sees the value also sees all earlier stores.
  template <class Barriers>
  void publish(T value) {
    Barriers::store_release(&value_, detail::reorder<Order>(value));
  }

  /// Stores a hint without ordering (event and flag words). The comment at the caller's full fence names its partner.
  template <class Barriers>
  void hint(T value) {
    Barriers::store(&value_, detail::reorder<Order>(value));
  }

 private:
  T value_;
};

/// A cell that the device writes and the driver reads.
template <register_value T, byte_order Order = byte_order::little>
class from_device {
 public:
  /// Loads once, without ordering.
  template <class Barriers>
  [[nodiscard, gnu::always_inline]] untrusted<T> fetch() const {
    return untrusted<T>{detail::reorder<Order>(Barriers::load(&value_))};
  }

  /// Loads once, with acquire order: all that the device wrote before this value is visible to later loads.
  template <class Barriers>
  [[nodiscard]] untrusted<T> observe() const {
    return untrusted<T>{detail::reorder<Order>(Barriers::load_acquire(&value_))};
  }

  /// Writes the initial value. Only before the device gets the memory.
  void clear_before_use(T value = 0) { value_ = detail::reorder<Order>(value); }

 private:
  T value_;
};

}  // namespace virtio
