// SPDX-License-Identifier: MIT
// Sets of flags that have a type. Layer: base (includes nothing but base).
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// A set of the flags of `E`, a scoped enumeration whose values are single bits, or several of them under one name. All-zero: none.
template <class E>
class flags {
  static_assert(__is_enum(E));

 public:
  using bits = __underlying_type(E);

  constexpr flags() = default;
  template <class... More>
  constexpr flags(E first, More... more) : bits_{static_cast<bits>((static_cast<bits>(first) | ... | static_cast<bits>(more)))} {}
  /// From a number that came from elsewhere: bits without a name are kept.
  [[nodiscard]] static constexpr flags of(bits raw) {
    flags out;
    out.bits_ = raw;
    return out;
  }

  /// Whether all bits of `one` are in the set.
  [[nodiscard]] constexpr bool has(E one) const { return (bits_ & static_cast<bits>(one)) == static_cast<bits>(one); }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }
  [[nodiscard]] constexpr bits raw() const { return bits_; }

  constexpr flags& operator|=(flags more) {
    bits_ = static_cast<bits>(bits_ | more.bits_);
    return *this;
  }
  constexpr flags& operator-=(flags less) {
    bits_ = static_cast<bits>(bits_ & ~less.bits_);
    return *this;
  }
  [[nodiscard]] friend constexpr flags operator|(flags a, flags b) { return a |= b; }
  [[nodiscard]] friend constexpr flags operator-(flags a, flags b) { return a -= b; }
  [[nodiscard]] friend constexpr bool operator==(flags, flags) = default;

 private:
  bits bits_ = 0;
};

}  // namespace virtio
