// SPDX-License-Identifier: MIT
// The output of the boards' `fail`, from examples/boot/common/fail.hpp, with a string as the console. The tests provide
// the machine.hpp that its runtime includes, so no processor code is needed.
#include <string>

#include <catch2/catch_test_macros.hpp>
#include <virtio/pci.hpp>
#include <virtio/testing/blk_model.hpp>
#include <virtio/testing/rng_model.hpp>

#include "../../examples/boot/common/fail.hpp"
#include "boot_console.hpp"
#include "disk.hpp"

using namespace virtio;
using namespace virtio::testing;

namespace {

template <class... Why>
std::string said(rig::machine& m, const char* what, const Why&... why) {
  boot::console.clear();
  CHECK(boot::fail(what, [&](auto visit) { pci::for_each(m.bus.host(), visit); }, why...) == 1);
  return boot::console;
}

}  // namespace

TEST_CASE("fail: a search without result lists every virtio device, with verdict and remedy if it is unusable",
          "[examples]") {
  rig::machine m;
  m.add<rng_model>(seat::modern, 4);
  m.add<blk_model>(seat::transitional, 5);
  m.add<blk_model>(seat::modern, 6);
  m.function(5).poke(0x2c, 0x00001af4, 4);  // no subsystem id, and an unknown transitional id
  m.function(5).poke(0x02, 0x1038, 2);
  m.function(6).poke(0x02, 0x1041, 2);  // a network device, whose BAR has no address
  m.function(6).poke(0x20, 0x0c, 4);
  m.function(6).poke(0x24, 0, 4);
  const auto where = pci::find(m.bus.host(), device_type::block);
  REQUIRE(where.error() == errc::not_found);
  CHECK(said(m, "no disk", where) ==
        "no disk: there is no such device, capability, queue, register or listener\n"
        "  00:04.0 1af4:1044  entropy device, modern PCI: usable\n"
        "  00:05.0 1af4:1038  device: transitional id, but the subsystem id names no device type\n"
        "    what to do: configure the device type on the host, or report it there\n"
        "  00:06.0 1af4:1041  network device: a BAR has no address assigned\n"
        "    BAR 4: no address\n"
        "    capability: common configuration\n"
        "    what to do: call pci::assign if no firmware ran; if one ran, give it a larger window\n");
}

TEST_CASE("fail: a failed start is reported with its verdict, details and remedy", "[examples]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  rig::disk<> d;
  SECTION("a feature") {
    model.withdraw({32});
    const auto up = d.start(m, m.where(4));
    CHECK(said(m, "start", up.error(), d->why()) ==
          "start: the device or the platform does not support this\n"
          "  block device: the device lacks a feature that the driver needs\n"
          "    feature: VERSION_1\n"
          "    what to do: configure the device so that it offers the feature\n");
  }
  SECTION("a reset that does not end") {
    model.reset_reads = device_model::forever;
    const auto up = d.start(m, m.where(4));
    CHECK(said(m, "start", up.error(), d->why()).find("\n    its status: 0x") != std::string::npos);
  }
  SECTION("an error of another call") {
    CHECK(said(m, "read", errc::io_error) == "read: the device failed the request\n");
  }
}
