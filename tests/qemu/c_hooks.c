/* SPDX-License-Identifier: MIT
 * The two functions of examples/c_firmware/board, for QEMU's q35 after SeaBIOS. */
#include <stdint.h>

uintptr_t firmware_ecam(void);
uint64_t firmware_milliseconds(void);

uintptr_t firmware_ecam(void) { return 0xb0000000; }
uint64_t firmware_milliseconds(void) { return __builtin_ia32_rdtsc() >> 22; } /* approximate */
