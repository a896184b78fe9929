// SPDX-License-Identifier: MIT
// Exit and exceptions of a guest on 64-bit RISC-V, by the addresses in the device tree.
// Spec: SBI 2.0, chapters 3, 5.7 and 10; RISC-V Privileged Architecture 1.12, chapters 3 and 4.
#include "reached.hpp"
#include "runtime.hpp"

namespace boot {

constinit machine_description machine{};

}  // namespace boot

namespace {

const void* tree_blob = nullptr;
boot::privilege entered_at{};
bool is_leaving = false;

// Calls the firmware. Its result is not needed: a call that returns has failed.
void call_firmware(uint64_t extension, uint64_t function, uint64_t first, uint64_t second) {
  register uint64_t a0 asm("a0") = first;
  register uint64_t a1 asm("a1") = second;
  register uint64_t a6 asm("a6") = function;
  register uint64_t a7 asm("a7") = extension;
  asm volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
}
constexpr uint64_t system_reset = 0x53525354, shutdown_of_before = 8;
constexpr uint64_t to_shutdown = 0, to_cold_reboot = 1, no_reason = 0;

// SiFive's test finisher, which QEMU implements: it ends the machine, with a status or without.
constexpr uint32_t finish_with_status = 0x3333, finish_and_reset = 0x7777;
void finish(uint32_t how) {
  if (boot::machine.test_finisher.size < sizeof how) return;
  *reinterpret_cast<volatile uint32_t*>(static_cast<uintptr_t>(boot::machine.test_finisher.base)) = how;
  // QEMU 10 ends asynchronously, in its main loop: do not print until then.
  const uint64_t began = boot::timestamp();
  while (boot::milliseconds_since(began) < 60'000) boot::pause();
}

}  // namespace

namespace boot {

device_tree the_tree() { return device_tree{tree_blob}; }

privilege level() { return entered_at; }

void switch_off() {
  if (entered_at == privilege::machine) return;
  call_firmware(system_reset, 0, to_shutdown, no_reason);
  call_firmware(shutdown_of_before, 0, 0, 0);  // firmware before SBI 0.3
}

void reset() {
  if (entered_at == privilege::supervisor) call_firmware(system_reset, 0, to_cold_reboot, no_reason);
  finish(finish_and_reset);
}

void exit(int code) {
  static int status;
  if (!is_leaving) {
    is_leaving = true;
    status = code < 0 || code > 127 ? 127 : code;
    // SBI passes no status on; the finisher does, and OpenSBI leaves it accessible. As with isa-debug-exit on x86,
    // QEMU's own status becomes (code << 1) | 1; 0 then means that the machine was switched off in another way.
    finish((static_cast<uint32_t>(status) << 1 | 1) << 16 | finish_with_status);
  }
  // If there is no finisher, or firmware does not allow access to it, the exception's handler calls exit() again.
  static bool printed;
  if (!printed) {
    printed = true;
    print("exit ", status, "\n");
  }
  switch_off();
  for (;;) asm volatile("wfi");
}

}  // namespace boot

extern "C" {

[[noreturn]] void boot_exception(uint64_t cause, uint64_t from, uint64_t address) {
  static bool entered;
  if (!entered && !is_leaving) {  // a fault while printing must end, not recurse
    entered = true;
    boot::print("exception ", cause, " at ", boot::hex(from), " address ", boot::hex(address), "\n");
  }
  boot::exit(125);
}

[[noreturn]] void boot_enter(const void* blob, boot::privilege at) {
  entered_at = at;
  if (reinterpret_cast<uintptr_t>(blob) % 8 == 0 && boot::device_tree::size_of(blob) != 0) tree_blob = blob;
  boot::machine_description& m = boot::machine;
  boot::describe(boot::the_tree(), m);
  boot::keep_reached(m, [](boot::range registers) { return boot::reach_registers(registers); });
  boot::run(m.arguments);
}

}  // extern "C"
