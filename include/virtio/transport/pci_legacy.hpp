// SPDX-License-Identifier: MIT
// Virtio before 1.0 over PCI: one block of registers in BAR 0. The device determines the queue size. The ring is one
// contiguous block, addressed by its page number. There is no FEATURES_OK and no generation count. The device
// configuration has the guest's byte order and moves by four bytes while MSI-X is on.
// Spec: virtio 1.4, 4.1.4.10 and the Legacy Interface paragraphs. Layer: transport.
#pragma once

#include <virtio/transport/pci_modern.hpp>

namespace virtio::pci {

/// The transport for legacy devices. Registers are little-endian; rings and device configuration have the guest's
/// order. `Config` is the width of configuration accesses: `by_field`, `by_byte` or `by_dword`.
template <host H, class Config = by_field>
class legacy {
 public:
  using location = found<H>;                              // `transport` concept
  using doorbell = pci::doorbell<typename H::bar_space>;  // `transport` concept
  static constexpr byte_order ring_order = native_order;  // byte order of rings
  /// `transport` concept: features of the transport, none.
  static constexpr feature_set wanted{};

  /// `transport` concept: returns the type of a usable device.
  [[nodiscard]] static device_type type_of(const location& where) {
    return where.seen.why == verdict::usable ? where.seen.type : device_type::none;
  }

  /// `transport` concept: finds and checks the registers.
  [[nodiscard]] result<void> open(const location& where, report& why) {
    virtio::detail::clear(*this);
    why = where.seen;
    if (where.seen.why != verdict::usable) return error_of(where.seen.why);
    if (const auto found = find_legacy(where.host, where.id, block_, why); !found) {
      if (found.error() == errc::not_found && !pci::is_legacy(where)) {
        why.why = verdict::modern_unsupported;
        return errc::unsupported;
      }
      return found;
    }
    host_ = where.host;
    id_ = where.id;
    type_ = where.seen.type;
    return {};
  }

  /// `transport` concept: returns the type of the device.
  [[nodiscard]] device_type type() const { return type_; }
  /// `transport` concept: returns the interface.
  [[nodiscard]] static constexpr transport_kind kind() { return transport_kind::pci_legacy; }
  /// `transport` concept: returns whether the interface is legacy.
  [[nodiscard]] static constexpr bool is_legacy() { return true; }

  /// `transport` concept: reads the status register.
  [[nodiscard]] u8 status() const { return read(block_, legacy_header::device_status); }
  /// `transport` concept: writes the status register.
  void set_status(u8 value) const { write(block_, legacy_header::device_status, value); }

  /// `transport` concept: reads the offered features, bits 0 to 31.
  [[nodiscard]] feature_set device_features(u32) const {
    feature_set offered;
    offered.set_word(0, read(block_, legacy_header::device_features));
    return offered;
  }
  /// `transport` concept: writes the accepted features.
  void accept_features(feature_set chosen, u32) const { write(block_, legacy_header::driver_features, chosen.word(0)); }

  /// `transport` concept: selects a queue and reads its size.
  [[nodiscard]] queue_limits queue(u16 q) const {
    write(block_, legacy_header::queue_select, q);
    return {read(block_, legacy_header::queue_size), true};
  }

  /// `transport` concept: sets a queue up and enables it. Errors: `misaligned`, `dma_unreachable` or `invalid_argument`
  /// for areas that no legacy device can use; `unsupported` if the vector does not exist.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set&, u16 vector,
                                          doorbell& bell) const {
    VIRTIO_TRY_ASSIGN(const u32 page, virtio::detail::legacy_page(areas));
    write(block_, legacy_header::queue_select, q);
    if (vector != no_vector) VIRTIO_TRY(set_vector(legacy_header::queue_vector, vector));
    write(block_, legacy_header::queue_pfn, page);
    bell = doorbell{block_.part(legacy_header::queue_notify.offset, 2), q};
    return {};
  }

  /// `transport` concept: not supported.
  [[nodiscard]] result<void> begin_queue_reset(u16) const { return errc::unsupported; }
  /// `transport` concept: always false.
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  /// `transport` concept: sets the MSI-X vector of the configuration.
  [[nodiscard]] result<void> set_config_vector(u16 vector) const {
    return set_vector(legacy_header::config_vector, vector);
  }

  /// `transport` concept: reads a field of the configuration.
  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    return virtio::detail::in_guest_order(Policy::template read<T>(space, offset));
  }
  /// `transport` concept: writes a field of the configuration.
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    Policy::template write<T>(space, offset, virtio::detail::in_guest_order(value));
    return {};
  }
  /// `transport` concept: always 0. Readers compare two reads instead.
  [[nodiscard]] static constexpr u32 config_generation() { return 0; }

  /// `transport` concept: reads and clears the interrupt cause.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    const u8 isr = read(block_, legacy_header::isr);
    return {(isr & 1u) != 0, (isr & 2u) != 0};
  }

  /// `transport` concept: sets what the device may do on the bus.
  [[gnu::always_inline]] bool use(bus_use what) { return switches_.use(host_, id_, command::io, what); }
  /// `transport` concept: disconnects the device from the bus.
  void close() {
    (void)use(bus_use::as_found);
    change_command(host_, id_, 0, command::bus_master);
  }

 private:
  // Read on each call: enabling MSI-X moves the device configuration.
  [[nodiscard]] typename H::bar_space device_config() const {
    const usize start =
        find_msix(host_, id_).enabled ? legacy_header::config_with_msix : legacy_header::config_without_msix;
    return start < block_.size() ? block_.part(start, block_.size() - start) : typename H::bar_space{};
  }

  [[nodiscard]] result<void> set_vector(reg<u16> which, u16 vector) const {
    if (!has_vector(host_, id_, vector)) return errc::unsupported;
    write(block_, which, vector);
    if (read(block_, which) != vector) return errc::unsupported;
    return {};
  }

  typename H::bar_space block_{};
  VIRTIO_EMPTY_MEMBER H host_{};
  typename H::function_id id_{};
  switches switches_{};
  device_type type_{};
};

}  // namespace virtio::pci
