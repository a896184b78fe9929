// SPDX-License-Identifier: MIT
// The driver of vmd's control device, over registers as strict as vmd's: found by its ids, the clock in one latched
// 32-bit read, requests by interrupt and by polling, each acknowledged in time and once.
#include <catch2/catch_test_macros.hpp>

#include <virtio/mmio.hpp>
#include <virtio/pci.hpp>
#include <virtio/testing/strict_platform.hpp>
#include <virtio/testing/vmmci_model.hpp>
#include <virtio/vmmci.hpp>

using namespace virtio;
using virtio::testing::vmmci_host;
using virtio::testing::vmmci_model;
using machine = vmmci_model::machine;

namespace {

using bus_type = pci::profiled<vmmci_host>;
using platform_type = testing::strict_platform<>;
constexpr u64 second = vmmci_model::second;

template <class T>
bool is(const result<T>& got, const T& wanted) {
  return got && *got == wanted;
}

/// A vmd machine with only its control device, and the driver of that.
template <class Transport = pci::transport<bus_type>>
struct control_machine {
  testing::strict_machine memory{};
  vmmci_model model{};
  vmmci::device<platform_type, Transport> control{};
  bool expect_objections = false;

  ~control_machine() {
    if (expect_objections) return;
    for (const auto& what : model.violations()) FAIL_CHECK(what);
    for (const auto& what : memory.violations()) FAIL_CHECK(what);
  }
  [[nodiscard]] bus_type bus() { return pci::detected(vmmci_host{&model}); }
  [[nodiscard]] pci::found<bus_type> where() {
    const auto found = pci::find(bus(), device_type::vmmci);
    REQUIRE(found);
    return *found;
  }
  void start(line_state line = line_state::as_found) {
    const auto up = control.start(platform_type{&memory}, where(), line);
    INFO(describe(control.why().why));
    REQUIRE(up);
    (void)model.take_log();
  }
};

}  // namespace

TEST_CASE("vmmci: detected as 0b5d:0777, bound as the control device", "[vmmci][pci][host-ids]") {
  control_machine<> m;
  unsigned usable = 0;
  pci::for_each(m.bus(), [&](const auto& one) {
    if (one.who.device == 0x0666) CHECK(one.seen.why == verdict::not_virtio);
    if (one.seen.why != verdict::usable) return;
    ++usable;
    CHECK(one.who.vendor == 0x0b5d);
    CHECK(one.who.device == 0x0777);
    CHECK(one.who.subsystem == 0xffff);
    CHECK(one.seen.type == device_type::vmmci);
    CHECK(one.seen.via == transport_kind::pci_legacy);
  });
  CHECK(usable == 1);
  m.start();
  CHECK(m.control.why().why == verdict::bound);
  CHECK(m.control.why().type == device_type::vmmci);
  CHECK(m.model.accepted() == 7);
  CHECK(m.model.status() == 7);  // ACKNOWLEDGE, DRIVER, DRIVER_OK: there is no FEATURES_OK
  CHECK(m.control.hand_off());
  CHECK(m.model.status() == 0);
}

TEST_CASE("vmmci: without the host's profile its ids are of no virtio device", "[vmmci][pci]") {
  control_machine<> m;
  CHECK(pci::find(vmmci_host{&m.model}, device_type::vmmci).error() == errc::not_found);
  m.model.bridge_vendor = 0x8086;  // another machine, which also has such a device
  CHECK(pci::find(m.bus(), device_type::vmmci).error() == errc::not_found);
  const auto by_name = pci::find(bus_type{{&m.model}, &hosts::openbsd_vmd}, device_type::vmmci);
  REQUIRE(by_name);
  CHECK(m.control.start(platform_type{&m.memory}, *by_name));
}

TEST_CASE("vmmci: reads the host's clock in one latched 32-bit read", "[vmmci][host-one-read]") {
  control_machine<> m;
  m.start();
  m.model.now = 1'764'460'800 * second + 123'456;
  CHECK(is(m.control.clock(), vmmci::host_time{1'764'460'800, 123'456}));
  // The seconds, which latch, then the microseconds of that moment; no upper half, and no command.
  CHECK(m.model.take_log() == "r4@0x18 r4@0x20");
}

TEST_CASE("vmmci: both parts of the time are of one moment, however long the delay between the two reads",
          "[vmmci][host-latch]") {
  control_machine<> m;
  m.start();
  m.model.microseconds_per_access = 1;
  for (const u64 microseconds : {u64{999'999}, u64{0}, u64{500'000}}) {
    m.model.now = 1'700'000'000 * second + microseconds;
    CHECK(is(m.control.clock(), vmmci::host_time{1'700'000'000, static_cast<u32>(microseconds)}));
  }
}

TEST_CASE("vmmci: a reader by byte gets a wrong clock, with the processor's register, and by_field the right one",
          "[vmmci][config][host-one-read]") {
  control_machine<pci::legacy<bus_type>> m;
  m.expect_objections = true;
  m.model.now = 0x6543'2187 * second + 42;
  pci::legacy<bus_type> registers;
  report why;
  REQUIRE(registers.open(m.where(), why));
  (void)m.model.take_log();

  // Only the first byte is right: Linux's legacy driver reads this way.
  CHECK(is(registers.config<u32, by_byte>(4), 0x8787'8787u));
  CHECK(m.model.take_log() == "r1@0x18 r1@0x19 r1@0x1a r1@0x1b");
  CHECK(m.model.violations().size() == 4);
  m.model.clear_violations();

  CHECK(is(registers.config<u32, by_field>(4), 0x6543'2187u));
  CHECK(is(registers.config<u32, by_dword>(4), 0x6543'2187u));
  CHECK(m.model.violations().empty());
}

TEST_CASE("vmmci: the driver reads whole fields over a transport that is configured to read by byte",
          "[vmmci][config][host-one-read]") {
  control_machine<pci::legacy<bus_type, by_byte>> m;
  m.start();
  m.model.now = 0x6543'2187 * second + 42;
  CHECK(is(m.control.clock(), vmmci::host_time{0x6543'2187, 42}));
  REQUIRE(m.model.ask(vmmci_model::reboot));
  CHECK(is(m.control.next_request(), vmmci::request::reboot));
  CHECK(m.model.state() == machine::ends);
}

TEST_CASE("vmmci: upper halves are not read, and the clock works past 2038", "[vmmci]") {
  control_machine<> m;
  m.start();
  m.model.now = u64{0xffff'ffff} * second + 999'999;
  CHECK(is(m.control.clock(), vmmci::host_time{0xffff'ffff, 999'999}));
  CHECK_FALSE(m.model.take_log().find("0x1c") != std::string::npos);
}

TEST_CASE("vmmci: shutdown and reboot are seen by polling and acknowledged in time, once",
          "[vmmci][host-acknowledge][host-once]") {
  for (const auto& [command, request] : {std::pair{vmmci_model::shutdown, vmmci::request::shutdown},
                                         std::pair{vmmci_model::reboot, vmmci::request::reboot}}) {
    CAPTURE(name(request));
    control_machine<> m;
    m.start();
    CHECK(m.control.next_request().error() == errc::not_ready);
    CHECK(m.model.take_log() == "r4@0x14");
    REQUIRE(m.model.ask(command));
    m.model.pass(2 * second);
    const auto asked = m.control.next_request();
    REQUIRE(asked);
    CHECK(*asked == request);
    CHECK(m.model.take_log() == "r4@0x14 w4@0x14=" + testing::wire::hex(command));
    CHECK(m.model.state() == machine::ends);
    // The command stays in the register, and is answered once.
    CHECK(m.control.next_request().error() == errc::not_ready);
    CHECK(m.model.take_log() == "r4@0x14");
    m.model.pass(119 * second);  // shutting down takes time
    CHECK(m.model.state() == machine::ends);
    m.model.pass(2 * second);
    CHECK(m.model.state() == machine::killed);
  }
}

TEST_CASE("vmmci: a guest that does not poll within three seconds is killed", "[vmmci][kit]") {
  control_machine<> m;
  m.start();
  REQUIRE(m.model.ask(vmmci_model::shutdown));
  CHECK_FALSE(m.model.ask(vmmci_model::shutdown));  // it is not repeated
  m.model.pass(3 * second);
  CHECK(m.model.state() == machine::killed);
}

TEST_CASE("vmmci: a reboot after a shutdown is another request, and so is the next shutdown", "[vmmci]") {
  control_machine<> m;
  m.start();
  for (const auto& [command, request] : {std::pair{vmmci_model::shutdown, vmmci::request::shutdown},
                                         std::pair{vmmci_model::reboot, vmmci::request::reboot},
                                         std::pair{vmmci_model::shutdown, vmmci::request::shutdown}}) {
    REQUIRE(m.model.ask(command));
    CHECK(is(m.control.next_request(), request));
    CHECK(m.model.state() == machine::ends);
  }
}

TEST_CASE("vmmci: requests raise interrupts, and reading the cause lowers the line", "[vmmci][interrupts]") {
  control_machine<> m;
  m.start(line_state::on);
  CHECK_FALSE(m.model.line_is_up());
  REQUIRE(m.model.ask(vmmci_model::shutdown));
  CHECK(m.model.line_is_up());
  const interrupt_cause cause = m.control.acknowledge_interrupt();
  CHECK(cause.config);
  CHECK_FALSE(cause.queue);
  CHECK_FALSE(m.model.line_is_up());
  CHECK(is(m.control.next_request(), vmmci::request::shutdown));
  CHECK_FALSE(m.control.acknowledge_interrupt().config);  // another device's, on a shared line
}

TEST_CASE("vmmci: each request to set the clock is returned, and its acknowledgement makes room for the next one",
          "[vmmci][host-resync]") {
  control_machine<> m;
  m.start();
  for (int i = 0; i < 3; ++i) {
    REQUIRE(m.model.ask(vmmci_model::syncrtc));
    CHECK(is(m.control.next_request(), vmmci::request::resync));
    CHECK(m.model.pending() == vmmci_model::none);
  }
  CHECK(m.control.next_request().error() == errc::not_ready);
  CHECK(m.model.state() == machine::runs);
}

TEST_CASE("vmmci: the host receives the guest's request to be switched off", "[vmmci]") {
  control_machine<> m;
  m.start();
  CHECK(m.control.power_off());
  CHECK(m.model.take_log() == "w4@0x14=0x1");
  CHECK(m.model.state() == machine::off);
}

TEST_CASE("vmmci: after the host has requested the end of a machine, a request to be switched off is ignored",
          "[vmmci]") {
  for (const u32 command : {vmmci_model::shutdown, vmmci_model::reboot}) {
    control_machine<> m;
    m.start();
    REQUIRE(m.model.ask(command));
    REQUIRE(m.control.next_request());
    CHECK(m.control.power_off());
    CHECK(m.model.state() == machine::ends);
    CHECK(m.model.pending() == command);
    CHECK(m.control.next_request().error() == errc::not_ready);
  }
}

TEST_CASE("vmmci: a device that is down receives no request, nor does a device without features", "[vmmci]") {
  control_machine<> m;
  CHECK(m.control.clock().error() == errc::not_started);
  CHECK(m.control.next_request().error() == errc::not_started);
  CHECK(m.control.power_off().error() == errc::not_started);
  CHECK(m.control.check().error() == errc::not_started);
  CHECK(m.control.reset().error() == errc::not_started);
  CHECK_FALSE(m.control.acknowledge_interrupt().config);
  CHECK_FALSE(m.model.ask(vmmci_model::shutdown));  // before DRIVER_OK

  m.model.offers = 0;
  m.start();
  CHECK(m.control.features().empty());
  CHECK(m.control.clock().error() == errc::unsupported);
  CHECK_FALSE(m.model.ask(vmmci_model::syncrtc));  // a guest that has not accepted the feature receives no request
  REQUIRE(m.model.ask(vmmci_model::reboot));
  CHECK(is(m.control.next_request(), vmmci::request::reboot));
  CHECK(m.control.next_request().error() == errc::not_ready);
  CHECK(m.model.take_log() == "r4@0x14 r4@0x14");  // ACK was not negotiated
}

TEST_CASE("vmmci: an unknown command of a later host is not acknowledged", "[vmmci][hostile]") {
  control_machine<> m;
  m.start();
  for (const u32 command : {u32{4}, u32{0x101}, u32{0xffff'ffff}}) {
    m.model.ask_unknown(command);
    CHECK(m.control.next_request().error() == errc::unsupported);
    CHECK(m.model.take_log() == "r4@0x14");
  }
}

TEST_CASE("vmmci: invalid microseconds take the device down, and a start recovers it", "[vmmci][hostile]") {
  control_machine<> m;
  m.start();
  m.model.now = 1'700'000'000 * second + 999'999;
  CHECK(m.control.clock());
  m.model.microseconds_are = 1'000'000;
  CHECK(m.control.clock().error() == errc::device_misbehaved);
  CHECK(m.control.clock().error() == errc::not_started);
  CHECK(m.model.status() == 0);
  m.model.microseconds_are = 0;
  m.start();
  CHECK(m.control.clock());
}

TEST_CASE("vmmci: a removed device ends every call", "[vmmci][hostile]") {
  control_machine<> m;
  m.start();
  m.model.present = false;
  CHECK(m.control.next_request().error() == errc::unsupported);
  CHECK(m.control.check().error() == errc::timed_out);  // all ones are not a reset
  CHECK(m.control.check().error() == errc::not_started);
  CHECK(m.control.clock().error() == errc::not_started);
  m.model.present = true;
  m.start();
  CHECK(m.control.check());
  CHECK(m.control.reset());
  CHECK(m.control.next_request().error() == errc::not_started);
}

TEST_CASE("vmmci: another type of device is refused unchanged, with its verdict", "[vmmci]") {
  control_machine<> m;
  auto where = m.where();
  where.seen.type = device_type::entropy;
  (void)m.model.take_log();
  CHECK(m.control.start(platform_type{&m.memory}, where).error() == errc::wrong_device);
  CHECK(m.control.why().why == verdict::wrong_type);
  CHECK(m.model.take_log().empty());
}

TEST_CASE("vmmci: its texts", "[vmmci]") {
  CHECK(std::string{name(vmmci::feature::timesync)} == "VMMCI_TIMESYNC");
  CHECK(std::string{name(vmmci::feature::ack)} == "VMMCI_ACK");
  CHECK(std::string{name(vmmci::feature::syncrtc)} == "VMMCI_SYNCRTC");
  CHECK(name(static_cast<vmmci::feature>(3)) == nullptr);
  CHECK(std::string{name(vmmci::request::shutdown)} == "shutdown");
  CHECK(std::string{name(vmmci::request::reboot)} == "reboot");
  CHECK(std::string{name(vmmci::request::resync)} == "resync");
  CHECK(std::string{name(device_type::vmmci)} == "vm control");
}
