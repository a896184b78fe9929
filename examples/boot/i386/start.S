// SPDX-License-Identifier: MIT
// From the loader to C++: a PVH loader enters in flat 32-bit protected mode with paging off and EBX pointing to its
// start_info. Only the segments are replaced, so that exceptions have a code segment.
// QEMU zeroes .bss at its start, but not at a reset of the machine: then it has the contents of the previous run.

    .section .note.pvh, "a", @note
    .balign 4
    .long 4                     // size of the name
    .long 4                     // size of the entry point
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long boot_start

    .text
    .globl boot_start, boot_start_linux64
boot_start_linux64:             // link.ld's name for the ELF header's entry; loaders of Linux images do not accept 32 bits there
boot_start:
    cld
    lgdt gdt_pointer
    ljmp $8, $1f
1:  movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl $boot_zeros, %edi
    movl $boot_zeros_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl $stack_top, %esp
    xorl %ebp, %ebp             // ends a debugger's backtrace
    subl $8, %esp               // arguments begin at a multiple of 16, as the ABI requires
    pushl %ebx
    pushl $1                    // ENTRY_PVH
    call boot_enter             // does not return

#include "exception_stubs.S"

exception:
    movl %esp, %eax
    andl $-16, %esp
    subl $12, %esp
    pushl %eax
    cld
    call boot_exception         // does not return, so no register is saved

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    // code
    .quad 0x00cf93000000ffff    // data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .bss
    .balign 16
stack:       .skip 64 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
