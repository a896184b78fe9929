// SPDX-License-Identifier: MIT
// Virtio 1.x over PCI: four structures found through capabilities, accessed with the exact width of each field (crosvm
// and OpenBSD's vmd ignore other widths), and not read back (crosvm's address registers read as zero).
// Spec: virtio 1.4, 4.1.4. Layer: transport.
#pragma once

#include <virtio/bus/pci/discover.hpp>
#include <virtio/transport/concepts.hpp>
#include <virtio/transport/config_access.hpp>
#include <virtio/transport/pci_switches.hpp>

namespace virtio::pci {

/// A queue's doorbell: its register and the value to write, set when the queue was enabled.
template <register_space Space>
class doorbell {
 public:
  constexpr doorbell() = default;  // not usable
  /// A doorbell with the register `at`. `name` is the queue's number, or the value that the device defines instead. The
  /// position is also written if the register has four bytes.
  constexpr doorbell(Space at, u16 name) : at_{at}, name_{name} {}

  /// Notifies the device. One register write. An interrupt handler may call it, except with a `windowed` host. Spec:
  /// 4.1.5.2.
  void ring(u16 position) const {
    if (at_.size() == 4) at_.template write<u32>(0, name_ | u32{position} << 16);
    else at_.template write<u16>(0, name_);
  }

 private:
  Space at_{};
  u16 name_ = 0;
};

/// The transport for modern devices, and for transitional ones through their capabilities.
/// `Config` is the width of configuration accesses: `by_field`, `by_byte` or `by_dword`.
template <host H, class Config = by_field>
class modern {
 public:
  using location = found<H>;                                    // `transport` concept
  using doorbell = pci::doorbell<typename H::bar_space>;        // `transport` concept
  static constexpr byte_order ring_order = byte_order::little;  // byte order of rings
  /// `transport` concept: features of the transport.
  static constexpr feature_set wanted{feature::notification_data, feature::notif_config_data};

  /// `transport` concept: returns the type of a usable device.
  [[nodiscard]] static device_type type_of(const location& where) {
    return where.seen.why == verdict::usable ? where.seen.type : device_type::none;
  }

  /// `transport` concept: finds and checks the registers. Errors: those of `find_modern`, `unsupported` for a legacy
  /// device, those of `error_of` for a device that discovery found unusable.
  [[nodiscard]] result<void> open(const location& where, report& why) {
    virtio::detail::clear(*this);
    why = where.seen;
    if (where.seen.why != verdict::usable) return error_of(where.seen.why);
    if (const auto found = find_modern(where.host, where.id, at_, why); !found) {
      // Without a capability for the common structure it is a legacy device, if its ids allow that (4.1.4.10).
      const bool bare = why.why == verdict::capability_missing && why.capability == static_cast<u8>(structure::common);
      if (!bare || !where.may_be_legacy) return found;
      why.why = verdict::legacy_unsupported;
      return errc::unsupported;
    }
    host_ = where.host;
    id_ = where.id;
    type_ = where.seen.type;
    return {};
  }

  /// `transport` concept: returns the type of the device.
  [[nodiscard]] device_type type() const { return type_; }
  /// `transport` concept: returns the interface.
  [[nodiscard]] static constexpr transport_kind kind() { return transport_kind::pci_modern; }
  /// `transport` concept: returns whether the interface is legacy.
  [[nodiscard]] static constexpr bool is_legacy() { return false; }

  /// `transport` concept: reads the status register.
  [[nodiscard]] u8 status() const { return read(at_.common(), common::device_status); }
  /// `transport` concept: writes the status register.
  void set_status(u8 value) const { write(at_.common(), common::device_status, value); }

  /// `transport` concept: reads the offered features.
  [[nodiscard]] feature_set device_features(u32 words) const {
    const auto registers = at_.common();
    feature_set offered;
    for (u32 n = 0; n < words; ++n) {
      write(registers, common::device_feature_select, n);
      offered.set_word(n, read(registers, common::device_feature));
    }
    return offered;
  }

  /// `transport` concept: writes the accepted features.
  void accept_features(feature_set chosen, u32 words) const {
    const auto registers = at_.common();
    for (u32 n = 0; n < words; ++n) {
      write(registers, common::driver_feature_select, n);
      write(registers, common::driver_feature, chosen.word(n));
    }
  }

  /// `transport` concept: selects a queue and reads its size.
  [[nodiscard]] queue_limits queue(u16 q) const {
    write(at_.common(), common::queue_select, q);
    return {read(at_.common(), common::queue_size), false};
  }

  /// `transport` concept: sets a queue up and enables it. Errors: `device_misbehaved` if the doorbell is misaligned or
  /// outside the notification structure, or if the register for its value is missing; `unsupported` if the device
  /// rejects the vector.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set& features, u16 vector,
                                          doorbell& bell) const {
    const auto registers = at_.common();
    write(registers, common::queue_select, q);
    const u64 offset = u64{read(registers, common::queue_notify_off)} * at_.notify_multiplier;
    const u32 width = features.has(feature::notification_data) ? 4 : 2;
    const u32 place = at_.notify_offset + static_cast<u32>(offset);  // its lowest bits
    if ((place & (width - 1)) != 0 || offset + width > at_.notify().size()) return errc::device_misbehaved;
    u16 name = q;
    if (features.has(feature::notif_config_data)) {
      if (!has(common::queue_notif_config_data)) return errc::device_misbehaved;
      name = read(registers, common::queue_notif_config_data);
    }
    write(registers, common::queue_size, areas.entries);
    write(registers, common::queue_desc, raw(areas.descriptors));
    write(registers, common::queue_driver, raw(areas.driver));
    write(registers, common::queue_device, raw(areas.device));
    if (vector != no_vector) VIRTIO_TRY(set_vector(common::queue_vector, vector));
    write(registers, common::queue_enable, u16{1});
    bell = doorbell{at_.notify().part(static_cast<usize>(offset), width), name};
    return {};
  }

  /// `transport` concept: starts the reset of a queue. Only with RING_RESET, and only to set the queue up again: QEMU
  /// 7.2 continues to write into buffers that were in flight, so the reset never returns buffers. Error: `unsupported`.
  [[nodiscard]] result<void> begin_queue_reset(u16 q) const {
    if (!has(common::queue_reset)) return errc::unsupported;
    write(at_.common(), common::queue_select, q);
    write(at_.common(), common::queue_reset, u16{1});
    return {};
  }
  /// `transport` concept: returns whether the reset is complete.
  [[nodiscard]] bool queue_reset_done(u16 q) const {
    write(at_.common(), common::queue_select, q);
    return read(at_.common(), common::queue_reset) == 0;
  }

  /// `transport` concept: sets the MSI-X vector of the configuration.
  [[nodiscard]] result<void> set_config_vector(u16 vector) const { return set_vector(common::config_vector, vector); }

  /// `transport` concept: reads a field of the configuration.
  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(at_.device(), offset)));
    return Policy::template read<T>(at_.device(), offset);
  }
  /// `transport` concept: writes a field of the configuration.
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(at_.device(), offset)));
    Policy::template write<T>(at_.device(), offset, value);
    return {};
  }
  /// `transport` concept: reads the generation of the configuration.
  [[nodiscard]] u32 config_generation() const { return read(at_.common(), common::config_generation); }

  /// `transport` concept: reads the ISR, which clears the line. Not needed with MSI-X, and then has no meaning.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    const u8 isr = at_.isr().template read<u8>(0);
    return {(isr & 1u) != 0, (isr & 2u) != 0};
  }

  /// `transport` concept: sets what the device may do on the bus.
  [[gnu::always_inline]] bool use(bus_use what) { return switches_.use(host_, id_, at_.decoding, what); }
  /// `transport` concept: disconnects the device from the bus.
  void close() {
    (void)use(bus_use::as_found);
    change_command(host_, id_, 0, command::bus_master);  // even if firmware had enabled it
  }

 private:
  // Registers of later features may be missing.
  [[nodiscard]] bool has(reg<u16> which) const { return at_.common().size() >= which.offset + 2; }

  [[nodiscard]] result<void> set_vector(reg<u16> which, u16 vector) const {
    if (!has_vector(host_, id_, vector)) return errc::unsupported;
    write(at_.common(), which, vector);
    if (read(at_.common(), which) != vector) return errc::unsupported;
    return {};
  }

  modern_layout<typename H::bar_space> at_{};
  VIRTIO_EMPTY_MEMBER H host_{};
  typename H::function_id id_{};
  switches switches_{};
  device_type type_{};
};

}  // namespace virtio::pci
