// SPDX-License-Identifier: MIT
// From the loader to C++ on 64-bit Arm, at any load address: the header of a Linux image, so that x0 is the device
// tree; exception level 1, floating point, an identity map of the image with caches on, relocated data, cleared .bss,
// and boot_enter (machine.cpp), which maps the rest by the device tree.
// Until the caches are on, only the tables are written to memory, so the loader's data in caches and memory stay
// intact.

#define NORMAL 0x0040000000000707               // a page: memory attribute 1, inner shareable, accessed; executed at this level only

    .section .text.header, "ax"
    .globl boot_start
boot_start:
    b 1f
    .long 0
    .quad 0                     // offset from a place that is 2 MiB aligned
    .quad boot_image_end - boot_start
    .quad 0xa                   // little-endian, 4 KiB pages, anywhere in memory
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

1:  mov x19, x0                 // the device tree
    mov x25, #1                 // the exception level at entry
    mrs x0, CurrentEL
    cmp x0, #(2 << 2)
    b.ne 2f

    // A Linux image may be entered at a hypervisor's level: go down to that of a kernel, without traps.
    mov x25, #2
    adr x0, vectors
    msr vbar_el2, x0
    mov x0, #(1 << 31)          // level 1 is 64-bit
    msr hcr_el2, x0
    isb
    mov x0, #0xc03              // level 1 may access its timers, in both forms of this register
    msr cnthctl_el2, x0
    msr cntvoff_el2, xzr
    mov x0, #0x33ff             // no trap of floating point, in both forms
    movk x0, #0x30, lsl #16
    msr cptr_el2, x0
    msr hstr_el2, xzr
    mrs x0, midr_el1
    msr vpidr_el2, x0
    mrs x0, mpidr_el1
    msr vmpidr_el2, x0
    ldr x0, =0x30d00800         // all off; reserved bits are ones
    msr sctlr_el1, x0
    mov x0, #0x3c5              // level 1 with its own stack, interrupts masked
    msr spsr_el2, x0
    adr x0, 2f
    msr elr_el2, x0
    eret

2:  mov x0, #(3 << 20)          // floating point does not trap: compilers copy with its registers
    msr cpacr_el1, x0
    adr x0, vectors
    msr vbar_el1, x0

    // The caches are off while the tables are written. Their lines are removed before, since old lines could be written
    // back over the tables, and after, since the processor could read old lines.
    adrp x20, boot_tables
    adrp x22, boot_tables_end
    bl forget_tables
    mov x0, x20
3:  stp xzr, xzr, [x0], #16
    cmp x0, x22
    b.lo 3b
    add x21, x20, #4096         // the next table

    adrp x23, boot_start        // the image, page by page
    adrp x24, boot_image_end
4:  mov x0, x23
    bl map_page
    add x23, x23, #4096
    cmp x23, x24
    b.lo 4b
    tst x19, #7                 // the first page of the tree, if there is one
    b.ne 5f
    cbz x19, 5f
    mov x0, x19
    bl map_page
5:  bl forget_tables

    // Attribute 0 is device memory, nGnRnE; attribute 1 normal memory, write-back.
    mov x0, #0xff00
    msr mair_el1, x0
    // 48 bits of addresses from TTBR0 in 4 KiB granules, none from TTBR1; tables cached and inner shareable; all
    // physical address bits, 48 at most.
    ldr x0, =(16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23)
    mrs x1, id_aa64mmfr0_el1
    and x1, x1, #0xf
    mov x2, #5
    cmp x1, x2
    csel x1, x1, x2, lo
    orr x0, x0, x1, lsl #32
    msr tcr_el1, x0
    msr ttbr0_el1, x20
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

    // The image was linked at 0: relocate the addresses in its data.
    adrp x0, boot_start
    adrp x1, boot_relocations
    add x1, x1, :lo12:boot_relocations
    adrp x2, boot_relocations_end
    add x2, x2, :lo12:boot_relocations_end
6:  cmp x1, x2
    b.hs 7f
    ldp x3, x4, [x1], #16       // place and kind
    ldr x5, [x1], #8
    cmp w4, #1027               // R_AARCH64_RELATIVE; there is no other without a dynamic linker
    b.ne 6b
    add x5, x5, x0
    str x5, [x0, x3]
    b 6b

7:  adrp x0, boot_zeros
    add x0, x0, :lo12:boot_zeros
    adrp x1, boot_zeros_end
    add x1, x1, :lo12:boot_zeros_end
8:  cmp x0, x1
    b.hs 9f
    stp xzr, xzr, [x0], #16
    b 8b
9:  adrp x0, boot_next_table
    str x21, [x0, :lo12:boot_next_table]
    adrp x0, boot_entered_at
    str w25, [x0, :lo12:boot_entered_at]
    adrp x0, stack_top
    add x0, x0, :lo12:stack_top
    mov sp, x0
    mov x29, xzr                // ends a debugger's backtrace
    mov x30, xzr
    mov x0, x19
    b boot_enter                // does not return

// Removes all lines of the tables from the caches. Uses x0 to x2.
forget_tables:
    mrs x1, ctr_el0
    ubfx x1, x1, #16, #4
    mov x2, #4
    lsl x1, x2, x1              // bytes of the smallest cache line
    dsb sy
    mov x0, x20
1:  dc ivac, x0
    add x0, x0, x1
    cmp x0, x22
    b.lo 1b
    dsb sy
    ret

// Maps the page of x0, with new tables from x21 on. Uses x1 to x3.
    .macro descend shift
    ubfx x1, x0, #\shift, #9
    ldr x3, [x2, x1, lsl #3]
    cbnz x3, 1f
    orr x3, x21, #3
    str x3, [x2, x1, lsl #3]
    add x21, x21, #4096
1:  and x2, x3, #0x0000fffffffff000
    .endm
map_page:
    mov x2, x20
    descend 39
    descend 30
    descend 21
    ubfx x1, x0, #12, #9
    ldr x3, =NORMAL
    and x0, x0, #0x0000fffffffff000
    orr x0, x0, x3
    str x0, [x2, x1, lsl #3]
    ret

// Four kinds of exception from four places: none is expected, so all end in the same way, and no register is saved. The
// table serves level 2 too, where one exception is expected: `hvc #0x4c58` from level 1, by which a boot loader enters
// an image at level 2. x19 is the image, x20 its device tree.
    .balign 2048
vectors:
    .set .Lvector, 0
    .rept 16
    .balign 128
    .if .Lvector == 8
    b from_below
    .endif
    mov x0, #.Lvector
    b exception
    .set .Lvector, .Lvector + 1
    .endr

from_below:
    mov x0, #8
    mrs x1, CurrentEL
    cmp x1, #(2 << 2)
    b.ne exception
    mrs x1, esr_el2
    mov w2, #0x4c58             // hvc #0x4c58
    movk w2, #0x5a00, lsl #16
    cmp w1, w2
    b.ne exception
    mov x0, x20
    mov x1, xzr
    mov x2, xzr
    mov x3, xzr
    br x19

exception:
    mrs x1, esr_el1
    mrs x2, elr_el1
    mrs x3, far_el1
    adrp x4, stack_top          // the stack may be the cause
    add x4, x4, :lo12:stack_top
    mov sp, x4
    b boot_exception            // does not return

// Compilers emit calls to these three implicitly. They are in assembler because a compiler may turn a copy loop into a
// call of memcpy, that is of itself.
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

    .bss
    .balign 16
stack:       .skip 64 * 1024
stack_top:
    .globl boot_next_table
    .balign 8
boot_next_table: .skip 8
    .globl boot_entered_at      // 1 or 2
boot_entered_at: .skip 8

    .section .tables, "aw", @nobits
    .balign 4096
    .globl boot_tables, boot_tables_end
boot_tables: .skip 48 * 4096
boot_tables_end:

    .section .note.GNU-stack, "", @progbits
