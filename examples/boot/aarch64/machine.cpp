// SPDX-License-Identifier: MIT
// Console, exit and exceptions of a guest on 64-bit Arm, and where the device tree says that things are.
// The console is not set up: a virtual machine's PL011 has no baud rate and takes bytes at once.
#include "runtime.hpp"

namespace boot {

constinit machine_description machine{};

}  // namespace boot

namespace {

constexpr uintptr_t uart_data = 0x00;
constexpr uintptr_t uart_flags = 0x18;
constexpr uint32_t transmitter_full = 0x20;

volatile uint32_t& uart(uintptr_t offset) {
    return *reinterpret_cast<volatile uint32_t*>(static_cast<uintptr_t>(boot::machine.console.base) + offset);
}

// A PCI host's windows: three cells of bus address with the kind in the first, two of the CPU's, two of size.
void read_windows(const boot::device_tree::value& ranges) {
    constexpr size_t stride = 7;
    for (size_t at = 0; (at + stride) * 4 <= ranges.size; at += stride) {
        const boot::range window{ranges.number(at + 3, 2), ranges.number(at + 5, 2)};
        const uint64_t bus = ranges.number(at + 1, 2);
        switch (ranges.cell(at) >> 24 & 3) {
            case 1: if (bus == 0) boot::machine.pci_ports = window; break;
            case 2: if (bus == window.base) boot::machine.pci_memory = window; break;
            case 3: if (bus == window.base) boot::machine.pci_high_memory = window; break;
            default: break;
        }
    }
}

}  // namespace

namespace boot {

void put(char c) {
    if (machine.console.size == 0) return;
    while ((uart(uart_flags) & transmitter_full) != 0) {
    }
    uart(uart_data) = static_cast<uint8_t>(c);
}

void exit(int code) {
    static bool asked;
    if (!asked) {
        asked = true;
        // By semihosting, which the firmware's way to switch off lacks a status for. As with isa-debug-exit on x86, QEMU's own
        // status becomes (code << 1) | 1 and has eight bits; its 0 is then that of a machine that went off by itself.
        struct {
            uint64_t reason, status;
        } const stopped{0x20026, static_cast<uint64_t>(code < 0 || code > 127 ? 127 : code) << 1 | 1};
        register uint64_t operation asm("x0") = 0x18;
        register const void* block asm("x1") = &stopped;
        asm volatile("hlt #0xf000" : "+r"(operation) : "r"(block) : "memory");
    }
    // Without semihosting that was an exception, which comes back here: PSCI, SYSTEM_OFF.
    register uint64_t function asm("x0") = 0x84000008;
    asm volatile("hvc #0" : "+r"(function) : : "memory", "x1", "x2", "x3");
    for (;;) asm volatile("wfi");
}

}  // namespace boot

extern "C" {

[[noreturn]] void boot_exception(uint64_t vector, uint64_t syndrome, uint64_t from, uint64_t address) {
    static bool entered;
    if (!entered) {  // a fault while printing must end, not recurse
        entered = true;
        boot::print("exception ", vector, " at ", boot::hex(from), " syndrome ", boot::hex(syndrome), " address ",
                    boot::hex(address), "\n");
    }
    boot::exit(125);
}

[[noreturn]] void boot_enter(const void* blob) {
    // Safe to follow: the loader is trusted, and the tree lies in mapped memory. That it makes sense is checked all the same.
    const char* arguments = nullptr;
    boot::device_tree{blob}.each_node([&](const boot::device_tree::node& node) {
        if (const auto given = node.find("bootargs"); given && given.size != 0 && given.data[given.size - 1] == 0)
            arguments = reinterpret_cast<const char*>(given.data);
        if (node.is("arm,pl011") && boot::machine.console.size == 0) boot::machine.console = node.reg(0);
        if (node.is("virtio,mmio") && boot::machine.slot_count < boot::machine_description::most_slots)
            boot::machine.slots[boot::machine.slot_count++] = node.reg(0);
        if (node.is("pci-host-ecam-generic")) {
            boot::machine.ecam = node.reg(0);
            read_windows(node.find("ranges"));
        }
    });
    boot::run(arguments);
}

}  // extern "C"
