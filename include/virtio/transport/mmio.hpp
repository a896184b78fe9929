// SPDX-License-Identifier: MIT
// Virtio over MMIO: one block of 32-bit registers a device, version 2 and the legacy version 1. The two share most of it; a
// legacy device is told one page number for the whole ring, knows no FEATURES_OK and no generation count, and has its
// configuration in the guest's byte order. Unlike on PCI a legacy queue can be made smaller. There are no interrupt vectors.
// Spec: virtio 1.4, 4.2 (4.2.4 for version 1). Layer: transport.
#pragma once

#include <virtio/bus/mmio/slots.hpp>
#include <virtio/config.hpp>
#include <virtio/transport/concepts.hpp>
#include <virtio/transport/config_access.hpp>

namespace virtio::mmio {

/// What a notification says: the queue's number alone, or also the position in its ring (NOTIFICATION_DATA).
enum class notification : u8 { number, number_and_position };

/// Where notifications go: the device's one register, whatever the queue.
template <register_space Space>
class doorbell {
 public:
  constexpr doorbell() = default;
  constexpr doorbell(Space at, u16 queue, notification says) : at_{at}, queue_{queue}, says_{says} {}

  /// One register write. An interrupt handler may call it. Spec: 4.2.3.3.
  void ring(u16 position) const {
    at_.template write<u32>(0, says_ == notification::number ? queue_ : queue_ | u32{position} << 16);
  }

 private:
  Space at_{};
  u16 queue_ = 0;
  notification says_ = notification::number;
};

/// Which versions a transport drives. `either` decides when the device is opened.
enum class versions : u8 { modern, legacy, either };

/// The transport for MMIO devices; `mmio::modern`, `mmio::legacy` and `mmio::transport` are its three kinds.
/// `Config` is how device config is read: `by_field`, `by_byte` or `by_dword`.
template <bus B, versions Which, class Config = by_field>
class registers_transport {
  static_assert(Which != versions::either || native_order == byte_order::little || sizeof(B) == 0,
                "mmio::transport: on a big-endian guest choose mmio::modern or mmio::legacy");

 public:
  using location = found<B>;
  using doorbell = mmio::doorbell<typename B::slot_space>;
  static constexpr byte_order ring_order = Which == versions::legacy ? native_order : byte_order::little;
  // Not NOTIF_CONFIG_DATA: there is no register for such a value, the queue's number it is. A legacy device offers none.
  static constexpr feature_set wanted{feature::notification_data};

  [[nodiscard]] static device_type type_of(const location& where) {
    return where.seen.why == verdict::usable ? where.seen.type : device_type::none;
  }

  /// Looks at the slot again, since whoever was there when it was found may have gone; one that was found unusable stays so. Errors:
  /// `not_found` for an empty slot, `wrong_device` for what is no virtio device or another one than was found, `unsupported` for a
  /// version that this transport does not drive.
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

  [[nodiscard]] device_type type() const { return type_; }
  [[nodiscard]] transport_kind kind() const {
    return is_legacy() ? transport_kind::mmio_legacy : transport_kind::mmio_modern;
  }
  [[nodiscard]] bool is_legacy() const { return Which == versions::either ? legacy_ : Which == versions::legacy; }

  /// What does not fit eight bits is no status: all ones, as of a device that has vanished, and never the zero of a reset.
  [[nodiscard]] u8 status() const {
    const u32 value = read(at_, registers::status);
    return value > 0xff ? u8{0xff} : static_cast<u8>(value);
  }
  void set_status(u8 value) const { write(at_, registers::status, u32{value}); }

  /// On a legacy device only bits 0 to 31 exist.
  [[nodiscard]] feature_set device_features(u32 words) const {
    feature_set offered;
    for (u32 n = 0; n < words; ++n) {
      write(at_, registers::device_features_select, n);
      offered.set_word(n, read(at_, registers::device_features));
    }
    return offered;
  }
  void accept_features(feature_set chosen, u32 words) const {
    for (u32 n = 0; n < words; ++n) {
      write(at_, registers::driver_features_select, n);
      write(at_, registers::driver_features, chosen.word(n));
    }
  }

  [[nodiscard]] queue_limits queue(u16 q) const {
    write(at_, registers::queue_select, u32{q});
    return {static_cast<u16>(virtio::detail::smaller(read(at_, registers::queue_size_max), u32{0x8000})), false};
  }

  /// Errors: `device_misbehaved` when the queue is in use, which after a reset it cannot be; `unsupported` with a vector; on
  /// a legacy device those of `legacy_page`.
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set& features,
                                          u16 vector, doorbell& bell) const {
    if (vector != no_vector) return errc::unsupported;
    u32 page = 0;
    if (is_legacy()) {
      VIRTIO_TRY_ASSIGN(page, virtio::detail::legacy_page(areas));
      write(at_, registers::guest_page_size, u32{dma_page});  // the unit of the page number, before any is given
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

  /// Only after RING_RESET was negotiated, and only to set the queue up anew: it never gives buffers back.
  [[nodiscard]] result<void> begin_queue_reset(u16 q) const {
    if (is_legacy()) return errc::unsupported;
    write(at_, registers::queue_select, u32{q});
    write(at_, registers::queue_reset, u32{1});
    return {};
  }
  [[nodiscard]] bool queue_reset_done(u16 q) const {
    if (is_legacy()) return false;
    write(at_, registers::queue_select, u32{q});
    return read(at_, registers::queue_reset) == 0;
  }

  [[nodiscard]] result<void> set_config_vector(u16) const { return errc::unsupported; }

  template <register_value T, class Policy = Config>
  [[nodiscard]] result<T> config(usize offset) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    const T value = Policy::template read<T>(space, offset);
    return is_legacy() ? virtio::detail::in_guest_order(value) : value;
  }
  template <register_value T, class Policy = Config>
  result<void> config_write(usize offset, T value) const {
    const auto space = device_config();
    VIRTIO_TRY((virtio::detail::check_config<Policy, T>(space, offset)));
    Policy::template write<T>(space, offset, is_legacy() ? virtio::detail::in_guest_order(value) : value);
    return {};
  }
  /// A legacy device has none: readers compare two reads instead.
  [[nodiscard]] u32 config_generation() const { return is_legacy() ? 0 : read(at_, registers::config_generation); }

  /// Reads what there is and acknowledges exactly that, which drops the line; bits that mean nothing are left alone. Two
  /// accesses, one when the interrupt was somebody else's.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const {
    const u32 pending = read(at_, registers::interrupt_status) & 3;
    if (pending != 0) write(at_, registers::interrupt_ack, pending);
    return {(pending & 1) != 0, (pending & 2) != 0};
  }

  /// Nothing: a device that was reset is quiet, and there is no switch that would keep one that was not off the bus.
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

/// Version 2 alone.
template <bus B, class Config = by_field>
using modern = registers_transport<B, versions::modern, Config>;

/// Version 1 alone. The registers are little-endian everywhere; rings and device config are the guest's.
template <bus B, class Config = by_field>
using legacy = registers_transport<B, versions::legacy, Config>;

/// Whatever there is, decided when the device is opened. Little-endian guests only: a ring has one byte order at compile time.
template <bus B, class Config = by_field>
using transport = registers_transport<B, versions::either, Config>;

}  // namespace virtio::mmio
