// SPDX-License-Identifier: MIT
// A value that a device wrote. It does not convert to an integer. Code reads it by a check, by a clamp, or by
// `unchecked()`, which is easy to search for; each call of that has a comment on why it is safe. Layer: base.
#pragma once

#include <virtio/base/result.hpp>

namespace virtio {

/// A value from a device, without a conversion to `T`. All-zero: zero.
template <class T>
class untrusted {
 public:
  constexpr untrusted() = default;                          // zero
  constexpr explicit untrusted(T value) : value_{value} {}  // marks a value

  /// Returns the value if it is less than `bound`. Error: `device_misbehaved`.
  [[nodiscard]] constexpr result<T> below(T bound) const {
    if (value_ < bound) return value_;
    return errc::device_misbehaved;
  }

  /// Returns the value, limited to `maximum`.
  [[nodiscard]] constexpr T clamped(T maximum) const { return value_ < maximum ? value_ : maximum; }

  /// Returns whether the value is `known`. Comparing with a known value is safe.
  [[nodiscard]] constexpr bool equals(T known) const { return value_ == known; }

  /// Returns the value without a check. A comment at the call states why every value is harmless there.
  [[nodiscard]] constexpr T unchecked() const { return value_; }

 private:
  T value_{};
};

}  // namespace virtio
