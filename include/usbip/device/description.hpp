// SPDX-License-Identifier: MIT
// Descriptors from a readable description, at compile time. A description that a host would reject does not compile:
// the message has the reason.
// Spec: USB 2.0, 9.5 to 9.7; USB 3.2, 9.6. Layer: device (may include engine, codec, base).
#pragma once

#include <usbip/base/types.hpp>

namespace usbip {

/// The description of a device. Texts are UTF-8 and static; a null pointer is no text.
struct device_description {
  usbip::speed speed = usbip::speed::high;  // of the simulated bus
  u16 vendor = 0;                           // idVendor
  u16 product = 0;                          // idProduct
  u16 release = 0x0100;                     // bcdDevice: version 1.0
  const char* manufacturer = nullptr;       // iManufacturer
  const char* name = nullptr;               // iProduct
  const char* serial = nullptr;             // iSerialNumber
  u16 milliamperes = 100;                   // maximum current
  u8 device_class = 0;                      // 0: the interfaces have their own
  u8 subclass = 0;                          // bDeviceSubClass
  u8 protocol = 0;                          // bDeviceProtocol
};

/// Types of endpoints.
enum class transfer_type : u8 { control = 0, isochronous = 1, bulk = 2, interrupt = 3 };

void the_reason_stands_in_the_call_above();  // never defined: a description that calls it is not a constant
/// Ends the compilation in the check of a description. Compilers show the call with its argument.
constexpr void wrong_description(const char* reason) {
  if (reason != nullptr) the_reason_stands_in_the_call_above();
}

/// Bytes of the largest configuration that a description can have.
inline constexpr usize largest_configuration = 512;
inline constexpr usize largest_strings = 512;  // bytes of its string descriptors
inline constexpr u8 nothing_claimed = 0xff;    // owner of an interface number that is not used

/// The calls of a class driver's `describe(configuration&)`. Interfaces and endpoints are numbered in the order of the
/// calls. A driver identifies its endpoints and interfaces by their order, from 0.
class configuration {
 public:
  /// Starts without interfaces.
  constexpr configuration(const device_description& about) : speed_{about.speed} { size_ = 9; }

  /// The device's speed: packet sizes depend on it.
  [[nodiscard]] constexpr usbip::speed speed() const { return speed_; }
  /// The number of the next interface, for class-specific descriptors.
  [[nodiscard]] constexpr u8 next_interface() const { return interfaces_; }

  /// Makes the next `count` interfaces one function; for a driver with more than one interface.
  constexpr void association(u8 count, u8 interface_class, u8 subclass, u8 protocol) {
    const u8 descriptor[] = {8, 11, interfaces_, count, interface_class, subclass, protocol, 0};
    append(descriptor);
    associations_ = true;
  }
  /// Adds an interface; endpoints that follow belong to it.
  constexpr void interface(u8 interface_class, u8 subclass, u8 protocol) {
    if (interfaces_ == 16) wrong_description("more than 16 interfaces");
    interface_at_ = size_;
    const u8 descriptor[] = {9, 4, interfaces_, 0, 0, interface_class, subclass, protocol, 0};
    append(descriptor);
    interface_owner_[interfaces_] = function_;
    ++interfaces_;
  }
  /// Adds a class-specific descriptor unchanged.
  template <usize N>
  constexpr void raw(const u8 (&descriptor)[N]) {
    if (descriptor[0] != N) wrong_description("a class-specific descriptor's length differs from its first byte");
    append(descriptor);
  }
  /// Adds a bulk endpoint to the device.
  constexpr void bulk_out() { endpoint(next_endpoint(direction_out), transfer_type::bulk, bulk_size(), 0); }
  /// Adds a bulk endpoint to the host.
  constexpr void bulk_in() { endpoint(next_endpoint(direction_in), transfer_type::bulk, bulk_size(), 0); }
  /// Adds an interrupt endpoint to the host: packets of `size` bytes, at most one in `milliseconds`.
  constexpr void interrupt_in(u16 size, u8 milliseconds) {
    endpoint(next_endpoint(direction_in), transfer_type::interrupt, size, interval(milliseconds));
  }
  /// The same, to the device.
  constexpr void interrupt_out(u16 size, u8 milliseconds) {
    endpoint(next_endpoint(direction_out), transfer_type::interrupt, size, interval(milliseconds));
  }
  /// Adds an endpoint with an address of the driver's choice.
  constexpr void endpoint(u8 address, transfer_type type, u16 packet, u8 interval) {
    if (interface_at_ == 0) wrong_description("an endpoint precedes every interface");
    if (type == transfer_type::isochronous) wrong_description("isochronous endpoints are not served");
    const u8 descriptor[] = {
        7, 5, address, static_cast<u8>(type), static_cast<u8>(packet), static_cast<u8>(packet >> 8), interval};
    append(descriptor);
    if (speed_ == usbip::speed::super) {
      const u16 each = type == transfer_type::interrupt ? packet : 0;
      const u8 companion[] = {6, 48, 0, 0, static_cast<u8>(each), static_cast<u8>(each >> 8)};
      append(companion);
    }
    ++bytes_[interface_at_ + 4];
    const usize index = (address & 15u) | (address >> 7 != 0 ? 16u : 0u);
    if (endpoint_owner_[index] != 0) wrong_description("an endpoint address is used twice");
    endpoint_owner_[index] = static_cast<u8>(function_ + 1);
    endpoint_order_[index] = endpoints_++;
  }

  // For `layout_of` below.
  /// Begins the part of class driver `which`.
  constexpr void begin_function(u8 which) {
    function_ = which;
    endpoints_ = 0;
    interface_at_ = 0;
  }
  /// Writes the head of the descriptor.
  constexpr void finish(const device_description& about) {
    const u32 unit = speed_ == usbip::speed::super ? 8 : 2;
    // clang-format off
    const u8 head[] = {9, 2, static_cast<u8>(size_), static_cast<u8>(size_ >> 8), interfaces_, 1, 0, 0x80,
                       static_cast<u8>(about.milliamperes / unit)};
    // clang-format on
    copy(bytes_, head, sizeof head);
  }
  /// The descriptor.
  [[nodiscard]] constexpr const u8* data() const { return bytes_; }
  /// Its size in bytes.
  [[nodiscard]] constexpr usize size() const { return size_; }
  /// Number of interfaces.
  [[nodiscard]] constexpr u8 interfaces() const { return interfaces_; }
  /// Whether it has interface associations.
  [[nodiscard]] constexpr bool has_associations() const { return associations_; }
  /// Index of the class driver with this interface.
  [[nodiscard]] constexpr u8 interface_owner(usize which) const { return interface_owner_[which]; }
  /// 1 + index of the class driver with this endpoint; 0: none.
  [[nodiscard]] constexpr u8 endpoint_owner(usize index) const { return endpoint_owner_[index]; }
  /// Order of this endpoint at its class driver.
  [[nodiscard]] constexpr u8 endpoint_order(usize index) const { return endpoint_order_[index]; }

 private:
  static constexpr u8 direction_out = 0;
  static constexpr u8 direction_in = 0x80;

  constexpr void append(const u8* descriptor) {
    const usize length = descriptor[0];
    if (size_ + length > largest_configuration)
      wrong_description("the configuration is longer than usbip::largest_configuration");
    copy(bytes_ + size_, descriptor, length);
    size_ += length;
  }
  constexpr u8 next_endpoint(u8 way) {
    const usize first = way == direction_in ? 16 : 0;
    for (u8 number = 1; number < 16; ++number) {
      if (endpoint_owner_[first + number] == 0) return static_cast<u8>(number | way);
    }
    wrong_description("more than 15 endpoints of one direction");
    return 0;
  }
  constexpr u16 bulk_size() const {
    return speed_ == usbip::speed::super ? 1024 : speed_ == usbip::speed::high ? 512 : 64;
  }
  constexpr u8 interval(u8 milliseconds) const {
    if (milliseconds == 0) wrong_description("an interval of 0 ms");
    if (speed_ == usbip::speed::low || speed_ == usbip::speed::full) return milliseconds;
    u8 exponent = 4;  // 2^3 microframes of 125 us are 1 ms
    while ((u32{1} << (exponent - 3)) <= milliseconds) ++exponent;
    return exponent;
  }

  usbip::speed speed_;
  u8 bytes_[largest_configuration] = {};
  usize size_ = 0;
  usize interface_at_ = 0;
  u8 interfaces_ = 0;
  u8 function_ = 0;
  u8 endpoints_ = 0;
  bool associations_ = false;
  u8 interface_owner_[16] = {};
  u8 endpoint_owner_[32] = {};
  u8 endpoint_order_[32] = {};
};

/// Handles a fault. At run time it returns the reason; at compile time compilers show the call with it.
constexpr const char* return_reason(const char* reason) { return reason; }
/// Ends the compilation with the reason.
constexpr const char* refuse_description(const char* reason) {
  wrong_description(reason);
  return reason;
}

/// Checks a configuration descriptor as a host does. Returns the reason of the first fault; null if there is none.
[[nodiscard]] constexpr const char* fault_of_configuration(const u8* at, usize size, speed how_fast,
                                                           const char* (*fault)(const char*) = return_reason) {
  if (size < 9 || at[0] != 9 || at[1] != 2) return fault("it does not begin with a configuration descriptor");
  if (load_le16(at + 2) != size) return fault("wTotalLength is not the length of all descriptors");
  u32 addresses = 0;
  u32 interfaces = 0;
  u32 endpoints_due = 0;
  for (usize here = 9; here < size; here += at[here]) {
    if (at[here] < 2 || at[here] > size - here) return fault("a descriptor extends past the end");
    const u8 length = at[here];
    const u8 type = at[here + 1];
    if (type == 4) {
      if (length != 9) return fault("an interface descriptor is not 9 bytes long");
      if (endpoints_due != 0) return fault("an interface has fewer endpoints than its bNumEndpoints");
      if (at[here + 3] == 0 && at[here + 2] != interfaces++) return fault("interfaces are not numbered 0, 1, 2...");
      endpoints_due = at[here + 4];
    } else if (type == 5) {
      if (length < 7) return fault("an endpoint descriptor has fewer than 7 bytes");
      if (endpoints_due-- == 0) return fault("an interface has more endpoints than its bNumEndpoints");
      const u8 address = at[here + 2];
      if ((address & 15) == 0 || (address & 0x70) != 0) return fault("an endpoint address is invalid");
      const u32 bit = u32{1} << ((address & 15) | (address >> 7) << 4);
      if ((addresses & bit) != 0) return fault("an endpoint address is used twice");
      addresses |= bit;
      const auto kind = static_cast<transfer_type>(at[here + 3] & 3);
      const u16 packet = load_le16(at + here + 4);
      const bool is_bulk = kind == transfer_type::bulk;
      switch (how_fast) {
        case speed::low:
          if (is_bulk) return fault("low speed has no bulk endpoints");
          if (packet > 8) return fault("low speed has packets of at most 8 bytes");
          break;
        case speed::full:
          if (packet > 64) return fault("full speed has packets of at most 64 bytes");
          if (is_bulk && packet != 8 && packet != 16 && packet != 32 && packet != 64)
            return fault("bulk packets are 8, 16, 32 or 64 bytes");
          break;
        case speed::high:
          if (is_bulk && packet != 512) return fault("bulk packets at high speed are 512 bytes");
          if (packet > 1024) return fault("high speed has packets of at most 1024 bytes");
          break;
        case speed::super:
          if (is_bulk && packet != 1024) return fault("bulk packets at SuperSpeed are 1024 bytes");
          if (packet > 1024) return fault("SuperSpeed has packets of at most 1024 bytes");
          if (here + length + 6 > size || at[here + length + 1] != 48)
            return fault("an endpoint at SuperSpeed lacks its companion");
          break;
      }
      if (packet == 0) return fault("an endpoint has packets of 0 bytes");
      if (kind == transfer_type::interrupt && at[here + 6] == 0) return fault("an interrupt endpoint has no interval");
    }
  }
  if (endpoints_due != 0) return fault("an interface has fewer endpoints than its bNumEndpoints");
  if (interfaces != at[4]) return fault("bNumInterfaces is not the number of interfaces");
  if (interfaces == 0) return fault("there is no interface");
  return nullptr;
}

/// All descriptors of a device, and the owners of its interfaces and endpoints.
struct device_layout {
  u8 device[18] = {};                            // device descriptor
  u8 bos[22] = {};                               // binary object store; SuperSpeed only
  u8 bos_size = 0;                               // bytes; 0: none
  u8 configuration[largest_configuration] = {};  // configuration descriptor and all that follow
  u16 configuration_size = 0;                    // bytes
  u8 strings[largest_strings] = {};  // string descriptors, one after another; number 0 is the list of languages
  u16 string_at[5] = {};             // offset of each, and the end; a text of no bytes is absent
  u8 interfaces = 0;                 // number of interfaces
  u8 interface_owner[16] = {};       // index of the class driver
  u8 endpoint_owner[32] = {};        // 1 + index of the class driver, 0: no endpoint; indexed by number, plus 16 for IN
  u8 endpoint_order[32] = {};        // order at its class driver; same index
  u8 interface_triples[16][3] = {};  // class, subclass, protocol
};

/// Appends a string descriptor: UTF-16 of `text`, which is UTF-8. Returns its number, 0 for no text.
constexpr u8 append_text(device_layout& to, u8 number, const char* text) {
  const u16 start = to.string_at[number];
  to.string_at[number + 1] = start;
  if (text == nullptr) return 0;
  usize at = start + 2u;
  const auto unit = [&](u32 code) {
    if (at + 2 > largest_strings) wrong_description("the texts are longer than usbip::largest_strings");
    to.strings[at++] = static_cast<u8>(code);
    to.strings[at++] = static_cast<u8>(code >> 8);
  };
  while (*text != 0) {
    const u8 lead = static_cast<u8>(*text++);
    const u32 more = lead < 0x80 ? 0 : lead >> 5 == 6 ? 1 : lead >> 4 == 14 ? 2 : lead >> 3 == 30 ? 3 : 4;
    if (more == 4) wrong_description("a text is not UTF-8");
    u32 code = more == 0 ? lead : lead & (0x3fu >> more);
    for (u32 rest = 0; rest < more; ++rest) {
      if ((static_cast<u8>(*text) & 0xc0) != 0x80) wrong_description("a text is not UTF-8");
      code = code << 6 | (static_cast<u8>(*text++) & 0x3fu);
    }
    if (code >= 0x10000) {
      unit(0xd800 + ((code - 0x10000) >> 10));
      unit(0xdc00 + ((code - 0x10000) & 0x3ff));
    } else {
      unit(code);
    }
  }
  if (at - start > 254) wrong_description("a text has more than 126 characters");
  to.strings[start] = static_cast<u8>(at - start);
  to.strings[start + 1] = 3;
  to.string_at[number + 1] = static_cast<u16>(at);
  return number;
}

/// Combines all descriptors.
template <class... Functions>
constexpr device_layout layout_of(const device_description& about) {
  configuration all{about};
  u8 which = 0;
  ((all.begin_function(which++), Functions::describe(all)), ...);
  all.finish(about);
  (void)fault_of_configuration(all.data(), all.size(), about.speed, refuse_description);

  device_layout made;
  copy(made.configuration, all.data(), all.size());
  made.configuration_size = static_cast<u16>(all.size());
  made.interfaces = all.interfaces();
  for (usize one = 0; one < 16; ++one)
    made.interface_owner[one] = one < made.interfaces ? all.interface_owner(one) : nothing_claimed;
  for (usize one = 0; one < 32; ++one) {
    made.endpoint_owner[one] = all.endpoint_owner(one);
    made.endpoint_order[one] = all.endpoint_order(one);
  }
  usize seen = 0;
  for (usize at = 9; at < all.size(); at += all.data()[at]) {
    if (all.data()[at + 1] == 4) copy(made.interface_triples[seen++], all.data() + at + 5, 3);
  }

  made.strings[0] = 4;
  made.strings[1] = 3;
  made.strings[2] = 0x09;
  made.strings[3] = 0x04;  // English (United States)
  made.string_at[1] = 4;
  const u8 manufacturer = append_text(made, 1, about.manufacturer);
  const u8 name = append_text(made, 2, about.name);
  const u8 serial = append_text(made, 3, about.serial);

  const bool is_super = about.speed == speed::super;
  /// Hosts look for associations by this class
  const bool composite = about.device_class == 0 && all.has_associations();
  // clang-format off
  const u8 device[] = {18, 1, 0, static_cast<u8>(is_super ? 0x03 : 0x02),
                       composite ? u8{0xef} : about.device_class, composite ? u8{2} : about.subclass,
                       composite ? u8{1} : about.protocol,
                       is_super ? u8{9} : about.speed == speed::low ? u8{8} : u8{64},
                       static_cast<u8>(about.vendor), static_cast<u8>(about.vendor >> 8),
                       static_cast<u8>(about.product), static_cast<u8>(about.product >> 8),
                       static_cast<u8>(about.release), static_cast<u8>(about.release >> 8), manufacturer, name,
                       serial, 1};
  // clang-format on
  copy(made.device, device, sizeof device);
  if (is_super) {
    const u8 bos[] = {5,  15, 22, 0, 2,                     // two capabilities
                      7,  16, 2,  0, 0,    0, 0,            // USB 2.0 extension: no link power management
                      10, 16, 3,  0, 0x08, 0, 3, 0, 0, 0};  // SuperSpeed: only 5 Gbit/s, no U1 or U2 latencies
    copy(made.bos, bos, sizeof bos);
    made.bos_size = sizeof bos;
  }
  return made;
}

}  // namespace usbip
