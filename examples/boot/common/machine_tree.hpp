// SPDX-License-Identifier: MIT
// A virtual machine as its device tree describes it, for a board of this library: memory, console, PCI hosts with their
// windows and interrupts, virtio-mmio slots, power-off, and the memory that devices are restricted to. Nothing that a
// tree can describe is assumed; values that it does not have stay zero. It accesses only the tree, so it runs anywhere.
// Spec: Devicetree Specification 0.4; Linux's bindings host-generic-pci, arm,psci, arm,gic, sifive,plic,
// shared-dma-pool; PCI Bus Binding 2.1.
#pragma once

#include "device_tree.hpp"

namespace boot {

/// An interrupt of Arm's GIC, from the first three cells of a specifier, or of RISC-V's PLIC, from one cell.
struct tree_interrupt {
  uint32_t id{};     // 0: none; of the GIC: shared ones from 32 on, a processor's own from 16 on
  uint32_t flags{};  // of the GIC: 1 rising edge, 4 level high
};

/// A device: its registers and its interrupt.
struct tree_device : range {
  tree_interrupt interrupt{};
};

enum class console_kind : uint8_t { none, pl011, ns16550 };

struct tree_console : range {
  console_kind kind{};
  uint8_t shift{};  // registers are 1 << shift bytes apart; of a 16550 only
  uint8_t width{};  // bytes of an access: 1, 2 or 4
};

enum class pci_space : uint8_t { none, ports, memory };

/// A window of a PCI host: `size` bytes from bus address `bus` on are at `cpu`.
struct pci_window {
  pci_space space{};
  uint64_t bus{}, cpu{}, size{};
};

struct pci_tree {
  static constexpr size_t most_windows = 8;

  range config{};          // configuration space, from the first bus on; size 0: no host
  uint8_t config_shift{};  // of a function in it: 12 for ECAM, 8 for CAM
  uint8_t first_bus{}, last_bus{};
  uint16_t segment{};
  pci_window windows[most_windows]{};
  size_t window_count{};
  device_tree::value interrupt_map{}, interrupt_mask{};

  [[nodiscard]] size_t buses() const { return size_t{last_bus} - first_bus + 1u; }

  /// Returns the CPU's address of these bytes of the bus; size 0 if no window contains all of them.
  [[nodiscard]] range reached(pci_space space, uint64_t bus, uint64_t size) const {
    for (size_t i = 0; i < window_count; ++i) {
      const pci_window& one = windows[i];
      if (one.space == space && bus >= one.bus && size <= one.size && bus - one.bus <= one.size - size)
        return {one.cpu + (bus - one.bus), size};
    }
    return {};
  }
  /// Returns the largest window of the space that, on the bus, ends at `end` or below, or begins there or above.
  [[nodiscard]] pci_window below(pci_space space, uint64_t end) const {
    return largest(space, [&](const pci_window& one) { return one.bus < end && one.size <= end - one.bus; });
  }
  [[nodiscard]] pci_window above(pci_space space, uint64_t start) const {
    return largest(space, [&](const pci_window& one) { return one.bus >= start; });
  }

 private:
  template <class Fits>
  [[nodiscard]] pci_window largest(pci_space space, Fits&& fits) const {
    pci_window out;
    for (size_t i = 0; i < window_count; ++i)
      if (windows[i].space == space && fits(windows[i]) && windows[i].size > out.size) out = windows[i];
    return out;
  }
};

enum class psci_conduit : uint8_t { none, hvc, smc };

/// The only memory that the host sees (`restricted-dma-pool`): its place or, if `base` is 0, the required size and
/// alignment.
struct dma_pool_tree : range {
  uint64_t alignment{};
};

/// Sizes and counts are 0 for parts that the machine does not have. Entries that do not fit a list are left out.
struct machine_description {
  static constexpr size_t most_slots = 64, most_memory = 16, most_reserved = 16, most_hosts = 4;

  range memory[most_memory];
  size_t memory_count;
  range reserved[most_reserved];  // of the memory: not the program's
  size_t reserved_count;
  range unmappable[most_reserved];  // of those: never mapped (no-map), since the processor reads ahead
  size_t unmappable_count;
  tree_device slots[most_slots];  // virtio-mmio, in the tree's order
  size_t slot_count;
  pci_tree pci[most_hosts];
  size_t pci_count;
  range unreached_hosts[most_hosts];  // configuration spaces that keep_reached_hosts has removed
  size_t unreached_count;
  tree_console console;
  range interrupt_distributor;  // of the GIC, or the PLIC
  psci_conduit psci;
  range test_finisher;       // SiFive's, of RISC-V machines: ends the machine
  uint32_t clock_frequency;  // of the counter that RISC-V's `rdtime` reads; Arm has a register for its own
  dma_pool_tree dma_pool;    // of the first host or slot that is restricted to one
  uint32_t bars_are_placed;  // 1: the tree requires that they stay in place (linux,pci-probe-only)
  const char* arguments;     // null: none
};

namespace tree {

using node = device_tree::node;
using value = device_tree::value;

// An interrupt of `count` cells from `first` on.
[[nodiscard]] inline tree_interrupt read_interrupt(const value& cells, size_t first, size_t count) {
  if (cells.size / 4 < first + count) return {};
  if (count == 1) return {cells.cell(first), 0};
  if (count != 3) return {};
  const uint32_t kind = cells.cell(first), number = cells.cell(first + 1);
  if (kind > 1 || number > (kind == 0 ? 987u : 15u)) return {};
  return {number + (kind == 0 ? 32 : 16), cells.cell(first + 2) & 0xf};
}

[[nodiscard]] inline console_kind console_of(const node& of) {
  if (of.is("arm,pl011") || of.is("arm,sbsa-uart")) return console_kind::pl011;
  static constexpr const char* names[] = {"ns16550a", "ns16550", "ns16450", "ns8250", "snps,dw-apb-uart"};
  for (const char* one : names)
    if (of.is(one)) return console_kind::ns16550;
  return console_kind::none;
}

[[nodiscard]] inline tree_console read_console(const node& of) {
  tree_console out;
  static_cast<range&>(out) = of.reg(0);
  out.kind = console_of(of);
  if (out.size == 0 || out.kind == console_kind::none) return {};
  const uint32_t usual = out.kind == console_kind::pl011 ? 4 : 1;
  const uint32_t width = of.find("reg-io-width").cell(0), shift = of.find("reg-shift").cell(0);
  out.width = static_cast<uint8_t>(width == 1 || width == 2 || width == 4 ? width : usual);
  out.shift = static_cast<uint8_t>(out.kind == console_kind::ns16550 && shift <= 4 ? shift : 0);
  const uint32_t offset = of.find("reg-offset").cell(0);
  if (offset >= out.size) return {};
  out.base += offset;
  out.size -= offset;
  return out;
}

inline void read_windows(const node& of, pci_tree& out, uint32_t above_cells) {
  const value ranges = of.find("ranges");
  constexpr size_t bus_cells = 3, size_cells = 2;
  const size_t stride = bus_cells + above_cells + size_cells;
  for (size_t i = 0; i < ranges.size / 4 / stride && out.window_count < pci_tree::most_windows; ++i) {
    const size_t at = i * stride;
    const uint32_t code = ranges.cell(at) >> 24 & 3;  // configuration, I/O, memory of 32 and of 64 bits
    pci_window one{code == 1 ? pci_space::ports : pci_space::memory, ranges.number(at + 1, 2),
                   ranges.number(at + bus_cells, above_cells), ranges.number(at + bus_cells + above_cells, size_cells)};
    const bool wraps = one.size != 0 && (one.bus + (one.size - 1) < one.bus || one.cpu + (one.size - 1) < one.cpu);
    if (code == 0 || one.size == 0 || wraps) continue;
    const range there = of.from_bus({one.cpu, one.size});
    if (there.size == 0) continue;
    one.cpu = there.base;
    out.windows[out.window_count++] = one;
  }
}

[[nodiscard]] inline pci_tree read_pci(const node& of, uint8_t shift, size_t number) {
  pci_tree out;
  out.config = of.reg(0);
  out.config_shift = shift;
  const size_t room = static_cast<size_t>(out.config.size >> (shift + 8));
  if (room == 0) return {};
  const value buses = of.find("bus-range"), segment = of.find("linux,pci-domain");
  out.first_bus = static_cast<uint8_t>(buses.cell(0));
  const size_t last = buses.size == 8 && buses.cell(1) < 256 ? buses.cell(1) : 255, held = out.first_bus + (room - 1);
  if (last < out.first_bus) return {};
  out.last_bus = static_cast<uint8_t>(last < held ? last : held);
  out.segment = static_cast<uint16_t>(segment ? segment.cell(0) : number);
  const uint32_t above_cells = of.own().address;
  if (above_cells == 1 || above_cells == 2) read_windows(of, out, above_cells);
  out.interrupt_map = of.find("interrupt-map");
  out.interrupt_mask = of.find("interrupt-map-mask");
  return out;
}

/// Returns the pool that a device is restricted to, if there is one.
inline void read_pool(const device_tree& all, const node& device, dma_pool_tree& out) {
  const value regions = device.find("memory-region");
  for (size_t i = 0; i < regions.size / 4 && out.size == 0; ++i) {
    node region;
    if (!all.by_phandle(regions.cell(i), region) || !region.is("restricted-dma-pool")) continue;
    static_cast<range&>(out) = region.reg(0);
    if (region.find("reg")) continue;  // it has a fixed place, valid or not
    const value size = region.find("size"), alignment = region.find("alignment");
    out = {{0, size.number(0, size.size / 4)}, alignment.number(0, alignment.size / 4)};
  }
}

inline void add(range (&list)[machine_description::most_memory], size_t& count, range one) {
  if (one.size != 0 && count < machine_description::most_memory) list[count++] = one;
}

}  // namespace tree

/// Returns the interrupt of pin A to D (1 to 4) of a function, by the host's interrupt-map. `slot` and `function` are
/// the bus's numbers.
[[nodiscard]] inline tree_interrupt pci_interrupt(const device_tree& all, const pci_tree& host, uint8_t bus,
                                                  uint8_t slot, uint8_t function, uint8_t pin) {
  const auto& map = host.interrupt_map;
  const auto& mask = host.interrupt_mask;
  // Three cells of address, one of pin; the mask selects the bits that are compared.
  const uint32_t wanted[4] = {uint32_t{bus} << 16 | uint32_t{slot} << 11 | uint32_t{function} << 8, 0, 0, pin};
  const size_t cells = map.size / 4;
  // A controller's lookup is a walk of the tree, so each is looked up once, and a map with too many controllers ends
  // early.
  struct {
    uint32_t phandle, address_cells, interrupt_cells;
  } controllers[8];
  size_t known = 0;
  for (size_t at = 0; at + 5 <= cells;) {
    const uint32_t phandle = map.cell(at + 4);
    size_t which = 0;
    while (which < known && controllers[which].phandle != phandle) ++which;
    if (which == known) {
      device_tree::node found;
      if (known == sizeof controllers / sizeof controllers[0] || !all.by_phandle(phandle, found)) return {};
      controllers[known++] = {phandle, found.find("#address-cells").cell(0), found.find("#interrupt-cells").cell(0)};
    }
    const size_t address_cells = controllers[which].address_cells, interrupt_cells = controllers[which].interrupt_cells;
    if (address_cells > 4 || interrupt_cells > 8) return {};
    bool same = true;
    for (size_t i = 0; i < 4; ++i) {
      const uint32_t counts = i < mask.size / 4 ? mask.cell(i) : 0xffffffffu;
      same = same && (wanted[i] & counts) == (map.cell(at + i) & counts);
    }
    if (same) return tree::read_interrupt(map, at + 5 + address_cells, interrupt_cells);
    at += 5 + address_cells + interrupt_cells;
  }
  return {};
}

/// Fills `out`, which is all zeros, from a tree.
inline void describe(const device_tree& all, machine_description& out) {
  using namespace tree;
  value stdout_path;
  unsigned reserving = 0;  // the depth of children of /reserved-memory, 0 outside of it
  all.each_node([&](const node& one) {
    if (one.depth() <= 1) reserving = 0;
    if (one.depth() == 1) {
      if (one.name().equals(device_tree::characters("reserved-memory"))) reserving = 2;
      if (one.name().equals(device_tree::characters("chosen"))) {
        out.arguments = one.find("bootargs").string();
        out.bars_are_placed = one.find("linux,pci-probe-only").cell(0);
        stdout_path = one.find("stdout-path") ? one.find("stdout-path") : one.find("linux,stdout-path");
        const value from = one.find("linux,initrd-start"), to = one.find("linux,initrd-end");
        const uint64_t start = from.number(0, from.size / 4), end = to.number(0, to.size / 4);
        if (end > start) add(out.reserved, out.reserved_count, {start, end - start});
      }
    }
    const size_t most_regs = 16;
    if (reserving != 0 && one.depth() == reserving && one.is_on())
      for (size_t i = 0; i < most_regs; ++i) {
        add(out.reserved, out.reserved_count, one.reg(i));
        if (one.find("no-map") && !one.is("restricted-dma-pool")) add(out.unmappable, out.unmappable_count, one.reg(i));
      }
    if (one.find("device_type").has_string("memory") && one.is_on())
      for (size_t i = 0; i < most_regs; ++i) add(out.memory, out.memory_count, one.reg(i));
    if (out.console.size == 0 && console_of(one) != console_kind::none) out.console = read_console(one);
    if (one.is("virtio,mmio") && out.slot_count < out.most_slots && one.reg(0).size != 0) {
      tree_device& slot = out.slots[out.slot_count++];
      static_cast<range&>(slot) = one.reg(0);
      const value interrupts = one.find("interrupts");
      slot.interrupt = read_interrupt(interrupts, 0, interrupts.size / 4);
      if (out.dma_pool.size == 0) read_pool(all, one, out.dma_pool);
    }
    const uint8_t shift = one.is("pci-host-ecam-generic") ? 12 : one.is("pci-host-cam-generic") ? 8 : 0;
    if (shift != 0 && out.pci_count < out.most_hosts) {
      if (const pci_tree host = read_pci(one, shift, out.pci_count); host.config.size != 0)
        out.pci[out.pci_count++] = host;
      if (out.dma_pool.size == 0) read_pool(all, one, out.dma_pool);
    }
    if (one.is("arm,psci-0.2") || one.is("arm,psci-1.0")) {
      if (one.find("method").has_string("hvc")) out.psci = psci_conduit::hvc;
      if (one.find("method").has_string("smc")) out.psci = psci_conduit::smc;
    }
    if (out.test_finisher.size == 0 && (one.is("sifive,test0") || one.is("sifive,test1")))
      out.test_finisher = one.reg(0);
    const bool is_of_processors = one.depth() == 1 && one.name().equals(device_tree::characters("cpus"));
    if (out.clock_frequency == 0 && (is_of_processors || one.find("device_type").has_string("cpu")))
      out.clock_frequency = one.find("timebase-frequency").cell(0);
    static constexpr const char* controllers[] = {"arm,gic-v3",        "arm,cortex-a15-gic", "arm,gic-400",
                                                  "arm,cortex-a7-gic", "arm,cortex-a9-gic",  "sifive,plic-1.0.0",
                                                  "riscv,plic0"};
    for (const char* controller : controllers)
      if (out.interrupt_distributor.size == 0 && one.is(controller)) out.interrupt_distributor = one.reg(0);
  });
  all.each_reservation([&](range one) { add(out.reserved, out.reserved_count, one); });
  // The console that the tree names, if it is usable: "serial0:115200n8" has the line's parameters after the name.
  if (node named; stdout_path.size != 0 && all.at_path(stdout_path.until('\0').until(':'), named))
    if (const tree_console one = read_console(named); one.size != 0) out.console = one;
}

/// Calls `visit(range)` for each range of memory that may be mapped.
/// Spec: Devicetree Specification 0.4, 3.5.4.
template <class Visit>
void each_mappable(const machine_description& of, Visit&& visit) {
  for (size_t m = 0; m < of.memory_count; ++m) {
    uint64_t at = of.memory[m].base;
    const uint64_t last = at + (of.memory[m].size - 1);
    for (bool more = true; more;) {
      range hole{last, 0};  // the first that ends after `at`
      for (size_t i = 0; i < of.unmappable_count; ++i) {
        const range& one = of.unmappable[i];
        if (one.base + (one.size - 1) >= at && one.base <= last && (hole.size == 0 || one.base < hole.base)) hole = one;
      }
      if (hole.size == 0) visit(range{at, last - at + 1});
      else if (hole.base > at) visit(range{at, hole.base - at});
      more = hole.size != 0 && hole.base + (hole.size - 1) < last;
      at = hole.base + hole.size;
    }
  }
}

/// Removes the PCI hosts whose configuration space the processor does not reach, by `reach(range)`. The others keep
/// their order.
template <class Reach>
void keep_reached_hosts(machine_description& of, Reach&& reach) {
  size_t kept = 0;
  for (size_t i = 0; i < of.pci_count; ++i) {
    if (reach(of.pci[i].config)) of.pci[kept++] = of.pci[i];
    else of.unreached_hosts[of.unreached_count++] = of.pci[i].config;
  }
  for (size_t i = kept; i < of.pci_count; ++i) of.pci[i] = {};
  of.pci_count = kept;
}

/// Returns a place of `pool.size` bytes for a pool without one: the highest memory that is neither reserved nor
/// `taken`.
/// Size 0 if there is none.
[[nodiscard]] inline range place_pool(const machine_description& machine, const dma_pool_tree& pool, const range* taken,
                                      size_t taken_count) {
  constexpr uint64_t page = 4096;
  const uint64_t alignment = pool.alignment > page ? pool.alignment : page;
  range best;
  if (pool.size == 0 || pool.size % page != 0 || (alignment & (alignment - 1)) != 0) return best;
  for (size_t m = 0; m < machine.memory_count; ++m) {
    const range& memory = machine.memory[m];
    uint64_t end = memory.base + (memory.size - 1) + 1 != 0 ? memory.base + memory.size : ~(page - 1);
    while (end >= memory.base && end - memory.base >= pool.size) {
      const uint64_t at = (end - pool.size) & ~(alignment - 1);
      if (at < memory.base) break;
      range in_the_way;
      const auto look = [&](const range& one) {
        if (one.size != 0 && (one.base >= at ? one.base - at < pool.size : at - one.base < one.size)) in_the_way = one;
      };
      for (size_t i = 0; i < machine.reserved_count; ++i) look(machine.reserved[i]);
      for (size_t i = 0; i < taken_count; ++i) look(taken[i]);
      if (in_the_way.size == 0) {
        if (at >= best.base) best = {at, pool.size};
        break;
      }
      end = in_the_way.base;
    }
  }
  return best;
}

}  // namespace boot
