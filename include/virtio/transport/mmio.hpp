// SPDX-License-Identifier: MIT
// Virtio over MMIO: one block of 32-bit registers per device, version 2 and the legacy version 1. The versions share
// most registers. A legacy device gets one page number for the whole ring, has no FEATURES_OK and no generation count,
// and has its configuration in the guest's byte order. Unlike on PCI, the driver sets a legacy queue's size. There are
// no interrupt vectors.
// Spec: virtio 1.4, 4.2 (4.2.4 for version 1). Layer: transport.
#pragma once

#include <virtio/bus/mmio/slots.hpp>
#include <virtio/config.hpp>
#include <virtio/transport/concepts.hpp>
#include <virtio/transport/config_access.hpp>

namespace virtio::mmio {

/// The content of a notification: only the queue's number, or also the position in its ring (NOTIFICATION_DATA).
enum class notification : u8 { number, number_and_position };

/// A queue's doorbell. All queues of a device share one register.
template <register_space Space>
class doorbell {
 public:
  constexpr doorbell() = default;  // not usable
  /// A doorbell with the register `at`.
  constexpr doorbell(Space at, u16 queue, notification says) : at_{at}, queue_{queue}, says_{says} {}

  /// Notifies the device. One register write. An interrupt handler may call it. Spec: 4.2.3.3.
  void ring(u16 position) const {
    at_.template write<u32>(0, says_ == notification::number ? queue_ : queue_ | u32{position} << 16);
  }

 private:
  Space at_{};
  u16 queue_ = 0;
  notification says_ = notification::number;
};

/// The versions that a transport drives. `either` is decided when the device is opened.
enum class versions : u8 { modern, legacy, either };

/// The transport for MMIO devices; `mmio::modern`, `mmio::legacy` and `mmio::transport` are its three kinds.
/// `Config` is the width of configuration accesses: `by_field`, `by_byte` or `by_dword`.
template <bus B, versions Which, class Config = by_field>
class registers_transport {
  static_assert(Which != versions::either || native_order == byte_order::little || sizeof(B) == 0,
                "mmio::transport: on a big-endian guest choose mmio::modern or mmio::legacy");

 public:
  using location = found<B>;                                // `transport` concept
  using doorbell = mmio::doorbell<typename B::slot_space>;  // `transport` concept
  /// Byte order of rings.
  static constexpr byte_order ring_order = Which == versions::legacy ? native_order : byte_order::little;
  /// `transport` concept: features of the transport. Not NOTIF_CONFIG_DATA: MMIO has no register for it. A legacy
  /// device offers none.
  static constexpr feature_set wanted{feature::notification_data};

  /// `transport` concept: returns the type of a usable device.
  [[nodiscard]] static device_type type_of(const location& where) {
    return where.seen.why == verdict::usable ? where.seen.type : device_type::none;
  }

  /// `transport` concept: examines the slot again, since its device may have been removed; a slot that discovery found
  /// unusable stays unusable. Errors: `not_found` for an empty slot, `wrong_device` for no virtio device or for another
  /// type than before, `unsupported` for a version that this transport does not drive.
  [[nodiscard]] result<void> open(const location& where, report& why) {
    virtio::detail::clear(*this);
    why = where.seen;
    if (why.why == verdict::usable) why = at(where.bus, where.slot).seen;
    if (why.why != verdict::usable) return error_of(why.why);
    if (why.type != where.seen.type) return refuse(why, verdict::wrong_type, errc::wrong_device);
    legacy_ = why.via == transport_kind::mmio_legacy;
    if (Which == versions::modern && legacy_) return refuse(why, verdict::legacy_unsupported, errc::unsupported);
    if (Which == versions::legacy && !legacy_) return refuse(why, verdict::modern_unsupported, errc::unsupported);
    at_ = where.bus.slot(where.slot);
    type_ = why.type;
    return {};
  }

  /// `transport` concept: returns the type of the device.
  [[nodiscard]] device_type type() const { return type_; }
  /// `transport` concept: returns the interface.
  [[nodiscard]] transport_kind kind() const {
    return is_legacy() ? transport_kind::mmio_legacy : transport_kind::mmio_modern;
  }
  /// `transport` concept: returns whether the interface is legacy.
  [[nodiscard]] bool is_legacy() const { return Which == versions::either ? legacy_ : Which == versions::legacy; }

  /// `transport` concept: reads the status register. A value above eight bits is invalid and becomes all ones, as for a
  /// removed device, so that it never looks like a completed reset.
  [[nodiscard]] u8 status() const {
    const u32 value = read(at_, registers::status);
    return value > 0xff ? u8{0xff} : static_cast<u8>(value);
  }
  /// `transport` concept: writes the status register.
  void set_status(u8 value) const { write(at_, registers::status, u32{value}); }

  /// `transport` concept: reads the offered features. A legacy device has only bits 0 to 31.
  [[nodiscard]] feature_set device_features(u32 words) const {
    feature_set offered;
    for (u32 n = 0; n < words; ++n) {
      write(at_, registers::device_features_select, n);
      offered.set_word(n, read(at_, registers::device_features));
    }
    return offered;
  }
  /// `transport` concept: writes the accepted features.
  void accept_features(feature_set chosen, u32 words) const {
    for (u32 n = 0; n < words; ++n) {
      write(at_, registers::driver_features_select, n);
      write(at_, registers::driver_features, chosen.word(n));
    }
  }

  /// `transport` concept: selects a queue and reads its size.
  [[nodiscard]] queue_limits queue(u16 q) const {
    write(at_, registers::queue_select, u32{q});
    return {static_cast<u16>(virtio::detail::smaller(read(at_, registers::queue_size_max), u32{0x8000})), false};
  }

  /// `transport` concept: sets a queue up and enables it. Errors: `device_misbehaved` if the queue is still in use
  /// after the reset; `unsupported` with a vector; on a legacy device `misaligned`, `dma_unreachable` or
  /// `invalid_argument` for areas that it cannot use.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set& features, u16 vector,
                                          doorbell& bell) const {
    if (vector != no_vector) return errc::unsupported;
    u32 page = 0;
    if (is_legacy()) {
      VIRTIO_TRY_ASSIGN(page, virtio::detail::legacy_page(areas));
      write(at_, registers::guest_page_size, u32{dma_page});  // the unit of the page number, written before it
    }
    write(at_, registers::queue_select, u32{q});
    if (read(at_, is_legacy() ? registers::queue_pfn : registers::queue_ready) != 0) return errc::device_misbehaved;
    write(at_, registers::queue_size, u32{areas.entries});
    if (is_legacy()) {
      write(at_, registers::queue_align, u32{dma_page});
      write(at_, registers::queue_pfn, page);
    } else {
      write(at_, registers::queue_desc, raw(areas.descriptors));
      write(at_, registers::queue_driver, raw(areas.driver));
      write(at_, registers::queue_device, raw(areas.device));
      write(at_, registers::queue_ready, u32{1});
    }
    const bool has_position = features.has(feature::notification_data);
    bell = doorbell{at_.part(registers::queue_notify.offset, 4), q,
                    has_position ? notification::number_and_position : notification::number};
    return {};
  }

  /// `transport` concept: starts the reset of a queue. Only with RING_RESET, and only to set the queue up again: it
  /// never returns buffers. Error: `unsupported` on a legacy device.
  [[nodiscard]] result<void> begin_queue_reset(u16 q) const {
    if (is_legacy()) return errc::unsupported;
    write(at_, registers::queue_select, u32{q});
    write(at_, registers::queue_reset, u32{1});
    return {};
  }
  /// `transport` concept: returns whether the reset is complete.
  [[nodiscard]] bool queue_reset_done(u16 q) const {
    if (is_legacy()) return false;
    write(at_, registers::queue_select, u32{q});
    return read(at_, registers::queue_reset) == 0;
  }

  /// `transport` concept: not supported; MMIO has no vectors.
  [[nodiscard]] result<void> set_config_vector(u16) const { return errc::unsupported; }

  /// `transport` concept: reads a field of the configuration.
  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    const T value = Policy::template read<T>(space, offset);
    return is_legacy() ? virtio::detail::in_guest_order(value) : value;
  }
  /// `transport` concept: writes a field of the configuration.
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    Policy::template write<T>(space, offset, is_legacy() ? virtio::detail::in_guest_order(value) : value);
    return {};
  }
  /// `transport` concept: reads the generation of the configuration; 0 on a legacy device, where readers compare two
  /// reads.
  [[nodiscard]] u32 config_generation() const { return is_legacy() ? 0 : read(at_, registers::config_generation); }

  /// `transport` concept: reads the interrupt cause and acknowledges exactly those bits, which clears the line;
  /// undefined bits are not acknowledged. Two accesses, or one if another device raised a shared interrupt.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    const u32 pending = read(at_, registers::interrupt_status) & 3;
    if (pending != 0) write(at_, registers::interrupt_ack, pending);
    return {(pending & 1) != 0, (pending & 2) != 0};
  }

  /// `transport` concept: no effect. A device is silent after its reset, and MMIO has no switch that disconnects it.
  void close() const {}

 private:
  static errc refuse(report& why, verdict what, errc error) {
    why.why = what;
    return error;
  }

  [[nodiscard]] typename B::slot_space device_config() const {
    return at_.size() > registers::config ? at_.part(registers::config, at_.size() - registers::config)
                                          : typename B::slot_space{};
  }

  typename B::slot_space at_{};
  device_type type_{};
  bool legacy_ = false;
};

/// The transport for version 2 only.
template <bus B, class Config = by_field>
using modern = registers_transport<B, versions::modern, Config>;

/// The transport for version 1 only. Registers are little-endian; rings and device configuration have the guest's
/// order.
template <bus B, class Config = by_field>
using legacy = registers_transport<B, versions::legacy, Config>;

/// The transport for both versions, decided when the device is opened. Only for little-endian guests: a ring has one
/// byte order at compile time.
template <bus B, class Config = by_field>
using transport = registers_transport<B, versions::either, Config>;

}  // namespace virtio::mmio
