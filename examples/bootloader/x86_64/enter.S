// SPDX-License-Identifier: MIT
// From this program to Linux, by its 64-bit protocol: interrupts off, memory identity-mapped, flat segments with the
// kernel's selectors, RSI points to the zero page.

    .text
    // [[noreturn]] void boot_enter_linux(uint64_t entry, const void* zero_page)
    .globl boot_enter_linux
boot_enter_linux:
    cli
    cld
    lgdt linux_gdt_pointer(%rip)
    movl $0x18, %eax            // __BOOT_DS
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    pushq $0x10                 // __BOOT_CS
    pushq %rdi
    xorl %ebx, %ebx
    xorl %ebp, %ebp
    xorl %edi, %edi
    lretq

    .section .rodata
    .balign 8
linux_gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff    // 64-bit code
    .quad 0x00cf93000000ffff    // data
linux_gdt_pointer:
    .word linux_gdt_pointer - linux_gdt - 1
    .quad linux_gdt

    .section .note.GNU-stack, "", @progbits
