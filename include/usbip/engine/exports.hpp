// SPDX-License-Identifier: MIT
// The devices that a server offers: which there are, and which have been taken by a connection.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/engine/transfer.hpp>

namespace usbip {

/// The list of devices; the caller owns them. One list serves any number of connections. The first device is 1-1, the
/// next 1-2.
template <served_device... Devices>
class exports {
  static_assert(sizeof...(Devices) >= 1 && sizeof...(Devices) <= 32, "a list has 1 to 32 devices");

 public:
  static constexpr u32 count = sizeof...(Devices);

  constexpr explicit exports(Devices&... devices) : devices_{devices...} {}

  /// `f(device)` of the device with this index, which is below `count`.
  template <class F>
  constexpr auto with(u32 which, F&& f) {
    return devices_.with(which, f);
  }

  /// Takes a device for one connection; false when another has it.
  [[nodiscard]] bool take(u32 which) {
    if (is_taken(which)) return false;
    taken_ |= u32{1} << which;
    return true;
  }
  void give_back(u32 which) { taken_ &= ~(u32{1} << which); }
  [[nodiscard]] bool is_taken(u32 which) const { return (taken_ >> which & 1) != 0; }

  /// The index of the device of this name; `count` when there is none.
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

  /// What a list says of the device: its own record, and the name that it has here.
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
