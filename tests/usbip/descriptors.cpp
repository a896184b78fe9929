// SPDX-License-Identifier: MIT
// The faults that the check of a configuration finds, which are compile-time errors; and devices with several drivers.
#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <string>

#include "rig.hpp"

using usbip::speed;
using bytes = client::bytes;

namespace {

struct pair_driver : echo<64> {
  static constexpr void describe(usbip::configuration& all) {
    all.association(2, 0xff, 0, 0);
    all.interface(0xff, 1, 0);
    all.raw({5, 0x24, 1, 2, 3});
    all.interrupt_in(16, 1);
    all.interface(0xff, 2, 0);
    all.bulk_in();
    all.bulk_out();
  }
};

inline constexpr usbip::device_description about{.speed = speed::full, .vendor = 1, .product = 2, .milliamperes = 500};
inline constexpr usbip::device_description long_name{.name = "\xf0\x9f\x94\x8c \xe2\x82\xac"};

/// A configuration as in a device. `raw` is a template, which a constant expression can use before the end of the file
/// only from another template.
template <const usbip::device_description& About, class... Drivers>
struct laid_out {
  static constexpr usbip::device_layout layout = usbip::layout_of<Drivers...>(About);
};

std::string why(const bytes& all, speed how_fast) {
  const char* const fault = usbip::fault_of_configuration(all.data(), all.size(), how_fast);
  return fault != nullptr ? fault : "";
}

}  // namespace

TEST_CASE("usbip descriptors: several drivers make one configuration, with numbers in the order of their calls",
          "[usbip][device]") {
  // Not constexpr: g++ 12 fails to compile comparisons of neighbouring bytes of a constant.
  usbip::device_layout layout = laid_out<about, pair_driver, usb_rig::driver>::layout;
  const bytes all(layout.configuration, layout.configuration + layout.configuration_size);
  CHECK(all == bytes{9, 2,  91, 0, 3,    1,    0, 0x80, 250,                                                   //
                     8, 11, 0,  2, 0xff, 0,    0, 0,                                                           //
                     9, 4,  0,  0, 1,    0xff, 1, 0,    0,   5, 0x24, 1,    2, 3,  7, 5, 0x81, 3, 16,   0, 1,  //
                     9, 4,  1,  0, 2,    0xff, 2, 0,    0,   7, 5,    0x82, 2, 64, 0, 0, 7,    5, 0x01, 2, 64,
                     0, 0,  //
                     9, 4,  2,  0, 3,    0xff, 0, 0,    0,   7, 5,    0x02, 2, 64, 0, 0, 7,    5, 0x83, 2, 64,
                     0, 0,  7,  5, 0x84, 3,    8, 0,    10});
  CHECK((layout.device[4] == 0xef && layout.device[5] == 2 && layout.device[6] == 1));
  CHECK((layout.interface_owner[0] == 0 && layout.interface_owner[1] == 0 && layout.interface_owner[2] == 1));
  CHECK((layout.endpoint_owner[1] == 1 && layout.endpoint_owner[2] == 2 && layout.endpoint_owner[16 + 4] == 2 &&
         layout.endpoint_owner[3] == 0));
  CHECK((layout.endpoint_order[16 + 1] == 0 && layout.endpoint_order[16 + 2] == 1 && layout.endpoint_order[1] == 2));
  CHECK((layout.endpoint_order[2] == 0 && layout.endpoint_order[16 + 3] == 1 && layout.endpoint_order[16 + 4] == 2));
  CHECK((layout.device[14] == 0 && layout.device[15] == 0 && layout.device[16] == 0));
}

TEST_CASE("usbip descriptors: texts are UTF-16 on the wire", "[usbip][device]") {
  usbip::device_layout layout = laid_out<long_name, usb_rig::driver>::layout;
  const bytes text(layout.strings + layout.string_at[2], layout.strings + layout.string_at[3]);
  CHECK(text == bytes{10, 3, 0x3d, 0xd8, 0x0c, 0xdd, ' ', 0, 0xac, 0x20});
  CHECK((layout.device[14] == 0 && layout.device[15] == 2 && layout.device[16] == 0));
}

TEST_CASE("usbip descriptors: every fault that a host rejects is found", "[usbip][device]") {
  const bytes good{9,  2, 32, 0, 1,    1, 0, 0x80, 50, 9, 4, 0,    0, 2, 8, 6,
                   80, 0, 7,  5, 0x81, 2, 0, 2,    0,  7, 5, 0x02, 2, 0, 2, 0};
  REQUIRE(why(good, speed::high).empty());
  const auto with = [&](std::size_t at, std::uint8_t value, speed how_fast = speed::high) {
    bytes changed = good;
    changed[at] = value;
    return why(changed, how_fast);
  };
  CHECK(why(bytes(good.begin(), good.begin() + 8), speed::high) == "it does not begin with a configuration descriptor");
  CHECK(with(1, 1) == "it does not begin with a configuration descriptor");
  CHECK(with(2, 33) == "wTotalLength is not the length of all descriptors");
  CHECK(with(4, 2) == "bNumInterfaces is not the number of interfaces");
  CHECK(with(9, 0) == "a descriptor extends past the end");
  CHECK(with(25, 8) == "a descriptor extends past the end");
  CHECK(with(9, 10) == "an interface descriptor is not 9 bytes long");
  CHECK(with(11, 1) == "interfaces are not numbered 0, 1, 2...");
  CHECK(with(13, 1) == "an interface has more endpoints than its bNumEndpoints");
  CHECK(with(13, 3) == "an interface has fewer endpoints than its bNumEndpoints");
  CHECK(with(20, 0x80) == "an endpoint address is invalid");
  CHECK(with(20, 0x91) == "an endpoint address is invalid");
  CHECK(with(27, 0x81) == "an endpoint address is used twice");
  CHECK(with(23, 1) == "bulk packets at high speed are 512 bytes");
  CHECK(why(good, speed::full) == "full speed has packets of at most 64 bytes");
  CHECK(why(good, speed::low) == "low speed has no bulk endpoints");
  CHECK(why(good, speed::super) == "bulk packets at SuperSpeed are 1024 bytes");
  CHECK(with(21, 3) == "an interrupt endpoint has no interval");
  bytes empty = good;
  empty[23] = 0;
  empty[21] = 3;
  CHECK(why(empty, speed::high) == "an endpoint has packets of 0 bytes");
  bytes super = good;
  super[23] = super[30] = 4;
  CHECK(why(super, speed::super) == "an endpoint at SuperSpeed lacks its companion");
  bytes odd = good;
  odd[22] = 24;
  odd[23] = 0;
  CHECK(why(odd, speed::full) == "bulk packets are 8, 16, 32 or 64 bytes");
  CHECK(why(bytes{9, 2, 9, 0, 0, 1, 0, 0x80, 50}, speed::high) == "there is no interface");
}

TEST_CASE("usbip device: requests and transfers reach the driver that claimed them", "[usbip][device]") {
  usb_rig::driver first, second;
  usbip::device<usb_rig::about_high, usb_rig::driver, usb_rig::driver> both{first, second};
  usbip::exports all{both};
  usb_rig::session<usbip::connection<decltype(all)>> s;
  s.connection.bridge(all);
  s.configure();
  CHECK((first.is_open() && second.is_open()));
  CHECK(s.ask(s.host.control_out(0x41, 1, 0, 1, bytes{7})).status == 0);
  CHECK(s.ask(s.host.control_in(0xc1, 1, 0, 0, 1)).data == bytes{0});
  CHECK(s.ask(s.host.control_in(0xc1, 1, 0, 1, 1)).data == bytes{7});
  CHECK(s.ask(s.host.control_in(0xc1, 1, 0, 2, 1)).status == -32);
  CHECK(s.ask(s.host.control_out(0x42, 1, 0, 0x83, bytes{8})).status == 0);
  // A request to the device: the first driver that supports it answers
  CHECK(s.ask(s.host.control_in(0xc0, 1, 0, 0, 1)).data == bytes{0});
  CHECK(s.ask(s.host.control_in(0xc1, 1, 0, 1, 1)).data == bytes{8});
  s.host.submit_out(2, bytes{1, 2, 3});
  CHECK(s.ask(s.host.submit_in(3, 8)).data == bytes{1, 2, 3});
  const auto news = s.host.submit_in(2, 8);
  s.talk();
  CHECK_FALSE(s.host.has(news));
  CHECK(s.ask(s.host.submit_in(4, 8)).data == bytes{1});
  // Setting an interface restarts only its own endpoints.
  CHECK(s.ask(s.host.control_out(0x02, 3, 0, 0x01)).status == 0);
  CHECK(s.ask(s.host.control_out(0x02, 3, 0, 0x02)).status == 0);
  CHECK(s.ask(s.host.control_out(0x01, 11, 0, 1)).status == 0);
  CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x01, 2)).data == bytes{1, 0});
  CHECK(s.ask(s.host.control_in(0x82, 0, 0, 0x02, 2)).data == bytes{0, 0});
  CHECK(s.host.objections().empty());
}
