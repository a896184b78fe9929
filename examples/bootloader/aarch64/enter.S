// SPDX-License-Identifier: MIT
// From this program to Linux, by its protocol for 64-bit Arm: interrupts masked, MMU and data cache off, x0 is the
// device tree.

    .text
    // void boot_clean(const void* at, size_t size)
    .globl boot_clean
boot_clean:
    mrs x2, ctr_el0
    ubfx x2, x2, #16, #4
    mov x3, #4
    lsl x2, x3, x2              // bytes of the smallest cache line
    add x1, x0, x1
    sub x3, x2, #1
    bic x0, x0, x3
1:  cmp x0, x1
    b.hs 2f
    dc civac, x0
    add x0, x0, x2
    b 1b
2:  dsb sy
    ret

    // [[noreturn]] void boot_enter_linux(uint64_t entry, const void* tree)
    .globl boot_enter_linux
boot_enter_linux:
    msr daifset, #0xf
    mov x19, x0
    mov x20, x1
    adrp x2, boot_entered_at
    ldr w21, [x2, :lo12:boot_entered_at]
    ldr x0, =0x30d00800         // all off, as in start.S
    dsb sy
    msr sctlr_el1, x0           // below only registers: memory may be older than the caches
    isb
    tlbi vmalle1
    ic iallu
    dsb sy
    isb
    cmp w21, #2
    b.ne 1f
    hvc #0x4c58                 // start.S continues at the hypervisor's level, as below
1:  mov x0, x20
    mov x1, xzr
    mov x2, xzr
    mov x3, xzr
    br x19

    .section .note.GNU-stack, "", @progbits
