// SPDX-License-Identifier: MIT
// A USB device: the control endpoint with the standard requests, and class drivers, which own the rest.
//
// A class driver claims interfaces and endpoints when it describes itself, at compile time. The device passes to it the
// transfers of its endpoints and the requests to its interfaces, and handles what is the same for all: configurations,
// halts, texts.
// Spec: USB 2.0, 9.4; USB 3.2, 9.4. Layer: device (may include engine, codec, base).
#pragma once

#include <usbip/device/description.hpp>
#include <usbip/engine/transfer.hpp>

namespace usbip {

/// The eight bytes of a control request.
struct setup_packet {
  u8 type = 0;     // direction, kind, recipient
  u8 request = 0;  // bRequest
  u16 value = 0;   // wValue
  u16 index = 0;   // wIndex
  u16 length = 0;  // wLength: bytes of data

  /// Parses the eight bytes.
  [[nodiscard]] static constexpr setup_packet of(const u8 (&raw)[8]) {
    return {raw[0], raw[1], load_le16(raw + 2), load_le16(raw + 4), load_le16(raw + 6)};
  }
  /// Whether data moves to the host.
  [[nodiscard]] constexpr bool is_in() const { return (type & 0x80) != 0; }
  [[nodiscard]] constexpr u8 kind() const { return type >> 5 & 3; }   // 0 standard, 1 class, 2 vendor
  [[nodiscard]] constexpr u8 recipient() const { return type & 31; }  // 0 device, 1 interface, 2 endpoint
};

/// A class driver's answer to a request. The bytes of `good(data)` are for the host, and stay in place until the next
/// request.
struct control_answer {
  answer::kind what = answer::kind::later;  // whether it is decided
  urb_status status{};                      // for the host
  const_bytes data{};                       // for the host

  /// Not decided yet.
  [[nodiscard]] static constexpr control_answer not_yet() { return {}; }
  /// Success, with data for an IN request.
  [[nodiscard]] static constexpr control_answer good(const_bytes data = {}) {
    return {answer::kind::now, urb_status::ok, data};
  }
  /// The request is not supported.
  [[nodiscard]] static constexpr control_answer stall() { return {answer::kind::now, urb_status::stall, {}}; }
};

/// Maximum bytes of data of a control OUT request.
inline constexpr usize control_buffer_bytes = 64;

/// A class driver. `order` counts the driver's endpoints in the order of its description, from 0. None of the calls
/// waits.
///
/// 1. `describe(configuration&)`, static and constexpr: interfaces, endpoints, class-specific descriptors. It describes
///    only what belongs to the driver, and depends only on the speed.
/// 2. `open()`: the host has selected the configuration, and the driver has its endpoints. `close()`: the driver has
///    lost them, and its transfers have ended; also called before the first `open`, and more than once.
/// 3. `control(setup, data)`: a class or vendor request to one of its interfaces or endpoints, or to the device. `data`
///    is what the host sent (OUT), or room of `control_buffer_bytes` (IN). The answer to an unknown request is
///    `stall()`.
/// 4. `room_for`, `arrived`, `answer_to`, `piece_of`, `sent`, `canceled`: as those of `served_device`, with the
///    endpoint's order as first argument. An endpoint that answers with `stall` is halted until the host clears it.
/// 5. `cleared(order)`: the host has ended a halt, or restarts this endpoint.
/// 6. `poll()`: called on each turn of the engine while a host has the device.
template <class F>
concept class_driver = requires(F& driver, configuration& all, u8 order, const transfer& t, u32 count,
                                const setup_packet& setup, bytes data) {
  F::describe(all);
  driver.open();
  driver.close();
  { driver.control(setup, data) } -> same_as<control_answer>;
  { driver.room_for(order, t) } -> same_as<room>;
  driver.arrived(order, t, count);
  { driver.answer_to(order, t) } -> same_as<answer>;
  { driver.piece_of(order, t) } -> same_as<const_bytes>;
  driver.sent(order, t, count);
  driver.canceled(order, t);
  driver.cleared(order);
  driver.poll();
};

/// A device of class drivers, which the caller owns. `About` is a constant at namespace scope:
///
///     inline constexpr usbip::device_description about{.vendor = 0x1209, .product = 0x0001, .name = "Disk"};
///     usbip::device<about, usbip::storage::drive<my_disk>> usb{drive};
template <const device_description& About, class_driver... Functions>
class device {
  static_assert(sizeof...(Functions) >= 1, "a device has at least one class driver");
  static constexpr device_layout layout = layout_of<Functions...>(About);

 public:
  /// The class drivers, which the caller owns.
  constexpr explicit device(Functions&... drivers) : drivers_{drivers...} {}

  // For the engine: see `served_device` -------------------------------------------------------------------------------

  /// `served_device` concept.
  [[nodiscard]] device_record record() const {
    device_record record;
    record.speed = About.speed;
    record.vendor = About.vendor;
    record.product = About.product;
    record.release = About.release;
    record.device_class = layout.device[4];
    record.subclass = layout.device[5];
    record.protocol = layout.device[6];
    record.configuration = configuration_;
    record.interfaces = layout.interfaces;
    return record;
  }
  /// `served_device` concept.
  [[nodiscard]] interface_record interface_of(u8 which) const {
    const auto& one = layout.interface_triples[which & 15];
    return {one[0], one[1], one[2]};
  }
  /// `served_device` concept.
  [[nodiscard]] bool has(u8 endpoint) const { return endpoint == 0 || owner_of(endpoint) != 0; }

  /// `served_device` concept.
  void attach() { close(); }
  /// `served_device` concept.
  void detach() { close(); }
  /// `served_device` concept.
  void poll() {
    drivers_.each([](auto& driver) { driver.poll(); });
  }

  /// `served_device` concept.
  [[nodiscard]] room room_for(const transfer& t) {
    if (t.endpoint == 0) {
      if (t.length > control_buffer_bytes) return room::refused();
      return room::at({control_ + t.done, control_buffer_bytes - t.done});
    }
    if (is_dead(t.endpoint)) return room::refused();
    const room got = with_owner(t.endpoint, [&](auto& driver, u8 order) { return driver.room_for(order, t); });
    if (got.what == room::kind::refuse && got.status == urb_status::stall) halt(t.endpoint);
    return got;
  }
  /// `served_device` concept.
  void arrived(const transfer& t, u32 count) {
    if (t.endpoint != 0) with_owner(t.endpoint, [&](auto& driver, u8 order) { driver.arrived(order, t, count); });
  }
  /// `served_device` concept.
  [[nodiscard]] answer answer_to(const transfer& t) {
    if (t.endpoint == 0) return control(t);
    if (is_dead(t.endpoint)) return answer::failed();
    const answer got = with_owner(t.endpoint, [&](auto& driver, u8 order) { return driver.answer_to(order, t); });
    if (got.what == answer::kind::now && got.status == urb_status::stall) halt(t.endpoint);
    return got;
  }
  /// `served_device` concept.
  [[nodiscard]] const_bytes piece_of(const transfer& t) {
    if (t.endpoint == 0) return reply_.part(t.done, reply_.size);
    return with_owner(t.endpoint, [&](auto& driver, u8 order) { return driver.piece_of(order, t); });
  }
  /// `served_device` concept.
  void sent(const transfer& t, u32 count) {
    if (t.endpoint != 0) with_owner(t.endpoint, [&](auto& driver, u8 order) { driver.sent(order, t, count); });
  }
  /// `served_device` concept.
  void canceled(const transfer& t) {
    if (t.endpoint != 0) with_owner(t.endpoint, [&](auto& driver, u8 order) { driver.canceled(order, t); });
  }

  /// Whether a host has selected the configuration, so that class drivers are open.
  [[nodiscard]] bool is_configured() const { return configuration_ != 0; }

 private:
  enum : u8 {  // standard requests
    get_status = 0,
    clear_feature = 1,
    set_feature = 3,
    set_address = 5,
    get_descriptor = 6,
    get_configuration = 8,
    set_configuration = 9,
    get_interface = 10,
    set_interface = 11,
    set_sel = 48,
    set_isoch_delay = 49,
  };

  static constexpr usize index_of(u8 endpoint) { return (endpoint & 15u) | (endpoint >> 7 != 0 ? 16u : 0u); }
  static constexpr u8 owner_of(u8 endpoint) { return layout.endpoint_owner[index_of(endpoint)]; }
  [[nodiscard]] bool is_dead(u8 endpoint) const {
    return configuration_ == 0 || (halted_ >> index_of(endpoint) & 1) != 0;
  }
  void halt(u8 endpoint) { halted_ |= u32{1} << index_of(endpoint); }

  void close() {
    configuration_ = 0;
    halted_ = 0;
    reply_ = {};
    drivers_.each([](auto& driver) { driver.close(); });
  }

  template <class F>
  auto with_owner(u8 endpoint, F&& f) {
    const u8 order = layout.endpoint_order[index_of(endpoint)];
    auto call = [&](auto& driver) { return f(driver, order); };
    return drivers_.with(static_cast<u8>(owner_of(endpoint) - 1), call);
  }

  // Control requests --------------------------------------------------------------------------------------------------

  answer control(const transfer& t) {
    const setup_packet setup = setup_packet::of(t.setup);
    reply_ = {};
    // A request without data may have either direction. In one with data, the header's direction must match the
    // transfer's.
    if (setup.length != 0 && setup.is_in() != (t.way == direction::in)) return answer::failed();
    if (!setup.is_in() && t.length < setup.length) return answer::failed();
    const control_answer got = setup.kind() == 0 ? standard(setup) : of_class(setup);
    if (got.what == answer::kind::later) return answer::not_yet();
    if (got.status != urb_status::ok) return answer::failed(got.status);
    if (!setup.is_in()) return answer::good(t.way == direction::out ? t.length : 0);
    reply_ = got.data.part(0, setup.length).part(0, t.length);
    return answer::good(static_cast<u32>(reply_.size));
  }

  control_answer of_class(const setup_packet& setup) {
    const bytes data{control_,
                     setup.is_in() || setup.length > control_buffer_bytes ? control_buffer_bytes : setup.length};
    u8 owner = nothing_claimed;
    if (setup.recipient() == 1) {
      const u8 which = static_cast<u8>(setup.index);
      if (which >= layout.interfaces || configuration_ == 0) return control_answer::stall();
      owner = layout.interface_owner[which];
    } else if (setup.recipient() == 2) {
      if (!is_endpoint(setup.index) || (setup.index & 15) == 0) return control_answer::stall();
      owner = static_cast<u8>(owner_of(static_cast<u8>(setup.index)) - 1);
    }
    if (owner != nothing_claimed) {
      auto call = [&](auto& driver) { return driver.control(setup, data); };
      return drivers_.with(owner, call);
    }
    control_answer got = control_answer::stall();  // to the device: the first driver that supports it
    drivers_.each([&](auto& driver) {
      if (got.what == answer::kind::now && got.status == urb_status::stall) got = driver.control(setup, data);
    });
    return got;
  }

  control_answer standard(const setup_packet& setup) {
    const u8 to = setup.recipient();
    switch (setup.request) {
      case get_status:
        if (!setup.is_in()) break;
        if (to == 2) {
          if (!is_endpoint(setup.index)) break;
          return small(halted_ >> index_of(static_cast<u8>(setup.index)) & 1, 2);
        }
        if (to == 1 && !is_interface(setup.index)) break;
        return small(0, 2);
      case clear_feature:
      case set_feature: return feature(setup);
      case set_address: return control_answer::good();  // the host's side of USB/IP answers it: it never arrives
      case get_descriptor:
        if (setup.is_in() && to == 0)
          return descriptor(static_cast<u8>(setup.value >> 8), static_cast<u8>(setup.value));
        break;
      case get_configuration:
        if (setup.is_in()) return small(configuration_, 1);
        break;
      case set_configuration:
        if (setup.value > 1 || to != 0) break;
        close();
        if (setup.value == 1) {
          configuration_ = 1;
          drivers_.each([](auto& driver) { driver.open(); });
        }
        return control_answer::good();
      case get_interface:
        if (setup.is_in() && is_interface(setup.index)) return small(0, 1);
        break;
      case set_interface:
        if (setup.value != 0 || !is_interface(setup.index)) break;
        for (u8 number = 1; number < 16; ++number) {
          restart(number, setup.index);
          restart(static_cast<u8>(number | 0x80), setup.index);
        }
        return control_answer::good();
      case set_sel:
      case set_isoch_delay:
        if (About.speed == speed::super) return control_answer::good();  // times of a physical bus
        break;
      default: break;
    }
    return control_answer::stall();
  }

  control_answer feature(const setup_packet& setup) {
    constexpr u16 endpoint_halt = 0;
    constexpr u16 function_suspend = 0, u1_enable = 48, u2_enable = 49, latency_messages = 50;
    if (setup.recipient() == 2) {
      if (setup.value != endpoint_halt || !is_endpoint(setup.index)) return control_answer::stall();
      const u8 endpoint = static_cast<u8>(setup.index);
      if ((endpoint & 15) == 0) return control_answer::good();
      if (setup.request == set_feature) {
        halt(endpoint);
      } else {
        halted_ &= ~(u32{1} << index_of(endpoint));
        with_owner(endpoint, [](auto& driver, u8 order) { driver.cleared(order); });
      }
      return control_answer::good();
    }
    // Power management of SuperSpeed: there is no power to manage.
    const u16 value = setup.value;
    if (About.speed == speed::super && setup.recipient() == 0 &&
        (value == u1_enable || value == u2_enable || value == latency_messages)) {
      return control_answer::good();
    }
    if (About.speed == speed::super && setup.recipient() == 1 && value == function_suspend &&
        is_interface(setup.index & 0xffu)) {
      return control_answer::good();
    }
    return control_answer::stall();
  }

  control_answer descriptor(u8 type, u8 number) {
    switch (type) {
      case 1: return control_answer::good({layout.device, sizeof layout.device});
      case 2:
        if (number != 0) break;
        return control_answer::good({layout.configuration, layout.configuration_size});
      case 3:
        if (number > 3 || layout.string_at[number] == layout.string_at[number + 1]) break;
        return control_answer::good({layout.strings + layout.string_at[number],
                                     static_cast<usize>(layout.string_at[number + 1] - layout.string_at[number])});
      case 15:
        if (layout.bos_size != 0) return control_answer::good({layout.bos, layout.bos_size});
        break;
      default: break;  // a qualifier and another speed's configuration: the device has one speed
    }
    return control_answer::stall();
  }

  control_answer small(u32 value, usize size) {
    control_[0] = static_cast<u8>(value);
    control_[1] = 0;
    return control_answer::good({control_, size});
  }
  [[nodiscard]] bool is_interface(u32 number) const { return configuration_ != 0 && number < layout.interfaces; }
  [[nodiscard]] bool is_endpoint(u16 address) const {
    if ((address & 0xff70u) != 0) return false;
    return (address & 15) == 0 || (configuration_ != 0 && owner_of(static_cast<u8>(address)) != 0);
  }
  /// An interface was set: its driver's endpoints restart.
  void restart(u8 endpoint, u16 interface) {
    if (owner_of(endpoint) != layout.interface_owner[interface] + 1) return;
    halted_ &= ~(u32{1} << index_of(endpoint));
    with_owner(endpoint, [](auto& driver, u8 order) { driver.cleared(order); });
  }

  template <class First, class... Rest>
  struct list {
    First* first;
    list<Rest...> rest;
    constexpr explicit list(First& one, Rest&... others) : first{&one}, rest{others...} {}
    template <class F>
    auto with(u8 which, F& f) {
      return which == 0 ? f(*first) : rest.with(static_cast<u8>(which - 1), f);
    }
    template <class F>
    void each(F&& f) {
      f(*first);
      rest.each(f);
    }
  };
  template <class Last>
  struct list<Last> {
    Last* last;
    constexpr explicit list(Last& one) : last{&one} {}
    template <class F>
    auto with(u8, F& f) {
      return f(*last);
    }
    template <class F>
    void each(F&& f) {
      f(*last);
    }
  };

  list<Functions...> drivers_;
  const_bytes reply_{};
  u32 halted_ = 0;
  u8 configuration_ = 0;
  u8 control_[control_buffer_bytes] = {};
};

}  // namespace usbip
