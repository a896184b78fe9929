// SPDX-License-Identifier: MIT
// The devices that a server offers, and which of them a connection has taken.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/engine/transfer.hpp>

namespace usbip {

/// The list of devices, which the caller owns. One list serves any number of connections. The names of devices are 1-1,
/// 1-2 and so on.
template <served_device... Devices>
class exports {
  static_assert(sizeof...(Devices) >= 1 && sizeof...(Devices) <= 32, "a list has 1 to 32 devices");

 public:
  static constexpr u32 count = sizeof...(Devices);  // number of devices

  /// The devices, in the order of their names.
  constexpr explicit exports(Devices&... devices) : devices_{devices...} {}

  /// Calls `f(device)` with the device of this index, which is below `count`.
  template <class F>
  constexpr auto with(u32 which, F&& f) {
    return devices_.with(which, f);
  }

  /// Takes a device for one connection. False if another has it.
  [[nodiscard]] bool take(u32 which) {
    if (is_taken(which)) return false;
    taken_ |= u32{1} << which;
    return true;
  }
  /// Ends `take`.
  void give_back(u32 which) { taken_ &= ~(u32{1} << which); }
  /// Whether a connection has this device.
  [[nodiscard]] bool is_taken(u32 which) const { return (taken_ >> which & 1) != 0; }

  /// The index of the device with this name; `count` if there is none.
  [[nodiscard]] static constexpr u32 find(const char (&busid)[busid_bytes]) {
    for (u32 which = 0; which < count; ++which) {
      char name[busid_bytes] = {};
      put_busid(name, which);
      bool equal = true;
      for (usize at = 0; at < busid_bytes; ++at) equal = equal && name[at] == busid[at];
      if (equal) return which;
    }
    return count;
  }

  /// A list's record of the device: its own record, with its name in this list.
  [[nodiscard]] device_record record_of(u32 which) {
    device_record record = with(which, [](const auto& device) { return device.record(); });
    constexpr char folder[] = "/usbip/";
    for (usize at = 0; at + 1 < sizeof folder; ++at) record.path[at] = folder[at];
    put_busid(record.path + sizeof folder - 1, which);
    put_busid(record.busid, which);
    record.busnum = 1;
    record.devnum = which + 1;
    return record;
  }

 private:
  static constexpr void put_busid(char* to, u32 which) {
    *to++ = '1';
    *to++ = '-';
    u32 number = which + 1;
    if (number >= 10) {
      u32 tens = 0;
      for (; number >= 10; number -= 10) ++tens;
      *to++ = static_cast<char>('0' + tens);
    }
    *to = static_cast<char>('0' + number);
  }

  template <class First, class... Rest>
  struct list {
    First* first;
    list<Rest...> rest;
    constexpr explicit list(First& one, Rest&... others) : first{&one}, rest{others...} {}
    template <class F>
    constexpr auto with(u32 which, F& f) {
      return which == 0 ? f(*first) : rest.with(which - 1, f);
    }
  };
  template <class Last>
  struct list<Last> {
    Last* last;
    constexpr explicit list(Last& one) : last{&one} {}
    template <class F>
    constexpr auto with(u32, F& f) {
      return f(*last);
    }
  };

  list<Devices...> devices_;
  u32 taken_ = 0;
};

}  // namespace usbip
