// SPDX-License-Identifier: MIT
// case: two class drivers that claim one USB endpoint do not compile together, and the reason is shown
// says: (_description|fault)\(.*an endpoint address is used twice
#include <usbip/device/description.hpp>

#if defined(FAIL)
constexpr usbip::u8 address = 0x81;
#else
constexpr usbip::u8 address = 0x82;
#endif

struct one {
  static constexpr void describe(usbip::configuration& all) {
    all.interface(0xff, 0, 0);
    all.bulk_in();
  }
};
struct other {
  static constexpr void describe(usbip::configuration& all) {
    all.interface(0xff, 0, 0);
    all.endpoint(address, usbip::transfer_type::bulk, 512, 0);
  }
};
inline constexpr usbip::device_description about{.speed = usbip::speed::high};
constexpr usbip::device_layout layout = usbip::layout_of<one, other>(about);
static_assert(layout.interfaces == 2);
