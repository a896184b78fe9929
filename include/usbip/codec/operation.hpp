// SPDX-License-Identifier: MIT
// The operation phase: what a client requests before there are URBs, and what a server answers. One operation per
// connection.
// Layer: codec (may include base).
#pragma once

#include <usbip/codec/parsed.hpp>

namespace usbip {

inline constexpr u16 protocol_version = 0x0111;     // of the operation phase, as Linux has it since 3.17
inline constexpr u16 default_port = 3240;           // TCP
inline constexpr usize operation_header_bytes = 8;  // bytes of each message's beginning
inline constexpr usize busid_bytes = 32;            // bytes of a device's name, with its NUL
inline constexpr usize path_bytes = 256;            // bytes of a device's path on the server, with its NUL
inline constexpr usize import_request_bytes = operation_header_bytes + busid_bytes;  // a whole REQ_IMPORT
inline constexpr usize device_record_bytes = 312;                                    // a device in an answer
inline constexpr usize interface_record_bytes = 4;                                   // an interface in an answer

/// The codes of messages.
enum class operation : u16 {
  list_request = 0x8005,
  list_answer = 0x0005,
  import_request = 0x8003,
  import_answer = 0x0003
};

/// The status of an answer.
enum class operation_status : u32 { ok = 0, not_available = 1, busy = 2, device_error = 3, no_device = 4, error = 5 };

/// The first eight bytes of every message.
struct operation_header {
  operation what{};           // the message
  operation_status status{};  // 0 in requests
};

/// REQ_DEVLIST, or REQ_IMPORT with the name of the device.
struct operation_request {
  operation what{};              // the message
  char busid[busid_bytes] = {};  // of an import
};

/// A device, as lists and answers to imports describe it.
struct device_record {
  char path[path_bytes] = {};               // on the server
  char busid[busid_bytes] = {};             // the name that clients import
  u32 busnum = 0;                           // number of the bus
  u32 devnum = 0;                           // number of the device on its bus
  usbip::speed speed = usbip::speed::high;  // of the device
  u16 vendor = 0;                           // idVendor
  u16 product = 0;                          // idProduct
  u16 release = 0;                          // bcdDevice
  u8 device_class = 0;                      // bDeviceClass
  u8 subclass = 0;                          // bDeviceSubClass
  u8 protocol = 0;                          // bDeviceProtocol
  u8 configuration = 0;                     // the selected one; 0: none
  u8 configurations = 1;                    // number of configurations
  u8 interfaces = 0;                        // number of interfaces
};

/// An interface of a device in a list.
struct interface_record {
  u8 interface_class = 0;  // bInterfaceClass
  u8 subclass = 0;         // bInterfaceSubClass
  u8 protocol = 0;         // bInterfaceProtocol
};

/// Parses a client's first message. The first four bytes distinguish URBs from an operation of any version.
[[nodiscard]] constexpr parsed<operation_request> parse_operation_request(const_bytes have) {
  using outcome = parsed<operation_request>;
  if (have.size >= 4) {
    const u32 word = load_be32(have.data);
    if (word == 1 || word == 2) return outcome::bad(fault::urbs_where_operation_due);
    if (word >> 16 != protocol_version) return outcome::bad(fault::wrong_version);
    const u16 code = static_cast<u16>(word);
    if (code != static_cast<u16>(operation::list_request) && code != static_cast<u16>(operation::import_request)) {
      return outcome::bad(fault::unknown_operation);
    }
  }
  if (have.size < operation_header_bytes) return outcome::lacks(operation_header_bytes - have.size);
  if (load_be32(have.data + 4) != 0) return outcome::bad(fault::failed);
  outcome got{};
  got.value.what = static_cast<operation>(load_be16(have.data + 2));
  if (got.value.what == operation::list_request) return got;
  if (have.size < import_request_bytes) return outcome::lacks(import_request_bytes - have.size);
  for (usize at = 0; at < busid_bytes; ++at)
    got.value.busid[at] = static_cast<char>(have.data[operation_header_bytes + at]);
  if (got.value.busid[busid_bytes - 1] != 0) return outcome::bad(fault::unterminated_text);
  return got;
}

/// Writes the first eight bytes of a message.
constexpr void put(u8* to, const operation_header& header) {
  store_be16(to, protocol_version);
  store_be16(to + 2, static_cast<u16>(header.what));
  store_be32(to + 4, static_cast<u32>(header.status));
}

/// Writes a whole REQ_IMPORT.
constexpr void put_import_request(u8 (&to)[import_request_bytes], const char (&busid)[busid_bytes]) {
  put(to, operation_header{operation::import_request, operation_status::ok});
  for (usize at = 0; at < busid_bytes; ++at) to[operation_header_bytes + at] = static_cast<u8>(busid[at]);
}

/// Parses the first eight bytes of the answer to `asked`. A nonzero status is a value: no bytes follow it.
[[nodiscard]] constexpr parsed<operation_header> parse_operation_answer(const_bytes have, operation asked) {
  using outcome = parsed<operation_header>;
  const u16 due = static_cast<u16>(static_cast<u16>(asked) & 0x7fffu);
  if (have.size >= 4) {
    const u32 word = load_be32(have.data);
    if (word >= 1 && word <= 4) return outcome::bad(fault::urbs_where_operation_due);
    if (word >> 16 != protocol_version) return outcome::bad(fault::wrong_version);
    if (static_cast<u16>(word) != due) return outcome::bad(fault::unknown_operation);
  }
  if (have.size < operation_header_bytes) return outcome::lacks(operation_header_bytes - have.size);
  outcome got{};
  got.value = {static_cast<operation>(due), static_cast<operation_status>(load_be32(have.data + 4))};
  return got;
}

/// Writes a device.
constexpr void put(u8 (&to)[device_record_bytes], const device_record& device) {
  for (usize at = 0; at < path_bytes; ++at) to[at] = static_cast<u8>(device.path[at]);
  for (usize at = 0; at < busid_bytes; ++at) to[path_bytes + at] = static_cast<u8>(device.busid[at]);
  store_be32(to + 288, device.busnum);
  store_be32(to + 292, device.devnum);
  store_be32(to + 296, static_cast<u32>(device.speed));
  store_be16(to + 300, device.vendor);
  store_be16(to + 302, device.product);
  store_be16(to + 304, device.release);
  to[306] = device.device_class;
  to[307] = device.subclass;
  to[308] = device.protocol;
  to[309] = device.configuration;
  to[310] = device.configurations;
  to[311] = device.interfaces;
}

/// Parses a device.
[[nodiscard]] constexpr parsed<device_record> parse_device_record(const_bytes have) {
  using outcome = parsed<device_record>;
  if (have.size < device_record_bytes) return outcome::lacks(device_record_bytes - have.size);
  outcome got{};
  device_record& device = got.value;
  const u8* const at = have.data;
  for (usize byte = 0; byte < path_bytes; ++byte) device.path[byte] = static_cast<char>(at[byte]);
  for (usize byte = 0; byte < busid_bytes; ++byte) device.busid[byte] = static_cast<char>(at[path_bytes + byte]);
  if (device.path[path_bytes - 1] != 0 || device.busid[busid_bytes - 1] != 0)
    return outcome::bad(fault::unterminated_text);
  device.busnum = load_be32(at + 288);
  device.devnum = load_be32(at + 292);
  device.speed = static_cast<usbip::speed>(load_be32(at + 296));
  device.vendor = load_be16(at + 300);
  device.product = load_be16(at + 302);
  device.release = load_be16(at + 304);
  device.device_class = at[306];
  device.subclass = at[307];
  device.protocol = at[308];
  device.configuration = at[309];
  device.configurations = at[310];
  device.interfaces = at[311];
  return got;
}

/// Writes an interface.
constexpr void put(u8 (&to)[interface_record_bytes], const interface_record& one) {
  to[0] = one.interface_class;
  to[1] = one.subclass;
  to[2] = one.protocol;
  to[3] = 0;
}

/// Parses an interface.
[[nodiscard]] constexpr parsed<interface_record> parse_interface_record(const_bytes have) {
  using outcome = parsed<interface_record>;
  if (have.size < interface_record_bytes) return outcome::lacks(interface_record_bytes - have.size);
  return {{have.data[0], have.data[1], have.data[2]}, 0, fault::none};
}

}  // namespace usbip
