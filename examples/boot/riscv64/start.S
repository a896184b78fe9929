// SPDX-License-Identifier: MIT
// From the loader to C++ on 64-bit RISC-V, at any load address and at either level: the header of a Linux image, one
// processor, relocated data, cleared .bss, and boot_enter (machine.cpp). Without firmware the level is machine mode,
// where a processor starts; under OpenSBI it is supervisor mode. Both use physical addresses: there are no page tables,
// and the machine's physical memory attributes distinguish memory and registers. At entry a0 is the processor's number
// and a1 the device tree.

    .option norvc                       // the header has places of fixed size
    .section .text.header, "ax"
    .globl boot_start
boot_start:
    j enter
    .word 0
    .quad 0x200000                      // offset from the start of memory, for loaders that use the header
    .quad boot_image_end - boot_start
    .quad 0                             // little-endian
    .word 2, 0                          // version 0.2
    .quad 0
    .ascii "RISCV\0\0\0"
    .ascii "RSC\x05"
    .word 0
    .option rvc

enter:
    // All processors may start at once: the first one here continues.
    lla t0, boot_taken
    li t1, 1
    amoadd.w t1, t1, (t0)
    bnez t1, park

    mv s1, a1                           // the device tree
    // A write to a register of machine mode shows the level: in supervisor mode it traps, to the code for that mode.
    lla t0, supervisor
    csrw stvec, t0
    csrw sie, zero
    lla t0, machine_exception
    csrw mtvec, t0
    csrw mie, zero
    li s2, 0
    j 1f

    .balign 4
supervisor:
    lla t0, supervisor_exception
    csrw stvec, t0
    csrw satp, zero
    li s2, 1

    // The image was linked at 0: relocate the addresses in its data.
1:  lla t0, boot_start
    lla t1, boot_relocations
    lla t2, boot_relocations_end
    li t6, 3                            // R_RISCV_RELATIVE; there is no other without a dynamic linker
2:  bgeu t1, t2, 3f
    ld t3, 0(t1)                        // place
    ld t4, 8(t1)                        // kind
    ld t5, 16(t1)
    addi t1, t1, 24
    bne t4, t6, 2b
    add t3, t3, t0
    add t5, t5, t0
    sd t5, 0(t3)
    j 2b

3:  lla t0, boot_zeros
    lla t1, boot_zeros_end
4:  bgeu t0, t1, 5f
    sd zero, 0(t0)
    addi t0, t0, 8
    j 4b
5:  lla sp, stack_top
    li s0, 0                            // ends a debugger's backtrace
    li ra, 0
    mv a0, s1
    mv a1, s2
    tail boot_enter                     // does not return

park:
    wfi
    j park

// No exception is expected, so all end in the same way, and no register is saved.
    .balign 4
machine_exception:
    csrr a0, mcause
    csrr a1, mepc
    csrr a2, mtval
    j exception
    .balign 4
supervisor_exception:
    csrr a0, scause
    csrr a1, sepc
    csrr a2, stval
exception:
    lla sp, stack_top                   // the stack may be the cause
    tail boot_exception                 // does not return

// Compilers emit calls to these three implicitly. They are in assembler because a compiler may turn a copy loop into a
// call of memcpy, that is of itself.
    .globl memmove
memmove:
    sub t0, a0, a1                      // unsigned: a destination below the source wraps round to a large distance
    bgeu t0, a2, memcpy
    add t1, a0, a2
    add t2, a1, a2
1:  beqz a2, 2f                         // from the end
    addi t1, t1, -1
    addi t2, t2, -1
    lbu t3, 0(t2)
    sb t3, 0(t1)
    addi a2, a2, -1
    j 1b
2:  ret

    .globl memcpy
memcpy:
    mv t0, a0
    or t1, a0, a1
    andi t1, t1, 7                      // eight bytes at a time where both are aligned: elsewhere some processors trap
    bnez t1, 2f
    li t2, 8
1:  bltu a2, t2, 2f
    ld t3, 0(a1)
    sd t3, 0(t0)
    addi a1, a1, 8
    addi t0, t0, 8
    addi a2, a2, -8
    j 1b
2:  beqz a2, 3f
    lbu t3, 0(a1)
    sb t3, 0(t0)
    addi a1, a1, 1
    addi t0, t0, 1
    addi a2, a2, -1
    j 2b
3:  ret

    .globl memset
memset:
    mv t0, a0
    andi a1, a1, 0xff
    slli t1, a1, 8
    or t1, t1, a1
    slli t2, t1, 16
    or t1, t1, t2
    slli t2, t1, 32
    or t1, t1, t2
    li t3, 8
1:  beqz a2, 3f
    andi t2, t0, 7
    bnez t2, 2f
    bltu a2, t3, 2f
    sd t1, 0(t0)
    addi t0, t0, 8
    addi a2, a2, -8
    j 1b
2:  sb t1, 0(t0)
    addi t0, t0, 1
    addi a2, a2, -1
    j 1b
3:  ret

    .data
    .balign 4
boot_taken: .word 0

    .bss
    .balign 16
stack:       .skip 64 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
