// SPDX-License-Identifier: MIT
// Modern or legacy PCI, chosen when the device is opened: through its capabilities when it has them and they can be used, else through
// the legacy block. Costs a predictable branch per register access, and nothing on the data path: both doorbells are one type.
// Layer: transport.
#pragma once

#include <virtio/transport/pci_legacy.hpp>

namespace virtio::pci {

/// The transport for whatever there is. Little-endian guests only: a ring has one byte order at compile time, and legacy
/// rings on a big-endian guest have the other one. `pci::modern` and `pci::legacy` serve those.
template <host H, class Config = by_field>
class transport {
  using modern_type = modern<H, Config>;
  using legacy_type = legacy<H, Config>;

  static_assert(native_order == byte_order::little || sizeof(H) == 0,
                "pci::transport: on a big-endian guest choose pci::modern or pci::legacy");

 public:
  using location = found<H>;
  using doorbell = pci::doorbell<typename H::bar_space>;
  static constexpr byte_order ring_order = byte_order::little;
  static constexpr feature_set wanted = modern_type::wanted;  // a legacy device offers none of them

  [[nodiscard]] static device_type type_of(const location& where) { return modern_type::type_of(where); }

  [[nodiscard]] result<void> open(const location& where, report& why) {
    virtio::detail::clear(*this);
    is_legacy_ = where.seen.why == verdict::usable && pci::is_legacy(where);
    const auto opened = is_legacy_ ? legacy_.open(where, why) : modern_.open(where, why);
    if (opened || is_legacy_ || !where.may_be_legacy) return opened;
    // A transitional device whose modern registers cannot be used, often since they are out of reach: its legacy block does as well.
    // When that fails, too, the reason is the modern one.
    report second;
    if (!legacy_.open(where, second)) return opened;
    why = second;
    is_legacy_ = true;
    return {};
  }

  [[nodiscard]] device_type type() const { return is_legacy_ ? legacy_.type() : modern_.type(); }
  [[nodiscard]] transport_kind kind() const { return is_legacy_ ? legacy_.kind() : modern_.kind(); }
  [[nodiscard]] bool is_legacy() const { return is_legacy_; }
  [[nodiscard]] u8 status() const { return is_legacy_ ? legacy_.status() : modern_.status(); }
  void set_status(u8 value) const { is_legacy_ ? legacy_.set_status(value) : modern_.set_status(value); }
  [[nodiscard]] feature_set device_features(u32 words) const {
    return is_legacy_ ? legacy_.device_features(words) : modern_.device_features(words);
  }
  void accept_features(feature_set chosen, u32 words) const {
    is_legacy_ ? legacy_.accept_features(chosen, words) : modern_.accept_features(chosen, words);
  }
  [[nodiscard]] queue_limits queue(u16 q) const { return is_legacy_ ? legacy_.queue(q) : modern_.queue(q); }
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set& features,
                                          u16 vector, doorbell& bell) const {
    return is_legacy_ ? legacy_.enable_queue(q, areas, features, vector, bell)
                      : modern_.enable_queue(q, areas, features, vector, bell);
  }
  [[nodiscard]] result<void> begin_queue_reset(u16 q) const {
    return is_legacy_ ? legacy_.begin_queue_reset(q) : modern_.begin_queue_reset(q);
  }
  [[nodiscard]] bool queue_reset_done(u16 q) const {
    return is_legacy_ ? legacy_.queue_reset_done(q) : modern_.queue_reset_done(q);
  }
  [[nodiscard]] result<void> set_config_vector(u16 vector) const {
    return is_legacy_ ? legacy_.set_config_vector(vector) : modern_.set_config_vector(vector);
  }
  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    return is_legacy_ ? legacy_.template config<T, Policy>(offset) : modern_.template config<T, Policy>(offset);
  }
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    return is_legacy_ ? legacy_.template config_write<T, Policy>(offset, value)
                      : modern_.template config_write<T, Policy>(offset, value);
  }
  [[nodiscard]] u32 config_generation() const {
    return is_legacy_ ? legacy_.config_generation() : modern_.config_generation();
  }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    return is_legacy_ ? legacy_.acknowledge_interrupt() : modern_.acknowledge_interrupt();
  }
  bool use(bus_use what) { return is_legacy_ ? legacy_.use(what) : modern_.use(what); }
  void close() { is_legacy_ ? legacy_.close() : modern_.close(); }

 private:
  modern_type modern_{};
  legacy_type legacy_{};
  bool is_legacy_ = false;
};

}  // namespace virtio::pci
