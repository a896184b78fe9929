// SPDX-License-Identifier: MIT
// From the loader to C++ on 64-bit Arm: the header of a Linux image, so that x0 is the device tree, then floating point, an
// identity map with caches on, zeros where zeros must be, and boot_enter (machine.cpp).
// Until the caches are on nothing is written to memory: what the loader left in them, or in memory, stays what it was.

#define BLOCK  0x401                            // one GiB, accessed flag set
#define DEVICE (BLOCK | 0x0060000000000000)     // memory attribute 0, never executed
#define NORMAL (BLOCK | 0x0040000000000304)     // memory attribute 1, inner shareable; executed at this level only

    .section .text.header, "ax"
    .globl boot_start
boot_start:
    b 1f
    .long 0
    .quad 0x80000               // offset from the start of memory, which is 2 MiB aligned
    .quad boot_zeros_end - boot_start
    .quad 0x2                   // little-endian, 4 KiB pages, at the start of memory
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

1:  mov x19, x0                 // the device tree
    mov x0, #(3 << 20)          // floating point does not trap: compilers copy with its registers
    msr cpacr_el1, x0
    adr x0, vectors
    msr vbar_el1, x0

    // Attribute 0 is device memory, nGnRnE; attribute 1 normal memory, write-back.
    mov x0, #0xff00
    msr mair_el1, x0
    // 39 bits of addresses from TTBR0 in 4 KiB granules, none from TTBR1; tables cached and inner shareable; 40 bits physical.
    ldr x0, =(25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32)
    msr tcr_el1, x0
    adrp x0, level1
    msr ttbr0_el1, x0
    tlbi vmalle1
    ic iallu
    dsb sy
    isb
    mrs x0, sctlr_el1
    mov x1, #0x1005             // MMU, data and instruction caches
    orr x0, x0, x1
    bic x0, x0, #2              // alignment is not checked
    msr sctlr_el1, x0
    isb

    adrp x0, boot_zeros
    add x0, x0, :lo12:boot_zeros
    adrp x1, boot_zeros_end
    add x1, x1, :lo12:boot_zeros_end
2:  cmp x0, x1
    b.eq 3f
    stp xzr, xzr, [x0], #16
    b 2b
3:  adrp x0, stack_top
    add x0, x0, :lo12:stack_top
    mov sp, x0
    mov x29, xzr                // ends a debugger's backtrace
    mov x30, xzr
    mov x0, x19
    b boot_enter                // does not return

// Four kinds of exception from four places: none is expected, so all end alike, and no register is saved.
    .balign 2048
vectors:
    .set .Lvector, 0
    .rept 16
    .balign 128
    mov x0, #.Lvector
    b exception
    .set .Lvector, .Lvector + 1
    .endr

exception:
    mrs x1, esr_el1
    mrs x2, elr_el1
    mrs x3, far_el1
    adrp x4, stack_top          // the stack may be what went wrong
    add x4, x4, :lo12:stack_top
    mov sp, x4
    b boot_exception            // does not return

// Compilers emit calls to these three by themselves. In assembler, where no compiler can recognise a memcpy and turn it into
// a call of itself.
    .globl memmove
memmove:
    sub x3, x0, x1              // unsigned: a destination below the source wraps round to a large distance
    cmp x3, x2
    b.hs memcpy
1:  sub x2, x2, #1              // from the end
    ldrb w4, [x1, x2]
    strb w4, [x0, x2]
    cbnz x2, 1b
    ret

    .globl memcpy
memcpy:
    mov x3, x0
1:  cmp x2, #16
    b.lo 2f
    ldp x4, x5, [x1], #16
    stp x4, x5, [x3], #16
    sub x2, x2, #16
    b 1b
2:  cbz x2, 3f
    ldrb w4, [x1], #1
    strb w4, [x3], #1
    sub x2, x2, #1
    b 2b
3:  ret

    .globl memset
memset:
    and x1, x1, #0xff
    mov x3, #0x0101010101010101
    mul x1, x1, x3
    mov x3, x0
1:  cmp x2, #16
    b.lo 2f
    stp x1, x1, [x3], #16
    sub x2, x2, #16
    b 1b
2:  cbz x2, 3f
    strb w1, [x3], #1
    sub x2, x2, #1
    b 2b
3:  ret

    .section .rodata
    .balign 4096
level1:                         // 512 GiB where they are: memory from 1 GiB on, registers everywhere else
    .quad DEVICE
    .quad 0x40000000 + NORMAL
    .set .Lgib, 2
    .rept 510
    .quad (.Lgib << 30) + DEVICE
    .set .Lgib, .Lgib + 1
    .endr

    .bss
    .balign 16
stack:       .skip 64 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
