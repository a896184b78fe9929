// SPDX-License-Identifier: MIT
// Typed sets of flags. Layer: base (includes nothing but base).
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// A set of flags of `E`, a scoped enumeration. Each value is one bit, or a name for several bits. All-zero: none.
template <class E>
class flags {
  static_assert(__is_enum(E));

 public:
  using bits = __underlying_type(E);  // the set as a number

  constexpr flags() = default;  // the empty set
  /// The set of the given flags.
  template <class... More>
  constexpr flags(E first, More... more)
      : bits_{static_cast<bits>((static_cast<bits>(first) | ... | static_cast<bits>(more)))} {}
  /// Returns the set with the bits of a number. It keeps bits that have no name.
  [[nodiscard]] static constexpr flags of(bits raw) {
    flags out;
    out.bits_ = raw;
    return out;
  }

  /// Returns whether all bits of `one` are in the set.
  [[nodiscard]] constexpr bool has(E one) const { return (bits_ & static_cast<bits>(one)) == static_cast<bits>(one); }
  [[nodiscard]] constexpr bool empty() const { return bits_ == 0; }  // whether no bit is set
  [[nodiscard]] constexpr bits raw() const { return bits_; }         // the set as a number

  /// Adds the flags of `more`.
  constexpr flags& operator|=(flags more) {
    bits_ = static_cast<bits>(bits_ | more.bits_);
    return *this;
  }
  /// Removes the flags of `less`.
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
