// SPDX-License-Identifier: MIT
// lsvirtio's whole report, with the short use of every driver, on every model of a host. It needs a board's console,
// command line and clock: here a string, an empty string, and a number.
#include <map>
#include <string>

#include <catch2/generators/catch_generators.hpp>

#include <virtio/testing/console_model.hpp>
#include <virtio/testing/net_model.hpp>

#include "hosts.hpp"

namespace boot {

inline unsigned long long timestamp() { return 1; }

}  // namespace boot

#include "../../examples/lsvirtio/checks.hpp"
#include "boot_console.hpp"

using namespace virtio;
using lsvirtio::form;
using rig::host_description;

namespace boot {

text option(const char*) { return {}; }

}  // namespace boot

namespace {

/// Returns the report on each device of a host, by its type.
template <class Board>
std::map<device_type, std::string> reports(rig::host_machine<Board>& m) {
  using transport = typename Board::transport;
  std::map<device_type, std::string> all;
  const auto drivers = std::make_unique<lsvirtio::checks<rig::platform_type, transport>>();
  m.board.scan([&](const typename Board::location& one) {
    if (one.seen.type == device_type::none) return;  // vmd's host bridge
    boot::console.clear();
    lsvirtio::writer out;
    out.as = form::json;
    out.begin("device", "host", m.host.name().c_str());
    lsvirtio::show_report(out, one.seen);
    lsvirtio::show_device<rig::platform_type, transport>(out, m.platform(), one);
    (void)drivers->run(out, m.platform(), one);
    out.close();
    all[one.seen.type] = boot::console;
  });
  return all;
}

/// The result of a short use of a device on hosts without listeners, and without answers.
std::string outcome_of(device_type type) {
  if (type == device_type::vsock) return "no listener accepts connections there";
  return type == device_type::network ? "no answer" : "ok";
}

// vmd's devices whose reads by bytes, or by dwords, differ from reads by fields.
bool refuses_bytes(const host_description& host, device_type type) {
  const bool all_answer = type == device_type::block ? host.behaviour.pci.legacy : host.name() == "vmd of 2018";
  return (type == device_type::block || type == device_type::scsi) && !all_answer;
}
bool refuses_dwords(const host_description& host, device_type type) {
  return type == device_type::network || (type == device_type::scsi && host.name() == "vmd of 2018");
}

template <class Board>
void check(const host_description& host) {
  rig::host_machine<Board> m{host};
  m.expect_objections = true;
  if (host.console) m.template as<testing::console_model>(device_type::console).ports[0].is_console = true;
  const auto all = reports(m);
  CHECK(all.size() == m.models.size());
  for (const auto& [type, json] : all) {
    INFO(json);
    CHECK(contains(json, "\"verdict\":\"usable\""));
    CHECK(contains(json, "\"type_number\":" + std::to_string(static_cast<int>(type)) + ","));
    CHECK(contains(json, "\"check\":{\"verdict\":\"bound\","));
    CHECK(contains(json, "\"outcome\":\"" + outcome_of(type) + "\""));
    if (has_config(type)) CHECK(contains(json, "\"policy\":\"by_field\""));
    CHECK(contains(json, "never by_byte") == (host.is_vmd() && refuses_bytes(host, type)));
    CHECK(contains(json, "never by_dword") == (host.is_vmd() && refuses_dwords(host, type)));
    // libkrun's socket device does not finish a reset.
    CHECK(contains(json, "\"end\":\"the device does not finish its reset") ==
          (host.name() == "libkrun" && type == device_type::vsock));
  }
  for (const std::string& one : m.objections()) {
    INFO(one);  // for fields that were read with another width
    CHECK((contains(one, "PCI-05: configuration access") || contains(one, "CFG-04: configuration access")));
  }
}

}  // namespace

TEST_CASE("lsvirtio: on every host each device is reported, bound and used", "[examples][lsvirtio][hosts]") {
  for (const host_description& host : host_description::all()) DYNAMIC_SECTION(host.name()) {
      host.is_mmio() ? check<rig::mmio_board>(host) : check<rig::pci_board>(host);
    }
}

TEST_CASE("lsvirtio: only an ARP reply from the requested address counts, and the request claims no address",
          "[examples][lsvirtio]") {
  const u8 last = GENERATE(u8{2}, u8{3});
  rig::machine m;
  m.expect_objections = true;
  auto& model = m.add<testing::net_model>(seat::modern, 4);
  std::vector<u8> reply(60);
  const u8 head[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x52, 0x55, 10, 0, 2, last, 8,  6, 0, 1,
                     8,    0,    6, 4,    0,    2,    0x52, 0x55, 10, 0, 2, last, 10, 0, 2, last};
  std::copy(std::begin(head), std::end(head), reply.begin());
  model.wire.push_back({{}, reply});
  boot::console.clear();
  lsvirtio::writer out;
  out.as = form::json;
  out.begin("device", "host", "one");
  const auto drivers = std::make_unique<lsvirtio::checks<rig::platform_type, rig::any_pci>>();
  (void)drivers->run(out, m.platform(), m.where(4));
  out.close();
  INFO(boot::console);
  const std::string outcome = last == 2 ? "answered by 52:55:0a:00:02:02" : "no answer";
  CHECK(contains(boot::console, "\"outcome\":\"" + outcome + "\""));
  REQUIRE(model.sent.size() == 1);
  const std::vector<u8>& asked = model.sent[0].data;
  CHECK(std::vector<u8>(asked.begin() + 28, asked.begin() + 32) == std::vector<u8>{0, 0, 0, 0});
  CHECK(std::vector<u8>(asked.begin() + 38, asked.begin() + 42) == std::vector<u8>{10, 0, 2, 2});
}
