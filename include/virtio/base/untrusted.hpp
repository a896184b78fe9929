// SPDX-License-Identifier: MIT
// A value that a device wrote. It has no conversion to an integer: the only ways out are a check, a clamp, or
// `unchecked()`, which is easy to search for and wants a comment that says why it is safe. Layer: base.
#pragma once

#include <virtio/base/result.hpp>

namespace virtio {

template <class T>
class untrusted {
 public:
  constexpr untrusted() = default;
  constexpr explicit untrusted(T value) : value_{value} {}

  /// The value when it is less than `bound`, `device_misbehaved` otherwise.
  [[nodiscard]] constexpr result<T> below(T bound) const {
    if (value_ < bound) return value_;
    return errc::device_misbehaved;
  }

  /// The value, cut to at most `maximum`.
  [[nodiscard]] constexpr T clamped(T maximum) const { return value_ < maximum ? value_ : maximum; }

  /// Comparing with something known gives nothing away.
  [[nodiscard]] constexpr bool equals(T known) const { return value_ == known; }

  /// The value as it is. Say at the call why no value can do harm there.
  [[nodiscard]] constexpr T unchecked() const { return value_; }

 private:
  T value_{};
};

}  // namespace virtio
