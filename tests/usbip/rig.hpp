// SPDX-License-Identifier: MIT
// Shared by the engine's tests: two devices on one list, and a connection with a client at its other end.
#pragma once

#include <memory>

#include <usbip/usbip.hpp>

#include "client.hpp"
#include "echo.hpp"

namespace usb_rig {

inline constexpr usbip::device_description about_high{.speed = usbip::speed::high,
                                                      .vendor = 0x1209,
                                                      .product = 0x0001,
                                                      .manufacturer = "virtio",
                                                      .name = "Echo",
                                                      .serial = "0001"};
inline constexpr usbip::device_description about_super{
    .speed = usbip::speed::super, .vendor = 0x1209, .product = 0x0002, .name = "Schl\xc3\xbcssel"};

using driver = echo<4096>;
using high_device = usbip::device<about_high, driver>;
using super_device = usbip::device<about_super, driver>;
using list = usbip::exports<high_device, super_device>;
using connection_type = usbip::connection<list>;

struct devices {
  driver drivers[2];
  high_device high{drivers[0]};
  super_device super{drivers[1]};
  list all{high, super};
};

/// A connection with its stream and its client. `run` polls until it is idle.
template <class Connection = connection_type>
struct session {
  wire stream;
  client host{stream};
  Connection connection;

  usbip::activity run(unsigned polls = 100000) {
    usbip::activity did = usbip::activity::worked;
    while (did == usbip::activity::worked && polls-- != 0) did = connection.poll(stream);
    return did;
  }
  /// Calls `run`, then passes the answers to the client.
  usbip::activity talk() {
    const usbip::activity did = run();
    host.take_answers();
    return did;
  }
  /// Imports the device.
  void import(devices& all, const char* busid) {
    connection.serve(all.all);
    host.ask_import(busid);
    run();
    host.take_import(busid);
  }
  client::done ask(std::uint32_t seqnum) {
    talk();
    return host.answers[seqnum];
  }
  void configure() { ask(host.control_out(0x00, 9, 1, 0)); }
};

}  // namespace usb_rig
