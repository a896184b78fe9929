// SPDX-License-Identifier: MIT
// Exit and exceptions of a guest on 64-bit Arm, by the addresses in the device tree.
#include "pages.hpp"
#include "protected_kvm.hpp"
#include "reached.hpp"
#include "runtime.hpp"

namespace boot {

constinit machine_description machine{};

}  // namespace boot

extern "C" char boot_start[], boot_image_end[];

namespace {

const void* tree_blob = nullptr;
bool is_leaving = false;

struct hypervisor_call {
  boot::smccc_result operator()(uint32_t function, uint64_t argument) const {
    register uint64_t x0 asm("x0") = function;
    register uint64_t x1 asm("x1") = argument;
    register uint64_t x2 asm("x2") = 0;
    register uint64_t x3 asm("x3") = 0;
    asm volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
    return {{x0, x1, x2, x3}};
  }
};
constinit boot::protected_kvm<hypervisor_call> hypervisor{};

// Calls a function of PSCI without arguments, by the method in the tree.
void call_psci(uint32_t number) {
  register uint64_t function asm("x0") = number;
  if (boot::machine.psci == boot::psci_conduit::hvc)
    asm volatile("hvc #0" : "+r"(function) : : "memory", "x1", "x2", "x3");
  if (boot::machine.psci == boot::psci_conduit::smc)
    asm volatile("smc #0" : "+r"(function) : : "memory", "x1", "x2", "x3");
}
constexpr uint32_t psci_system_off = 0x84000008, psci_system_reset = 0x84000009;

// Maps the registers that the library and the board access without a mapping of their own; BARs are mapped at first
// use.
void map_machine() {
  boot::machine_description& m = boot::machine;
  boot::each_mappable(m, [](boot::range of) { (void)boot::map_memory(of); });
  if (m.psci == boot::psci_conduit::hvc) hypervisor.look({});
  boot::keep_reached(m, [](boot::range registers) { return boot::reach_registers(registers); });
  (void)boot::map_device_memory(m.interrupt_distributor);  // emulated by the hypervisor itself
}

[[noreturn]] void leave() {
  call_psci(psci_system_off);
  call_psci(psci_system_reset);  // if the first call was rejected
  for (;;) asm volatile("wfi");
}

}  // namespace

namespace boot {

device_tree the_tree() { return device_tree{tree_blob}; }

range tree_place() { return {reinterpret_cast<uintptr_t>(tree_blob), device_tree::size_of(tree_blob)}; }

bool share_memory(range of) { return hypervisor.share({}, of); }

bool reach_registers(range of) {
  if (!map_device_memory(of)) return false;
  (void)hypervisor.guard({}, of);  // a hypervisor that rejects it may have been configured by firmware
  return true;
}

range place_of(const dma_pool_tree& pool) {
  const auto image = reinterpret_cast<uintptr_t>(boot_start);
  const range taken[] = {{image, reinterpret_cast<uintptr_t>(boot_image_end) - image}, tree_place()};
  if (pool.base == 0) return place_pool(machine, pool, taken, 2);
  for (const range& one : taken)
    if (one.base < pool.base + pool.size && pool.base < one.base + one.size) return {};
  return pool;
}

void reset() { call_psci(psci_system_reset); }

void exit(int code) {
  static int status;
  if (!is_leaving) {
    is_leaving = true;
    status = code < 0 || code > 127 ? 127 : code;
    // PSCI switches the machine off without a status; semihosting passes one on. As with isa-debug-exit on x86,
    // QEMU's own status becomes (code << 1) | 1 and has eight bits; 0 then means that the machine was switched off
    // in another way.
    struct {
      uint64_t reason, status;
    } const stopped{0x20026, static_cast<uint64_t>(status) << 1 | 1};
    register uint64_t operation asm("x0") = 0x18;
    register const void* block asm("x1") = &stopped;
    asm volatile("hlt #0xf000" : "+r"(operation) : "r"(block) : "memory");
  }
  // Without semihosting the instruction raises an exception, whose handler calls exit() again; the status is then
  // printed.
  static bool printed;
  if (!printed) {
    printed = true;
    print("exit ", status, "\n");
  }
  leave();
}

}  // namespace boot

extern "C" {

[[noreturn]] void boot_exception(uint64_t vector, uint64_t syndrome, uint64_t from, uint64_t address) {
  static bool entered;
  if (!entered && !is_leaving) {  // a fault while printing must end, not recurse
    entered = true;
    boot::print("exception ", vector, " at ", boot::hex(from), " syndrome ", boot::hex(syndrome), " address ",
                boot::hex(address), "\n");
  }
  boot::exit(125);
}

[[noreturn]] void boot_enter(const void* blob) {
  // The start code has mapped its first page, if the address is valid. The contents are still checked.
  const auto at = reinterpret_cast<uintptr_t>(blob);
  if (at % 8 == 0 && at >> 48 == 0) {
    const size_t size = boot::device_tree::size_of(blob);
    if (size != 0 && boot::map_memory({at & ~uintptr_t{0xfff}, (at % 0x1000 + size + 0xfff) & ~size_t{0xfff}}))
      tree_blob = blob;
  }
  boot::describe(boot::the_tree(), boot::machine);
  map_machine();
  boot::run(boot::machine.arguments);
}

}  // extern "C"
