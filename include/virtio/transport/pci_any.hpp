// SPDX-License-Identifier: MIT
// Modern or legacy PCI, chosen when the device is opened: through its capabilities if they are usable, else through the
// legacy block. Costs a predictable branch per register access, and none on the data path: both doorbells have one
// type.
// Layer: transport.
#pragma once

#include <virtio/transport/pci_legacy.hpp>

namespace virtio::pci {

/// The transport for modern and legacy devices. Only for little-endian guests: a ring has one byte order at compile
/// time, and legacy rings of a big-endian guest are big-endian. Use `pci::modern` or `pci::legacy` there.
template <host H, class Config = by_field>
class transport {
  using modern_type = modern<H, Config>;
  using legacy_type = legacy<H, Config>;

  static_assert(native_order == byte_order::little || sizeof(H) == 0,
                "pci::transport: on a big-endian guest choose pci::modern or pci::legacy");

 public:
  using location = found<H>;                                    // `transport` concept
  using doorbell = pci::doorbell<typename H::bar_space>;        // `transport` concept
  static constexpr byte_order ring_order = byte_order::little;  // byte order of rings
  /// Features of the transport; a legacy device offers none of them.
  static constexpr feature_set wanted = modern_type::wanted;

  /// `transport` concept: returns the type of a usable device.
  [[nodiscard]] static device_type type_of(const location& where) { return modern_type::type_of(where); }

  /// `transport` concept: finds and checks the registers.
  [[nodiscard]] result<void> open(const location& where, report& why) {
    virtio::detail::clear(*this);
    is_legacy_ = where.seen.why == verdict::usable && pci::is_legacy(where);
    const auto opened = is_legacy_ ? legacy_.open(where, why) : modern_.open(where, why);
    if (opened || is_legacy_ || !where.may_be_legacy) return opened;
    // A transitional device with unusable modern registers, often out of reach: use its legacy block. If that fails
    // too, report the reason of the modern interface.
    report second;
    if (!legacy_.open(where, second)) return opened;
    why = second;
    is_legacy_ = true;
    return {};
  }

  /// `transport` concept: returns the type of the device.
  [[nodiscard]] device_type type() const { return is_legacy_ ? legacy_.type() : modern_.type(); }
  /// `transport` concept: returns the interface.
  [[nodiscard]] transport_kind kind() const { return is_legacy_ ? legacy_.kind() : modern_.kind(); }
  /// `transport` concept: returns whether the interface is legacy.
  [[nodiscard]] bool is_legacy() const { return is_legacy_; }
  /// `transport` concept: reads the status register.
  [[nodiscard]] u8 status() const { return is_legacy_ ? legacy_.status() : modern_.status(); }
  /// `transport` concept: writes the status register.
  void set_status(u8 value) const { is_legacy_ ? legacy_.set_status(value) : modern_.set_status(value); }
  /// `transport` concept: reads the offered features.
  [[nodiscard]] feature_set device_features(u32 words) const {
    return is_legacy_ ? legacy_.device_features(words) : modern_.device_features(words);
  }
  /// `transport` concept: writes the accepted features.
  void accept_features(feature_set chosen, u32 words) const {
    is_legacy_ ? legacy_.accept_features(chosen, words) : modern_.accept_features(chosen, words);
  }
  /// `transport` concept: selects a queue and reads its size.
  [[nodiscard]] queue_limits queue(u16 q) const { return is_legacy_ ? legacy_.queue(q) : modern_.queue(q); }
  /// `transport` concept: sets a queue up and enables it.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set& features, u16 vector,
                                          doorbell& bell) const {
    return is_legacy_ ? legacy_.enable_queue(q, areas, features, vector, bell)
                      : modern_.enable_queue(q, areas, features, vector, bell);
  }
  /// `transport` concept: starts the reset of a queue.
  [[nodiscard]] result<void> begin_queue_reset(u16 q) const {
    return is_legacy_ ? legacy_.begin_queue_reset(q) : modern_.begin_queue_reset(q);
  }
  /// `transport` concept: returns whether the reset is complete.
  [[nodiscard]] bool queue_reset_done(u16 q) const {
    return is_legacy_ ? legacy_.queue_reset_done(q) : modern_.queue_reset_done(q);
  }
  /// `transport` concept: sets the MSI-X vector of the configuration.
  [[nodiscard]] result<void> set_config_vector(u16 vector) const {
    return is_legacy_ ? legacy_.set_config_vector(vector) : modern_.set_config_vector(vector);
  }
  /// `transport` concept: reads a field of the configuration.
  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    return is_legacy_ ? legacy_.template config<T, Policy>(offset) : modern_.template config<T, Policy>(offset);
  }
  /// `transport` concept: writes a field of the configuration.
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    return is_legacy_ ? legacy_.template config_write<T, Policy>(offset, value)
                      : modern_.template config_write<T, Policy>(offset, value);
  }
  /// `transport` concept: reads the generation of the configuration.
  [[nodiscard]] u32 config_generation() const {
    return is_legacy_ ? legacy_.config_generation() : modern_.config_generation();
  }
  /// `transport` concept: reads and clears the interrupt cause.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    return is_legacy_ ? legacy_.acknowledge_interrupt() : modern_.acknowledge_interrupt();
  }
  /// `transport` concept: sets what the device may do on the bus.
  bool use(bus_use what) { return is_legacy_ ? legacy_.use(what) : modern_.use(what); }
  /// `transport` concept: disconnects the device from the bus.
  void close() { is_legacy_ ? legacy_.close() : modern_.close(); }

 private:
  modern_type modern_{};
  legacy_type legacy_{};
  bool is_legacy_ = false;
};

}  // namespace virtio::pci
