// SPDX-License-Identifier: MIT
// The serial port: its descriptors, its control requests, and bytes in both directions, with a line that has no room
// and a line that has no bytes.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>

#include <usbip/serial.hpp>

#include "client.hpp"
#include "wire.hpp"

namespace {

/// A line with room for a chosen number of bytes.
struct line {
  std::string to_line, from_line;
  std::size_t room = 100000;
  std::size_t at_once = 100000;

  usbip::usize send(usbip::pieces list) {
    usbip::usize gone = 0;
    for (const usbip::const_bytes& one : list) {
      const usbip::usize count = std::min<usbip::usize>(one.size, room);
      to_line.append(reinterpret_cast<const char*>(one.data), count);
      room -= count;
      gone += count;
    }
    return gone;
  }
  template <class F>
  usbip::usize receive(F&& look) {
    if (from_line.empty()) return 0;
    const usbip::usize taken = look(
        usbip::const_bytes{reinterpret_cast<const usbip::u8*>(from_line.data()), std::min(from_line.size(), at_once)});
    from_line.erase(0, taken);
    return taken;
  }
  [[nodiscard]] usbip::stream_state state() const { return usbip::stream_state::open; }
};

inline constexpr usbip::device_description about{
    .speed = usbip::speed::high, .vendor = 0x1209, .product = 0x0002, .name = "Port"};
using port_type = usbip::serial::port<line, 64>;
using device_type = usbip::device<about, port_type>;
using list_type = usbip::exports<device_type>;

struct session {
  line end;
  port_type port{end};
  device_type device{port};
  list_type all{device};
  wire stream;
  client host{stream};
  usbip::connection<list_type> connection;

  session() {
    connection.bridge(all);
    talk(host.control_out(0x00, 9, 1, 0));
  }
  void run() {
    unsigned polls = 100000;
    while (connection.poll(stream) == usbip::activity::worked && polls-- != 0) {}
    host.take_answers();
  }
  client::done talk(std::uint32_t seqnum) {
    run();
    return host.answers[seqnum];
  }
  [[nodiscard]] bool has(std::uint32_t seqnum) { return host.answers.count(seqnum) != 0; }
};

std::string text(const client::bytes& from) { return {from.begin(), from.end()}; }
client::bytes bytes_of(const std::string& from) { return {from.begin(), from.end()}; }

TEST_CASE("usbip serial: the descriptors are those of a modem without calls, as one function of two interfaces",
          "[usbip][serial]") {
  session s;
  const auto device = s.talk(s.host.control_in(0x80, 6, 0x0100, 0, 18)).data;
  CHECK(client::bytes(device.begin() + 4, device.begin() + 7) == client::bytes{0xef, 2, 1});
  const auto all = s.talk(s.host.control_in(0x80, 6, 0x0200, 0, 255)).data;
  const client::bytes wanted{9, 2,    75,   0,    2,  1,    0,    0x80, 50,     //
                             8, 11,   0,    2,    2,  2,    1,    0,            //
                             9, 4,    0,    0,    1,  2,    2,    1,    0,      //
                             5, 0x24, 0,    0x10, 1,  5,    0x24, 1,    0,  1,  //
                             4, 0x24, 2,    2,    5,  0x24, 6,    0,    1,      //
                             7, 5,    0x81, 3,    16, 0,    9,                  //
                             9, 4,    1,    0,    2,  10,   0,    0,    0,      //
                             7, 5,    0x01, 2,    0,  2,    0,    7,    5,  0x82, 2, 0, 2, 0};
  CHECK(all == wanted);
}

TEST_CASE("usbip serial: the line coding is kept, and an invalid one stalls", "[usbip][serial]") {
  session s;
  CHECK(s.talk(s.host.control_in(0xa1, 0x21, 0, 0, 7)).data == client::bytes{0x80, 0x25, 0, 0, 0, 0, 8});
  CHECK(s.talk(s.host.control_out(0x21, 0x20, 0, 0, {0x00, 0xc2, 0x01, 0, 2, 1, 7})).status == 0);
  CHECK(s.port.coding().rate == 115200);
  CHECK(s.port.coding().data_bits == 7);
  CHECK(s.talk(s.host.control_in(0xa1, 0x21, 0, 0, 7)).data == client::bytes{0x00, 0xc2, 0x01, 0, 2, 1, 7});
  CHECK(s.talk(s.host.control_out(0x21, 0x20, 0, 0, {1, 2, 3})).status == -32);
  CHECK(s.talk(s.host.control_out(0x21, 0x23, 0xffff, 0)).status == -32);  // no breaks
  CHECK(s.talk(s.host.control_in(0xc1, 0x21, 0, 0, 7)).status == -32);     // a vendor request
}

TEST_CASE(
    "usbip serial: a host that opens the port is informed of a carrier once, and a read of the state waits until then",
    "[usbip][serial]") {
  session s;
  const auto first = s.host.submit_in(1, 16), second = s.host.submit_in(1, 16);
  s.run();
  CHECK_FALSE(s.has(first));
  CHECK(s.talk(s.host.control_out(0x21, 0x22, 3, 0)).status == 0);
  CHECK(s.port.is_open());
  REQUIRE(s.has(first));
  CHECK(s.host.answers[first].data == client::bytes{0xa1, 0x20, 0, 0, 0, 0, 2, 0, 3, 0});
  CHECK(s.talk(s.host.control_out(0x21, 0x22, 1, 0)).status == 0);  // still open
  CHECK_FALSE(s.has(second));
  CHECK(s.talk(s.host.control_out(0x21, 0x22, 0, 0)).status == 0);
  CHECK_FALSE(s.port.is_open());
  s.talk(s.host.control_out(0x21, 0x22, 1, 0));
  CHECK(s.has(second));
}

TEST_CASE("usbip serial: bytes of the host reach the line, and wait while it has no room", "[usbip][serial]") {
  session s;
  s.end.room = 100;
  std::string sent;
  for (int n = 0; n < 300; ++n) sent += static_cast<char>('a' + n % 26);
  const auto first = s.host.submit_out(1, bytes_of(sent));
  s.run();
  CHECK_FALSE(s.has(first));
  CHECK(s.end.to_line == sent.substr(0, 100));
  s.end.room = 150;
  s.run();
  CHECK_FALSE(s.has(first));
  s.end.room = 1000;
  s.run();
  REQUIRE(s.has(first));
  CHECK(s.host.answers[first].status == 0);
  CHECK(s.end.to_line == sent);
}

TEST_CASE(
    "usbip serial: bytes of the line answer reads in order, in parts that fit, and wait in the line for the next one",
    "[usbip][serial]") {
  session s;
  const auto first = s.host.submit_in(2, 10), second = s.host.submit_in(2, 1000);
  s.run();
  CHECK_FALSE(s.has(first));
  s.end.from_line.assign(90, 'x');
  s.end.from_line += "end";
  s.run();
  REQUIRE(s.has(second));
  CHECK(text(s.host.answers[first].data) == std::string(10, 'x'));
  CHECK(text(s.host.answers[second].data) == std::string(64, 'x'));
  CHECK(s.end.from_line == "xxxxxxxxxxxxxxxxend");
  CHECK(text(s.talk(s.host.submit_in(2, 64)).data) == "xxxxxxxxxxxxxxxxend");
}

TEST_CASE("usbip serial: a withdrawn read takes nothing from the line", "[usbip][serial]") {
  session s;
  const auto first = s.host.submit_in(2, 64);
  s.run();
  s.host.unlink(first);
  s.run();
  s.end.from_line = "later";
  s.run();
  CHECK(s.end.from_line == "later");
  CHECK(text(s.talk(s.host.submit_in(2, 64)).data) == "later");
}

TEST_CASE("usbip serial: the next host does not get bytes that were on their way to the previous one",
          "[usbip][serial]") {
  session s;
  s.end.room = 0;
  s.host.submit_out(1, bytes_of("for the line"));
  s.run();
  s.connection.stop();
  s.end.room = 100;
  s.connection.bridge(s.all);
  s.run();
  CHECK(s.end.to_line.empty());
  CHECK_FALSE(s.port.is_open());
}

}  // namespace
