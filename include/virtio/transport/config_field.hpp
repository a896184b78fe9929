// SPDX-License-Identifier: MIT
// Fields of a device's configuration: place, width and byte order in one constant, so that drivers neither state a
// width nor swap bytes where they read. The transport makes the accesses (config_access.hpp).
// Spec: virtio 1.4, 2.5.3 and 5.5.4. Layer: transport.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/config.hpp>

namespace virtio {

/// The byte order of a field on the legacy interface. On the modern one every field is little-endian.
enum class field_order : u8 {
  guest,   // the guest's order (2.5.3)
  little,  // little-endian for every guest: balloons (5.5.4)
};

/// A field of type `T` in the configuration.
template <register_value T, field_order Order = field_order::guest>
struct config_field {
  usize offset = 0;  // bytes from the start of the configuration
};

namespace detail {

/// Converts a field between the interface's order and the field's, in both directions. `Transport::ring_order` is big
/// only on the legacy interface of a big-endian guest.
template <class Transport, field_order Order, class T>
[[nodiscard]] constexpr T in_field_order(T value) {
  if constexpr (Order == field_order::little && Transport::ring_order == byte_order::big) return swap_bytes(value);
  else return value;
}

}  // namespace detail

/// Reads one field. Fields of 8 bytes may tear: see `read_config`. Errors: those of the transport's `config`. Cost: one
/// register access, or two for 8 bytes.
template <class Transport, register_value T, field_order Order>
[[nodiscard, gnu::always_inline]] inline result<T> read_field(const Transport& transport,
                                                              config_field<T, Order> field) {
  if constexpr (detail::in_field_order<Transport, Order>(T{1}) == T{1}) {
    return transport.template config<T>(field.offset);
  } else {
    VIRTIO_TRY_ASSIGN(const T said, transport.template config<T>(field.offset));
    return detail::in_field_order<Transport, Order>(said);
  }
}

/// Writes one field. Errors: those of the transport's `config_write`. Cost: that of `read_field`.
template <class Transport, register_value T, field_order Order>
[[nodiscard, gnu::always_inline]] inline result<void> write_field(Transport&& transport, config_field<T, Order> field,
                                                                  T value) {
  return transport.template config_write<T>(field.offset,
                                            detail::in_field_order<detail::bare<Transport>, Order>(value));
}

}  // namespace virtio
