// SPDX-License-Identifier: MIT
// case: a USB endpoint whose packets do not fit the speed does not compile, and the reason is shown
// says: (_description|fault)\(.*bulk packets at high speed are 512 bytes
#include <usbip/device/description.hpp>

#if defined(FAIL)
constexpr usbip::u16 packet = 64;
#else
constexpr usbip::u16 packet = 512;
#endif

struct driver {
  static constexpr void describe(usbip::configuration& all) {
    all.interface(0xff, 0, 0);
    all.endpoint(0x81, usbip::transfer_type::bulk, packet, 0);
  }
};
inline constexpr usbip::device_description about{.speed = usbip::speed::high};
constexpr usbip::device_layout layout = usbip::layout_of<driver>(about);
static_assert(layout.interfaces == 1);
