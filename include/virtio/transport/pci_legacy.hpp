// SPDX-License-Identifier: MIT
// Virtio before 1.0 over PCI: one block of registers in BAR 0. The device dictates the queue size, the ring is one contiguous
// block named by its page number, there is no FEATURES_OK and no generation count, and device config has the guest's byte
// order and moves by four bytes while MSI-X is enabled.
// Spec: virtio 1.4, 4.1.4.10 and the Legacy Interface paragraphs. Layer: transport.
#pragma once

#include <virtio/transport/pci_modern.hpp>

namespace virtio::pci {

/// The transport for legacy devices. The registers are little-endian everywhere; rings and device config are the guest's.
template <host H, class Config = by_field>
class legacy {
 public:
  using location = found<H>;
  using doorbell = pci::doorbell<typename H::bar_space>;
  static constexpr byte_order ring_order = native_order;
  static constexpr feature_set wanted{};

  [[nodiscard]] static device_type type_of(const location& where) {
    return where.seen.why == verdict::usable ? where.seen.type : device_type::none;
  }

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

  [[nodiscard]] device_type type() const { return type_; }
  [[nodiscard]] static constexpr transport_kind kind() { return transport_kind::pci_legacy; }
  [[nodiscard]] static constexpr bool is_legacy() { return true; }

  [[nodiscard]] u8 status() const { return read(block_, legacy_header::device_status); }
  void set_status(u8 value) const { write(block_, legacy_header::device_status, value); }

  /// Only bits 0 to 31 exist here.
  [[nodiscard]] feature_set device_features(u32) const {
    feature_set offered;
    offered.set_word(0, read(block_, legacy_header::device_features));
    return offered;
  }
  void accept_features(feature_set chosen, u32) const { write(block_, legacy_header::driver_features, chosen.word(0)); }

  [[nodiscard]] queue_limits queue(u16 q) const {
    write(block_, legacy_header::queue_select, q);
    return {read(block_, legacy_header::queue_size), true};
  }

  /// Errors: those of `legacy_page`, `unsupported` when there is no such vector.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set&, u16 vector,
                                          doorbell& bell) const {
    VIRTIO_TRY_ASSIGN(const u32 page, virtio::detail::legacy_page(areas));
    write(block_, legacy_header::queue_select, q);
    if (vector != no_vector) VIRTIO_TRY(set_vector(legacy_header::queue_vector, vector));
    write(block_, legacy_header::queue_pfn, page);
    bell = doorbell{block_.part(legacy_header::queue_notify.offset, 2), q};
    return {};
  }

  [[nodiscard]] result<void> begin_queue_reset(u16) const { return errc::unsupported; }
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  [[nodiscard]] result<void> set_config_vector(u16 vector) const {
    return set_vector(legacy_header::config_vector, vector);
  }

  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    return virtio::detail::in_guest_order(Policy::template read<T>(space, offset));
  }
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    Policy::template write<T>(space, offset, virtio::detail::in_guest_order(value));
    return {};
  }
  /// There is none: readers compare two reads instead.
  [[nodiscard]] static constexpr u32 config_generation() { return 0; }

  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    const u8 isr = read(block_, legacy_header::isr);
    return {(isr & 1u) != 0, (isr & 2u) != 0};
  }

  [[gnu::always_inline]] bool use(bus_use what) { return switches_.use(host_, id_, command::io, what); }
  void close() {
    (void)use(bus_use::as_found);
    change_command(host_, id_, 0, command::bus_master);
  }

 private:
  // Asked each time: whoever enables MSI-X moves the device's config under our feet.
  [[nodiscard]] typename H::bar_space device_config() const {
    const usize start = find_msix(host_, id_).enabled ? legacy_header::config_with_msix : legacy_header::config_without_msix;
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
