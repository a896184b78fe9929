// SPDX-License-Identifier: MIT
// Feature bits and sets of them. A set has 128 bits, since network devices use bits above 63. Bits are typed, so that a
// mask cannot be shifted by mistake, and have names, so that a report can name a rejected feature.
// Spec: virtio 1.4, 2.2 and 6. Layer: base.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// Feature bits with the same meaning on every device.
enum class feature : u8 {
  notify_on_empty = 24,  // legacy only
  any_layout = 27,       // legacy only
  indirect_desc = 28,
  event_idx = 29,
  version_1 = 32,
  access_platform = 33,
  ring_packed = 34,
  in_order = 35,
  order_platform = 36,
  sr_iov = 37,
  notification_data = 38,
  notif_config_data = 39,
  ring_reset = 40,
  admin_vq = 41,
  suspend = 43,
};
constexpr void feature_bits_of(feature) {}  // marks `feature` as an enumeration of feature bits

/// An enumeration of feature bit numbers. A function `feature_bits_of` in its namespace marks it.
template <class E>
concept feature_bits = __is_enum(E) && sizeof(E) == 1 && requires(E e) { feature_bits_of(e); };

/// A set of up to 128 feature bits.
class feature_set {
 public:
  constexpr feature_set() = default;  // the empty set
  /// The set of the given features.
  template <feature_bits... E>
  constexpr explicit feature_set(E... bits) {
    (set(static_cast<u8>(bits)), ...);
  }

  /// Returns bits 32n to 32n+31, the content of feature register word `n`. A shift for a constant `n`.
  [[nodiscard, gnu::always_inline]] constexpr u32 word(u32 n) const {
    return n < 4 ? static_cast<u32>(half_[n / 2] >> (n % 2 * 32)) : 0;
  }
  /// Sets bits 32n to 32n+31. No effect for `n` above 3.
  constexpr void set_word(u32 n, u32 value) {
    if (n >= 4) return;
    const u32 shift = n % 2 * 32;
    half_[n / 2] = (half_[n / 2] & ~(u64{0xffffffff} << shift)) | u64{value} << shift;
  }

  /// Returns whether a bit is in the set, by its number. One test for a constant number.
  [[nodiscard, gnu::always_inline]] constexpr bool has_bit(u8 bit) const {
    return bit < 128 && (half_[bit / 64] >> (bit % 64) & 1) != 0;
  }
  /// Returns whether a feature is in the set.
  template <feature_bits E>
  [[nodiscard]] constexpr bool has(E bit) const {
    return has_bit(static_cast<u8>(bit));
  }
  [[nodiscard]] constexpr bool empty() const { return (half_[0] | half_[1]) == 0; }  // whether no bit is set

  /// Returns the number of feature words to read from a device for this set: 2 or 4.
  [[nodiscard]] constexpr u32 words() const { return half_[1] != 0 ? 4 : 2; }

  /// Returns the lowest bit number in the set, 128 for an empty set.
  [[nodiscard]] constexpr u8 first() const {
    if (empty()) return 128;
    const u32 at = half_[0] != 0 ? 0 : 64;
    const u64 half = half_[0] != 0 ? half_[0] : half_[1];
    const u32 low = static_cast<u32>(half);  // a 64-bit count calls into the compiler's library on 32-bit CPUs
    return static_cast<u8>(low != 0 ? at + static_cast<u32>(__builtin_ctz(low))
                                    : at + 32 + static_cast<u32>(__builtin_ctz(static_cast<u32>(half >> 32))));
  }

  constexpr void set(u8 bit) { half_[bit / 64 % 2] |= u64{1} << (bit % 64); }  // adds a bit by its number, below 128
  /// Removes a bit by its number, below 128.
  constexpr void clear(u8 bit) { half_[bit / 64 % 2] &= ~(u64{1} << (bit % 64)); }

  [[nodiscard]] friend constexpr feature_set operator|(feature_set a, feature_set b) {
    return combine(a.half_[0] | b.half_[0], a.half_[1] | b.half_[1]);
  }
  [[nodiscard]] friend constexpr feature_set operator&(feature_set a, feature_set b) {
    return combine(a.half_[0] & b.half_[0], a.half_[1] & b.half_[1]);
  }
  /// Returns the features in `a` that are not in `b`.
  [[nodiscard]] friend constexpr feature_set operator-(feature_set a, feature_set b) {
    return combine(a.half_[0] & ~b.half_[0], a.half_[1] & ~b.half_[1]);
  }
  [[nodiscard]] friend constexpr bool operator==(const feature_set&, const feature_set&) = default;

 private:
  static constexpr feature_set combine(u64 low, u64 high) {
    feature_set out;
    out.half_[0] = low;
    out.half_[1] = high;
    return out;
  }

  u64 half_[2]{};
};

/// A prerequisite (6): `feature` is valid only together with `needs`.
struct feature_rule {
  u8 feature;  // bit number
  u8 needs;    // bit number
};

/// Returns `chosen` without the features whose prerequisites are missing. Chains of prerequisites may have any length.
/// Inlined, so that rules known at compile time become constants.
[[nodiscard, gnu::always_inline]] constexpr feature_set apply_rules(feature_set chosen, const feature_rule* rules,
                                                                    usize count) {
  for (usize round = 0; round < count; ++round)  // each round with a change settles at least one rule
    for (usize i = 0; i < count; ++i)
      if (!chosen.has_bit(rules[i].needs)) chosen.clear(rules[i].feature);
  return chosen;
}

/// Returns the name of a device-independent feature, nullptr for any other bit.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::notify_on_empty: return "NOTIFY_ON_EMPTY";
    case feature::any_layout: return "ANY_LAYOUT";
    case feature::indirect_desc: return "INDIRECT_DESC";
    case feature::event_idx: return "EVENT_IDX";
    case feature::version_1: return "VERSION_1";
    case feature::access_platform: return "ACCESS_PLATFORM";
    case feature::ring_packed: return "RING_PACKED";
    case feature::in_order: return "IN_ORDER";
    case feature::order_platform: return "ORDER_PLATFORM";
    case feature::sr_iov: return "SR_IOV";
    case feature::notification_data: return "NOTIFICATION_DATA";
    case feature::notif_config_data: return "NOTIF_CONFIG_DATA";
    case feature::ring_reset: return "RING_RESET";
    case feature::admin_vq: return "ADMIN_VQ";
    case feature::suspend: return "SUSPEND";
  }
  return nullptr;
}

}  // namespace virtio
