// SPDX-License-Identifier: MIT
// The boot code's parser of hosts' device trees: each fact that a board uses.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <string>

#include "../../examples/boot/common/machine_tree.hpp"
#include "trees.hpp"

using namespace boot;

namespace {

struct described {
  std::vector<unsigned char> blob;
  device_tree tree;
  std::unique_ptr<machine_description> machine = std::make_unique<machine_description>();

  explicit described(const std::string& name) : blob{rig::compiled_tree(name)}, tree{blob.data()} {
    REQUIRE(tree);
    describe(tree, *machine);
  }
  [[nodiscard]] const machine_description& operator*() const { return *machine; }
};

bool is(const pci_window& one, pci_space space, std::uint64_t bus, std::uint64_t cpu, std::uint64_t size) {
  return one.space == space && one.bus == bus && one.cpu == cpu && one.size == size;
}

}  // namespace

TEST_CASE(
    "machine tree: crosvm's: memory from 2 GiB, a 16550, PCI by CAM on one bus with two windows, placed BARs, HVC",
    "[boot]") {
  const described crosvm{"crosvm"};
  const machine_description& m = *crosvm;
  REQUIRE(m.memory_count == 1);
  CHECK(m.memory[0] == range{0x80000000, 0x20000000});
  CHECK(m.reserved_count == 0);

  CHECK(m.console.kind == console_kind::ns16550);
  CHECK(static_cast<const range&>(m.console) == range{0x3f8, 8});
  CHECK((m.console.shift == 0 && m.console.width == 1));

  REQUIRE(m.pci_count == 1);
  const pci_tree& pci = m.pci[0];
  CHECK(pci.config == range{0x10000, 0x1000000});
  CHECK(pci.config_shift == 8);
  CHECK((pci.first_bus == 0 && pci.last_bus == 0 && pci.segment == 0));
  REQUIRE(pci.window_count == 2);
  CHECK(is(pci.windows[0], pci_space::memory, 0x02000000, 0x02000000, 0x02000000));
  CHECK(is(pci.windows[1], pci_space::memory, 0xa0000000, 0xa0000000, 0x3f60000000));
  // The vsock device of a field report.
  CHECK(pci.reached(pci_space::memory, 0x02018000, 0x8000) == range{0x02018000, 0x8000});
  CHECK(pci.reached(pci_space::memory, 0x80000000, 0x8000).size == 0);  // the guest's memory
  // Half of it is the guest's memory.
  CHECK(pci.reached(pci_space::memory, 0x03fff000, 0x2000).size == 0);
  CHECK(pci.reached(pci_space::ports, 0x02000000, 8).size == 0);
  CHECK(m.bars_are_placed == 1);

  for (std::uint8_t slot = 1; slot <= 3; ++slot) {
    const tree_interrupt line = pci_interrupt(crosvm.tree, pci, 0, slot, 0, 1);
    CHECK(line.id == 32u + 3u + slot);
    CHECK(line.flags == 4);
  }
  CHECK(pci_interrupt(crosvm.tree, pci, 0, 4, 0, 1).id == 0);
  CHECK(pci_interrupt(crosvm.tree, pci, 0, 1, 0, 2).id == 0);
  CHECK(m.interrupt_distributor == range{0x3fff0000, 0x10000});

  CHECK(m.slot_count == 0);
  CHECK(m.psci == psci_conduit::hvc);
  CHECK(m.dma_pool.size == 0);
  CHECK(std::string{m.arguments} == "panic=-1 run=disk");
}

TEST_CASE("machine tree: a protected machine's pool has a size but no address, and belongs to the PCI host", "[boot]") {
  const described crosvm{"crosvm-protected"};
  const machine_description& m = *crosvm;
  CHECK(m.dma_pool.base == 0);
  CHECK(m.dma_pool.size == 0xe00000);
  CHECK(m.dma_pool.alignment == 0x1000);
  CHECK(m.pci_count == 1);
  CHECK(m.reserved_count == 0);
}

TEST_CASE("machine tree: a pool that firmware has placed keeps its address, and is reserved like other ranges",
          "[boot]") {
  const described avf{"avf-protected"};
  const machine_description& m = *avf;
  CHECK(static_cast<const range&>(m.dma_pool) == range{0x9f000000, 0xe00000});
  REQUIRE(m.reserved_count == 2);
  CHECK(m.reserved[0] == range{0x9fe00000, 0x1000});
  CHECK(m.reserved[1] == range{0x9f000000, 0xe00000});
}

TEST_CASE(
    "machine tree: Firecracker's: memory from 2 GiB and 2 MiB, slots with edges, a 16550 that it does not name as the console",
    "[boot]") {
  const described firecracker{"firecracker"};
  const machine_description& m = *firecracker;
  REQUIRE(m.memory_count == 1);
  CHECK(m.memory[0] == range{0x80200000, 0x0fe00000});
  CHECK(m.console.kind == console_kind::ns16550);
  CHECK(static_cast<const range&>(m.console) == range{0x40002000, 0x1000});
  CHECK((m.console.shift == 0 && m.console.width == 1));
  CHECK(m.pci_count == 0);
  REQUIRE(m.slot_count == 3);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CHECK(static_cast<const range&>(m.slots[i]) == range{0x40003000u + 0x1000u * i, 0x1000});
    CHECK(m.slots[i].interrupt.id == 34 + i);
    CHECK(m.slots[i].interrupt.flags == 1);
  }
  CHECK(m.interrupt_distributor == range{0x3ffff000, 0x1000});
  CHECK(m.psci == psci_conduit::hvc);
  CHECK(m.bars_are_placed == 0);
  CHECK(m.dma_pool.size == 0);
  CHECK(std::string{m.arguments} == "console=ttyS0 reboot=k panic=1");
}

TEST_CASE(
    "machine tree: RISC-V's virt: the test finisher, a clock of 10 MHz, PCI with ports and two windows, interrupts of one cell",
    "[boot]") {
  const described virt{"virt-riscv64"};
  const machine_description& m = *virt;
  REQUIRE(m.memory_count == 1);
  CHECK(m.memory[0] == range{0x80000000, 0x8000000});
  CHECK(m.console.kind == console_kind::ns16550);
  CHECK(static_cast<const range&>(m.console) == range{0x10000000, 0x100});
  CHECK((m.console.shift == 0 && m.console.width == 1));
  CHECK(m.test_finisher == range{0x100000, 0x1000});
  CHECK(m.clock_frequency == 10'000'000);
  CHECK(m.psci == psci_conduit::none);
  CHECK(m.interrupt_distributor == range{0xc000000, 0x600000});

  REQUIRE(m.pci_count == 1);
  const pci_tree& pci = m.pci[0];
  CHECK(pci.config == range{0x30000000, 0x10000000});
  CHECK((pci.config_shift == 12 && pci.first_bus == 0 && pci.last_bus == 255 && pci.segment == 0));
  REQUIRE(pci.window_count == 3);
  CHECK(is(pci.windows[0], pci_space::ports, 0, 0x3000000, 0x10000));
  CHECK(is(pci.windows[1], pci_space::memory, 0x40000000, 0x40000000, 0x40000000));
  CHECK(is(pci.windows[2], pci_space::memory, 0x400000000, 0x400000000, 0x400000000));
  for (std::uint8_t slot = 0; slot < 8; ++slot)
    for (std::uint8_t pin = 1; pin <= 4; ++pin)
      CHECK(pci_interrupt(virt.tree, pci, 0, slot, 0, pin).id == 32u + (slot + pin - 1u) % 4);

  REQUIRE(m.slot_count == 3);
  for (const std::uint32_t slot : {8u, 7u, 1u}) {
    const tree_device& one = m.slots[slot == 1 ? 2 : 8 - slot];
    CHECK(static_cast<const range&>(one) == range{0x10000000u + 0x1000u * slot, 0x1000});
    CHECK((one.interrupt.id == slot && one.interrupt.flags == 0));
  }
  CHECK(std::string{m.arguments} == "run=disk");
}

TEST_CASE(
    "machine tree: addresses go through every bus above, a console by its alias, hosts by segment, windows from bus to CPU",
    "[boot]") {
  const described soc{"soc"};
  const machine_description& m = *soc;
  REQUIRE(m.memory_count == 2);  // the third is switched off
  CHECK(m.memory[0] == range{0x40000000, 0x8000000});
  CHECK(m.memory[1] == range{0x100000000, 0x100000000});
  REQUIRE(m.reserved_count == 3);
  CHECK(m.reserved[0] == range{0x44000000, 0x100000});  // the initrd
  CHECK(m.reserved[1] == range{0x47000000, 0x400000});
  CHECK(m.reserved[2] == range{0x40000000, 0x10000});

  CHECK(static_cast<const range&>(m.console) == range{0x11000000, 0x100});
  CHECK((m.console.shift == 2 && m.console.width == 4));
  REQUIRE(m.slot_count == 1);  // a slot that no bus passes on does not exist
  CHECK(static_cast<const range&>(m.slots[0]) == range{0x12000000, 0x200});
  CHECK(m.slots[0].interrupt.id == 32 + 77);
  CHECK(static_cast<const range&>(m.dma_pool) == range{0x47000000, 0x400000});

  REQUIRE(m.pci_count == 2);  // the third is switched off
  const pci_tree& inner = m.pci[0];
  CHECK((inner.config_shift == 8 && inner.segment == 0 && inner.last_bus == 1));
  CHECK(inner.config == range{0x14000000, 0x20000});
  REQUIRE(inner.window_count == 1);
  CHECK(is(inner.windows[0], pci_space::memory, 0x40000000, 0x15000000, 0x100000));
  const pci_tree& first = m.pci[1];
  CHECK((first.segment == 3 && first.first_bus == 0x10 && first.last_bus == 0x17));  // limited by the registers
  CHECK(first.config_shift == 12);
  CHECK(is(first.below(pci_space::ports, 0x10000), pci_space::ports, 0, 0x3eff0000, 0x10000));
  CHECK(is(first.below(pci_space::memory, 1ull << 32), pci_space::memory, 0x80000000, 0x20000000, 0x1000000));
  CHECK(is(first.above(pci_space::memory, 1ull << 32), pci_space::memory, 0x1000000000, 0x2000000000, 0x100000000));
  CHECK(first.reached(pci_space::memory, 0x80001000, 0x1000) == range{0x20001000, 0x1000});

  // The pins rotate with the slots: two bits of the slot number count.
  CHECK(pci_interrupt(soc.tree, first, 0x10, 0, 0, 1).id == 35);
  CHECK(pci_interrupt(soc.tree, first, 0x10, 4, 0, 1).id == 35);
  CHECK(pci_interrupt(soc.tree, first, 0x10, 5, 7, 2).id == 37);
  CHECK(pci_interrupt(soc.tree, first, 0x10, 2, 0, 1).id == 0);
  CHECK(m.psci == psci_conduit::smc);
  CHECK(m.arguments == nullptr);
}

TEST_CASE("machine tree: paths: with and without unit addresses, through aliases, and never into another branch",
          "[boot]") {
  const described soc{"soc"};
  device_tree::node found;
  const auto at = [&](const char* path) { return soc.tree.at_path(device_tree::characters(path), found); };
  CHECK(at("/"));
  CHECK(found.depth() == 0);
  REQUIRE(at("/soc/bus@1000000/serial@200"));
  CHECK(found.reg(0) == range{0x11000000, 0x100});
  REQUIRE(at("/soc/bus/serial"));
  CHECK(found.reg(0) == range{0x11000000, 0x100});
  CHECK(at("serial1"));
  CHECK(!at("serial2"));
  CHECK(!at("/soc/serial@200"));  // in another branch
  CHECK(!at("/reserved-memory/serial@100"));
  CHECK(!at("/soc/bus@1000000/serial@20"));
  CHECK(!at("/soc/bus@1000000/serial@200/deeper"));
  CHECK(!soc.tree.by_phandle(0x7777, found));
}

TEST_CASE("machine tree: memory that must not be mapped is excluded from mapped ranges, by pages or as a whole",
          "[boot]") {
  const auto mappable = [](const machine_description& m) {
    std::vector<range> out;
    each_mappable(m, [&](range one) { out.push_back(one); });
    return out;
  };
  const described avf{"avf-protected"};
  CHECK(mappable(*avf) == std::vector<range>{{0x80000000, 0x1fe00000}, {0x9fe01000, 0x1ff000}});
  CHECK((*avf).dma_pool.base == 0x9f000000);  // a pool is reserved, but the program may use it
  const described soc{"soc"};
  CHECK(mappable(*soc) == std::vector<range>{{0x40000000, 0x8000000}, {0x100000000, 0x100000000}});

  machine_description m{};
  m.memory[m.memory_count++] = {0x1000, 0x9000};
  const auto without = [&](std::vector<range> holes) {
    m.unmappable_count = 0;
    for (const range& one : holes) m.unmappable[m.unmappable_count++] = one;
    return mappable(m);
  };
  CHECK(without({{0, 0x1000}, {0xa000, 0x1000}}) == std::vector<range>{{0x1000, 0x9000}});
  CHECK(without({{0, 0x2000}, {0x9000, 0x2000}}) == std::vector<range>{{0x2000, 0x7000}});
  CHECK(without({{0x6000, 0x1000}, {0x3000, 0x2000}}) ==
        std::vector<range>{{0x1000, 0x2000}, {0x5000, 0x1000}, {0x7000, 0x3000}});
  CHECK(without({{0x3000, 0x2000}, {0x4000, 0x2000}, {0x3000, 0x1000}}) ==
        std::vector<range>{{0x1000, 0x2000}, {0x6000, 0x4000}});
  CHECK(without({{0, 0x10000}}).empty());
  CHECK(without({{0x1000, 0x9000}}).empty());
  m.memory[0] = {0xffff'ffff'ffff'0000, 0x10000};
  CHECK(without({{0xffff'ffff'ffff'f000, 0x1000}}) == std::vector<range>{{0xffff'ffff'ffff'0000, 0xf000}});
  CHECK(without({{0xffff'ffff'ffff'0000, 0x1000}}) == std::vector<range>{{0xffff'ffff'ffff'1000, 0xf000}});
  CHECK(without({}) == std::vector<range>{{0xffff'ffff'ffff'0000, 0x10000}});
}

TEST_CASE(
    "machine tree: an interrupt map of 400,001 rows is read to its end, and one of many controllers up to the eighth",
    "[boot]") {
  const described soc{"soc"};
  pci_tree host = (*soc).pci[1];
  device_tree::node pool;
  REQUIRE(soc.tree.at_path(device_tree::characters("/reserved-memory/pool"), pool));
  const std::uint32_t gic = host.interrupt_map.cell(4), other = pool.find("phandle").cell(0);
  std::vector<unsigned char> map;
  const auto add = [&](std::initializer_list<std::uint32_t> cells) {
    for (const std::uint32_t cell : cells)
      for (unsigned shift = 32; shift != 0; shift -= 8) map.push_back(static_cast<unsigned char>(cell >> (shift - 8)));
  };
  for (unsigned i = 0; i < 200'000; ++i) {
    add({0x800, 0, 0, 1, other});  // which has no cells property
    add({0x800, 0, 0, 1, gic, 0, 7, 4});
  }
  add({0x1000, 0, 0, 1, gic, 0, 9, 4});
  host.interrupt_map = {map.data(), map.size()};
  CHECK(pci_interrupt(soc.tree, host, 0x10, 2, 0, 1).id == 32 + 9);

  const described many{"controllers"};
  for (std::uint8_t slot = 0; slot < 11; ++slot)
    CHECK(pci_interrupt(many.tree, (*many).pci[0], 0, slot, 0, 1).id == (slot < 9 ? 32u + slot : 0u));
}

TEST_CASE("machine tree: a PCI host that the processor does not reach is skipped, and hosts after it are kept",
          "[boot]") {
  for (const std::uint64_t out_of_reach : {0x30000000ull, 0x14000000ull}) {
    described soc{"soc"};
    machine_description& m = *soc.machine;
    REQUIRE((m.pci_count == 2 && m.pci[0].config.base == 0x14000000 && m.pci[1].config.base == 0x30000000));
    keep_reached_hosts(m, [&](range of) { return of.base != out_of_reach; });
    REQUIRE(m.pci_count == 1);
    CHECK(m.pci[0].config.base == (out_of_reach ^ 0x30000000 ^ 0x14000000));
    CHECK(m.pci[1].config.size == 0);
    REQUIRE(m.unreached_count == 1);
    CHECK(m.unreached_hosts[0].base == out_of_reach);
  }
}

TEST_CASE("machine tree: with any content of a tree no byte outside it is read, and every call returns",
          "[boot][hostile]") {
  std::mt19937 random{2026};
  std::size_t devices = 0;
  for (const char* name : {"crosvm-protected", "avf-protected", "firecracker", "virt-riscv64", "soc"}) {
    const auto whole = rig::compiled_tree(name);
    for (int round = 0; round < 1500; ++round) {
      // Of exactly its size, so that sanitizers detect every access beyond it. Every second blob is truncated, too.
      auto bad = whole;
      if (round % 2 == 0) {
        bad.resize(40 + random() % (bad.size() - 40));
        const auto size = static_cast<std::uint32_t>(bad.size());
        for (unsigned i = 0; i < 4; ++i) bad[4 + i] = static_cast<unsigned char>(size >> (24 - 8 * i));
      }
      for (auto n = random() % 6; n-- != 0;)
        bad[8 + random() % (bad.size() - 8)] = static_cast<unsigned char>(random());
      const auto exact = std::make_unique<unsigned char[]>(bad.size());
      std::copy(bad.begin(), bad.end(), exact.get());
      const device_tree tree{exact.get()};
      const auto m = std::make_unique<machine_description>();
      describe(tree, *m);
      devices += m->slot_count + m->pci_count;
      for (std::size_t i = 0; i < m->pci_count; ++i) {
        (void)pci_interrupt(tree, m->pci[i], 0, static_cast<std::uint8_t>(random() % 32), 0, 1);
        CHECK(m->pci[i].config.size != 0);
      }
      if (m->arguments != nullptr) devices += std::strlen(m->arguments);
    }
  }
  CHECK(devices > 1000);
}
