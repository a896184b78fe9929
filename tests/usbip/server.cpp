// SPDX-License-Identifier: MIT
// Server mode and enumeration with the client double, in the order of `usbip list`, `usbip attach` and Linux's USB
// core.
#include <catch2/catch_test_macros.hpp>

#include "rig.hpp"

using bytes = client::bytes;
using usb_rig::session;

TEST_CASE("usbip server: a list has every device with its interfaces, and the connection ends after it",
          "[usbip][engine]") {
  usb_rig::devices d;
  session s;
  s.connection.serve(d.all);
  s.host.ask_list();
  CHECK(s.run() == usbip::activity::ended);
  CHECK(s.connection.ending().how == usbip::end::listed);
  const auto all = s.host.take_list();
  CHECK(s.stream.to_peer.empty());
  REQUIRE(all.size() == 2);
  CHECK(all[0].busid == "1-1");
  CHECK(all[0].path == "/usbip/1-1");
  CHECK((all[0].busnum == 1 && all[0].devnum == 1 && all[0].speed == 3));
  CHECK((all[0].vendor == 0x1209 && all[0].product == 1 && all[0].release == 0x0100));
  CHECK(all[0].rest == std::array<std::uint8_t, 6>{0, 0, 0, 0, 1, 1});
  REQUIRE(all[0].interfaces.size() == 1);
  CHECK(all[0].interfaces[0].cls == 0xff);
  CHECK(all[1].busid == "1-2");
  CHECK((all[1].devnum == 2 && all[1].speed == 5));
  CHECK(s.host.objections().empty());
}

TEST_CASE("usbip server: a list takes no device, and more connections than devices may request it", "[usbip][engine]") {
  usb_rig::devices d;
  for (int turn = 0; turn < 5; ++turn) {
    session s;
    s.connection.serve(d.all);
    s.host.ask_list();
    s.run();
    CHECK(s.host.take_list().size() == 2);
  }
  session s;
  s.import(d, "1-2");
  CHECK(s.connection.device() == 1);
}

TEST_CASE("usbip server: a second import of a taken device is refused by status until the first has ended",
          "[usbip][engine]") {
  usb_rig::devices d;
  session one, two, three, other;
  one.import(d, "1-1");
  REQUIRE(one.connection.device() == 0);
  two.connection.serve(d.all);
  two.host.ask_import("1-1");
  CHECK(two.run() == usbip::activity::ended);
  CHECK(two.host.take_import("1-1") == 2);
  CHECK(two.connection.ending().how == usbip::end::refused);
  CHECK(d.all.is_taken(0));
  other.import(d, "1-2");
  CHECK(other.connection.device() == 1);

  one.stream.end = usbip::stream_state::closed;
  CHECK(one.run() == usbip::activity::ended);
  CHECK(one.connection.ending().how == usbip::end::closed);
  CHECK_FALSE(d.all.is_taken(0));
  three.import(d, "1-1");
  CHECK(three.connection.device() == 0);
  for (const auto* s : {&one, &two, &three, &other}) CHECK(s->host.objections().empty());
}

TEST_CASE("usbip server: an import of an absent device is refused by status", "[usbip][engine]") {
  usb_rig::devices d;
  for (const char* busid : {"1-3", "1-0", "1-", "", "1-10", "2-1", "1-1x", "1-01"}) {
    session s;
    s.connection.serve(d.all);
    s.host.ask_import(busid);
    CHECK(s.run() == usbip::activity::ended);
    CHECK(s.host.take_import(busid) == 4);
    CHECK(s.connection.ending().how == usbip::end::refused);
    CHECK(s.host.objections().empty());
  }
}

TEST_CASE("usbip server: Linux's order of enumeration, at high speed", "[usbip][device]") {
  usb_rig::devices d;
  session s;
  s.import(d, "1-1");
  const auto get = [&](unsigned value, unsigned index, unsigned length) {
    return s.ask(s.host.control_in(0x80, 6, value, index, length));
  };
  CHECK(get(0x0100, 0, 64).actual == 18);
  const auto device = get(0x0100, 0, 18);
  REQUIRE(device.status == 0);
  CHECK(device.data == bytes{18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x09, 0x12, 0x01, 0x00, 0x00, 0x01, 1, 2, 3, 1});
  CHECK(get(0x0100, 0, 8).data == bytes(device.data.begin(), device.data.begin() + 8));
  CHECK(get(0x0f00, 0, 5).status == -32);
  CHECK(get(0x0600, 0, 10).status == -32);
  CHECK(get(0x0700, 0, 9).status == -32);
  CHECK(get(0x0a00, 0, 4).status == -32);
  const auto head = get(0x0200, 0, 9);
  REQUIRE(head.data.size() == 9);
  const unsigned total = head.data[2] + 256u * head.data[3];
  const auto all = get(0x0200, 0, total);
  CHECK(all.data == bytes{9,    2, 39, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 3, 0xff, 0, 0, 0, 7, 5,
                          0x01, 2, 0,  2, 0, 7, 5, 0x81, 2,  0, 2, 0, 7, 5, 0x82, 3, 8, 0, 7});
  CHECK(get(0x0201, 0, 9).status == -32);
  CHECK(get(0x0300, 0, 255).data == bytes{4, 3, 9, 4});
  CHECK(get(0x0302, 0x409, 255).data == bytes{10, 3, 'E', 0, 'c', 0, 'h', 0, 'o', 0});
  CHECK(get(0x0303, 0x409, 2).data == bytes{10, 3});
  CHECK(get(0x0304, 0x409, 255).status == -32);
  CHECK(s.ask(s.host.control_in(0x80, 8, 0, 0, 1)).data == bytes{0});
  const auto set = s.ask(s.host.control_out(0x00, 9, 1, 0));
  CHECK((set.status == 0 && set.actual == 0));
  CHECK(s.ask(s.host.control_in(0x80, 8, 0, 0, 1)).data == bytes{1});
  CHECK(d.drivers[0].is_open());
  CHECK(s.host.objections().empty());
}

TEST_CASE("usbip server: a SuperSpeed device has a BOS and a companion after each endpoint", "[usbip][device]") {
  usb_rig::devices d;
  session s;
  s.import(d, "1-2");
  const auto get = [&](unsigned value, unsigned length) {
    return s.ask(s.host.control_in(0x80, 6, value, 0, length)).data;
  };
  const bytes device = get(0x0100, 18);
  CHECK((device[2] == 0 && device[3] == 3 && device[7] == 9));
  CHECK(get(0x0f00, 5) == bytes{5, 15, 22, 0, 2});
  const bytes bos = get(0x0f00, 22);
  REQUIRE(bos.size() == 22);
  CHECK((bos[5] == 7 && bos[7] == 2 && bos[12] == 10 && bos[14] == 3));
  const bytes all = get(0x0200, 512);
  REQUIRE(all.size() == 39 + 3 * 6);
  CHECK((all[2] == all.size() && all[8] == 12));
  for (const std::size_t at : {18u, 31u, 44u}) {
    CHECK((all[at] == 7 && all[at + 1] == 5));
    CHECK((all[at + 7] == 6 && all[at + 8] == 48));
  }
  CHECK((all[22] == 0 && all[23] == 4));            // bulk: 1024
  CHECK((all[44 + 11] == 8 && all[44 + 12] == 0));  // bytesPerInterval of an interrupt endpoint
  CHECK(s.ask(s.host.control_in(0x80, 6, 0x0302, 0x409, 255)).data ==
        bytes{20, 3, 'S', 0, 'c', 0, 'h', 0, 'l', 0, 0xfc, 0, 's', 0, 's', 0, 'e', 0, 'l', 0});
  CHECK(s.ask(s.host.control_in(0x80, 6, 0x0301, 0x409, 255)).status == -32);
  CHECK(s.ask(s.host.control_out(0x00, 49, 40, 0)).status == 0);
  CHECK(s.ask(s.host.control_out(0x00, 48, 0, 0, bytes(6))).status == 0);
  s.configure();
  CHECK(s.ask(s.host.control_out(0x00, 3, 48, 0)).status == 0);
  CHECK(s.ask(s.host.control_out(0x01, 3, 0, 0)).status == 0);
  CHECK(s.host.objections().empty());
}

TEST_CASE("usbip server: bytes are sent and returned, however the stream is cut", "[usbip][engine]") {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{47}, std::size_t{49}, SIZE_MAX}) {
    for (const std::size_t send : {std::size_t{1}, std::size_t{13}, SIZE_MAX}) {
      usb_rig::devices d;
      session s;
      s.stream.largest_piece = piece;
      s.stream.largest_send = send;
      s.import(d, "1-1");
      s.configure();
      bytes data(3000);
      for (std::size_t at = 0; at < data.size(); ++at) data[at] = static_cast<std::uint8_t>(at * 7);
      const auto out = s.host.submit_out(1, data);
      const auto in = s.host.submit_in(1, 4096);
      s.talk();
      CHECK((s.host.answers[out].status == 0 && s.host.answers[out].actual == 3000));
      CHECK((s.host.answers[in].status == 0 && s.host.answers[in].data == data));
      CHECK(s.host.objections().empty());
    }
  }
}
