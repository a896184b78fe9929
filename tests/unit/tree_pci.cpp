// SPDX-License-Identifier: MIT
// PCI hosts from a device tree. Configuration space is plain memory here: a BAR stores every bit that is written, so
// each BAR has
// 16 bytes.
#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <memory>
#include <vector>

#include "../../examples/boot/common/tree_pci.hpp"
#include "trees.hpp"

using namespace virtio;

namespace {

boot::machine_description machine;
std::vector<boot::range> mapped;  // the ranges that were mapped

struct maps {
  static bool device_memory(u64 at, u64 size) {
    mapped.push_back({at, size});
    return at < 0x100'0000'0000;
  }
};
using pci_type = boot::tree_pci<machine, maps>;
static_assert(pci::host<pci_type>);

/// Configuration space of `buses`: all ones, except for the functions that are added.
struct space {
  u8 shift;
  std::unique_ptr<u8[]> bytes;

  space(u8 of, usize buses) : shift{of}, bytes{std::make_unique<u8[]>(buses << (8 + of))} {
    std::memset(bytes.get(), 0xff, buses << (8 + of));
  }
  [[nodiscard]] u8* at(u8 bus, u8 slot) const { return bytes.get() + ((usize{bus} << 8 | usize{slot} << 3) << shift); }
  void put(u8 bus, u8 slot, u16 device, u32 bar0, u32 bar2 = 0) const {
    u8* const here = at(bus, slot);
    std::memset(here, 0, usize{1} << shift);
    set(here, 0, u32{device} << 16 | 0x1af4);
    set(here, 0x10, bar0);
    set(here, 0x18, bar2);
  }
  static void set(u8* function, usize offset, u32 value) { std::memcpy(function + offset, &value, 4); }
  static u32 get(const u8* function, usize offset) {
    u32 value;
    std::memcpy(&value, function + offset, 4);
    return value;
  }
};

void read_machine(const char* name) {
  const auto blob = rig::compiled_tree(name);
  machine = {};
  boot::describe(boot::device_tree{blob.data()}, machine);
  machine.arguments = nullptr;  // freed with the blob
  mapped.clear();
}

std::vector<pci::address> found() {
  std::vector<pci::address> out;
  pci_type{}.each_function([&](pci::address at) {
    out.push_back(at);
    return true;
  });
  return out;
}

bool same(const pci::address& a, const pci::address& b) {
  return a.segment == b.segment && a.routing_id() == b.routing_id();
}

}  // namespace

TEST_CASE("tree pci: crosvm's functions are found by CAM, with BARs only inside the tree's windows, and none is moved",
          "[boot][pci]") {
  read_machine("crosvm");
  const space cam{8, 1};
  machine.pci[0].config.base = reinterpret_cast<u64>(cam.bytes.get());
  cam.put(0, 1, 0x1042, 0x02008000);
  cam.put(0, 3, 0x1053, 0x02018000, 0x80000000);  // the second is in the guest's memory
  cam.put(0, 4, 0x1044, 0);
  const pci_type host;
  const auto all = found();
  REQUIRE(all.size() == 3);
  CHECK((all[0].slot == 1 && all[1].slot == 3 && all[2].slot == 4));
  CHECK(host.config_read32({0, 0, 3, 0}, 0) == 0x10531af4);
  CHECK(host.config_read32({0, 0, 2, 0}, 0) == 0xffffffff);
  CHECK(host.config_read32({0, 1, 1, 0}, 0) == 0xffffffff);  // bus 0 only
  CHECK(host.config_read32({1, 0, 1, 0}, 0) == 0xffffffff);  // another segment

  const auto vsock = host.bar({0, 0, 3, 0}, 0);
  REQUIRE(vsock);
  CHECK((!mapped.empty() && mapped.back() == boot::range{0x02018000, 16}));
  CHECK(host.bar({0, 0, 3, 0}, 2).error() == errc::out_of_range);
  CHECK(host.bar({0, 0, 4, 0}, 0).error() == errc::not_found);
  pci_type::assign();
  CHECK(space::get(cam.at(0, 4), 0x10) == 0);  // linux,pci-probe-only
  machine.bars_are_placed = 0;
  pci_type::assign();
  CHECK(space::get(cam.at(0, 4), 0x10) / 0x02000000 == 1);  // inside the window
  CHECK(space::get(cam.at(0, 3), 0x10) == 0x02018000);

  host.config_write16({0, 0, 1, 0}, 4, 0x1234);
  CHECK(space::get(cam.at(0, 1), 4) % 0x10000 == 0x1234);
}

TEST_CASE("tree pci: two hosts are two segments, each with its buses; a BAR has the CPU address of its window",
          "[boot][pci]") {
  read_machine("soc");
  REQUIRE(machine.pci_count == 2);
  const space ecam{12, 8}, cam{8, 2};
  machine.pci[1].config.base = reinterpret_cast<u64>(ecam.bytes.get());
  machine.pci[0].config.base = reinterpret_cast<u64>(cam.bytes.get());
  ecam.put(0, 0, 0x1041, 0x80001000, 0x81000000);  // bus 10, the first one
  cam.put(0, 5, 0x1042, 0);
  const auto all = found();
  REQUIRE(all.size() == 2);
  const pci::address outer = all[1], inner = all[0];
  CHECK(same(outer, {3, 0x10, 0, 0}));
  CHECK(same(inner, {0, 0, 5, 0}));
  const pci_type host;
  CHECK(host.config_read32(outer, 0) == 0x10411af4);
  CHECK(host.config_read32(inner, 0) == 0x10421af4);
  CHECK(host.config_read32({3, 0, 5, 0}, 0) == 0xffffffff);
  CHECK(host.config_read32({3, 0x18, 0, 0}, 0) == 0xffffffff);
  CHECK(host.bar(outer, 0));
  CHECK((!mapped.empty() && mapped.back() == boot::range{0x20001000, 16}));
  CHECK(host.bar(outer, 2).error() == errc::out_of_range);  // beyond the window's end
  const auto located = host.locate(outer, 0);
  REQUIRE(located);
  CHECK(located->base == 0x80001000);

  space::set(ecam.at(0, 0), 0x10, 0x1001);  // ports, through the I/O window
  mapped.clear();
  CHECK(host.bar(outer, 0));
  CHECK((!mapped.empty() && mapped.back().base == 0x3eff1000));
  pci_type::assign();
  CHECK(space::get(cam.at(0, 5), 0x10) == 0x40000000);  // a bus address
  CHECK(host.bar(inner, 0));
  CHECK((!mapped.empty() && mapped.back() == boot::range{0x15000000, 16}));

  machine = {};
  CHECK(host.config_read32({}, 0) == 0xffffffff);
  CHECK(found().empty());
}
