// SPDX-License-Identifier: MIT
// Prints what a guest reads in its device tree, and checks it against the machine: run=leave, run=off, run=reset,
// run=interrupt, and run=fault, an access to an unassigned address.
#include <virtio/rng.hpp>

#include "board.hpp"

namespace {

using boot::machine;
using rng_t = virtio::rng::device<board, virtio::pci::transport<board>, virtio::split_queue<8>>;

constinit virtio::dma_storage<rng_t::dma_bytes> storage;
constinit rng_t rng;

void print_range(const char* what, const boot::range& one) {
  boot::print(what, " ", boot::hex(one.base), " ", boot::hex(one.size), "\n");
}

virtio::mmio_space controller() { return {static_cast<virtio::uptr>(machine.interrupt_distributor.base), 0x400000}; }

#if defined(__riscv)
constexpr virtio::u32 first_line = 32;         // the first of PCI's four, on QEMU's virt
constexpr virtio::usize set_pending = 0x1000;  // the PLIC's register with a bit for each interrupt
// The PLIC keeps an interrupt until a processor takes it, and records it again if the line is still up at the end.
bool take(virtio::u32 id) {
  constexpr virtio::usize enable = 0x2000, claim = 0x200004;  // of the first processor's machine mode
  controller().write(4 * id, virtio::u32{1});                 // its priority
  controller().write(enable + id / 32 * 4, virtio::u32{1} << id % 32);
  const bool is_this = controller().read<virtio::u32>(claim) == id;
  controller().write(claim, id);
  return is_this;
}
void print_firmware() {
  boot::print("switched off by ", boot::level() == boot::privilege::machine ? "the test finisher\n" : "SBI\n");
}
#else
constexpr virtio::u32 first_line = 35;
constexpr virtio::usize set_pending = 0x200;  // the GIC's register
bool take(virtio::u32) { return true; }       // it has the state of the line
void print_firmware() {
  static constexpr const char* conduits[] = {"nothing", "HVC", "SMC"};
  boot::print("PSCI by ", conduits[static_cast<unsigned>(machine.psci)], "\n");
}
#endif

void print_machine() {
  static constexpr const char* consoles[] = {"none", "PL011", "16550"};
  for (virtio::usize i = 0; i < machine.memory_count; ++i) print_range("memory", machine.memory[i]);
  boot::print("console ", consoles[static_cast<unsigned>(machine.console.kind)], " ");
  print_range("at", machine.console);
  for (virtio::usize i = 0; i < machine.pci_count; ++i) {
    const boot::pci_tree& one = machine.pci[i];
    boot::print(one.config_shift == 8 ? "CAM " : "ECAM ", "buses ", one.first_bus, " to ", one.last_bus, " ");
    print_range("at", one.config);
    for (virtio::usize w = 0; w < one.window_count; ++w)
      boot::print(one.windows[w].space == boot::pci_space::ports ? "ports " : "window ", boot::hex(one.windows[w].bus),
                  " at ", boot::hex(one.windows[w].cpu), " ", boot::hex(one.windows[w].size), "\n");
  }
  boot::print("slots ", static_cast<unsigned long long>(machine.slot_count), "\n");
  print_firmware();
}

// Whether the controller has recorded an interrupt of any kind; the guest takes none.
bool is_pending(virtio::u32 id) {
  return (controller().read<virtio::u32>(set_pending + id / 32 * 4) >> id % 32 & 1) != 0;
}

// A device's pin raises the interrupt in interrupt-map, and none of the other three.
int check_interrupt() {
  const auto where = bus::find(board{}, virtio::device_type::entropy);
  if (!where) return board::fail("no rng", where);
  if (const auto up = rng.start(board{}, *where, storage); !up) return board::fail("start", up.error(), rng.why());
  const virtio::u32 pin = board{}.config_read32(where->id, 0x3c) >> 8 & 0xff;
  const boot::tree_interrupt line =
      boot::pci_interrupt(boot::the_tree(), machine.pci[0], where->id.bus, where->id.slot,
                          static_cast<virtio::u8>(where->id.function), static_cast<virtio::u8>(pin));
  boot::print("slot ", where->id.slot, " pin ", pin, ": interrupt ", line.id,
              line.flags == 4   ? ", level\n"
              : line.flags == 1 ? ", edge\n"
                                : "\n");
  if (line.id == 0 || is_pending(line.id)) return 2;
  virtio::u8 bytes[8];
  (void)rng.arm();
  if (const auto filled = rng.fill(virtio::bytes{bytes, sizeof bytes}); !filled)
    return board::fail("fill", filled.error());
  const bool raised = is_pending(line.id);
  for (virtio::u32 other = first_line; other < first_line + 4; ++other)
    if (other != line.id && is_pending(other)) return 3;
  (void)rng.acknowledge_interrupt();
  if (raised && !take(line.id)) return 5;
  boot::print(raised ? "raised" : "not raised", is_pending(line.id) ? ", and stays\n" : ", and is gone\n");
  return raised && !is_pending(line.id) ? 0 : 4;
}

}  // namespace

extern "C" int guest_main(const char*) {
  print_machine();
  const boot::text run = boot::option("run");
  if (run == "interrupt") return check_interrupt();
#if defined(__riscv)  // elsewhere exit() ends with it
  if (run == "off") {
    boot::print("off\n");
    boot::switch_off();
    return 1;
  }
#endif
  if (run == "fault") {
    (void)virtio::mmio_space{static_cast<virtio::uptr>(0x20'0000'0000), 4}.read<virtio::u32>(0);
    return 1;
  }
  if (run == "reset") {
    boot::print("reset\n");
    boot::reset();
    return 1;
  }
  return 3;
}
