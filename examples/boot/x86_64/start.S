// SPDX-License-Identifier: MIT
// From the loader to C++, by one entry for each protocol. Each stores its protocol (ENTRY_, as in loader.hpp) in EBP
// and the address of the loader's data in ESI; then paging, long mode and SSE are turned on, and boot_enter is called
// (machine.cpp). No entry has a stack, and the segments' descriptors may be overwritten.
// QEMU zeroes .bss at its start, but not at a reset of the machine: then it has the contents of the previous run.

#define ENTRY_PVH        1
#define ENTRY_LINUX      2
#define ENTRY_MULTIBOOT1 3
#define ENTRY_MULTIBOOT2 4

#define PRESENT_WRITABLE 0x3
#define LARGE_PAGE       0x83   // present, writable, maps a page rather than a further table

    // The note with the entry of a PVH loader.
    .section .note.pvh, "a", @note
    .balign 4
    .long 4                     // size of the name
    .long 8                     // size of the entry point
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad boot_start

    .section .text.start, "ax"

    // Linux in 64 bits (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"), the entry that the ELF header names:
    // crosvm, libkrun, Firecracker without PVH; and by the head of a bzImage (bzimage.S) Cloud Hypervisor, kvmtool,
    // Alioth. Long mode, the image and the zero page are identity-mapped, RSI points to the zero page. The common part
    // begins in 32 bits, so this entry returns to compatibility mode, the only one that can turn paging off.
    .code64
    .globl boot_start_linux64
boot_start_linux64:
    cli
    lgdt gdt_pointer(%rip)
    ljmpl *compatibility(%rip)

    .code32
leave_long_mode:
    movl $16, %eax              // 64-bit mode does not use the base and limit of DS; 32-bit mode does
    movl %eax, %ds
    movl %cr0, %eax
    andl $0x7fffffff, %eax      // paging off, and with it long mode
    movl %eax, %cr0
    movl $0xc0000080, %ecx      // EFER
    rdmsr
    andl $~0x100, %eax          // so that paging does not turn it on again
    wrmsr

    // Linux in 32 bits (the same, "32-bit Boot Protocol"): QEMU and GRUB with a bzImage, by its head. Protected mode
    // with paging off, flat segments, ESI points to the zero page.
    .globl boot_start_linux32
boot_start_linux32:
    movl $ENTRY_LINUX, %ebp
    jmp enter

    // PVH (Xen, docs/misc/pvh.pandoc): QEMU's -kernel, Firecracker, Cloud Hypervisor, Alioth. Protected mode with
    // paging off, flat segments, EBX points to hvm_start_info.
    .globl boot_start
boot_start:
    movl $ENTRY_PVH, %ebp
    movl %ebx, %esi
    jmp enter

    // Multiboot 1 (Multiboot Specification 0.6.96, 3.2): GRUB's command `multiboot`. Protected mode with paging off,
    // flat segments, EBX points to the boot information. The header for this entry is in the file that tools/boot-image
    // makes for GRUB, not in the ELF file: QEMU's -kernel would use it.
    .globl boot_start_multiboot1
boot_start_multiboot1:
    movl $ENTRY_MULTIBOOT1, %ebp
    movl %ebx, %esi
    jmp enter

    // Multiboot 2 (Multiboot2 Specification 2.0, 3.3): GRUB's command `multiboot2`. The same state, another form of
    // information.
    .globl boot_start_multiboot2
boot_start_multiboot2:
    movl $ENTRY_MULTIBOOT2, %ebp
    movl %ebx, %esi

enter:
    cli
    cld
    lgdt gdt_pointer
    ljmp $24, $2f
2:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $boot_zeros, %edi
    movl $boot_zeros_end, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    // Identity map of memory, as far as one top-level entry reaches. Device memory beyond it is mapped at first use
    // (pages.cpp).
    movl $(pdpt + PRESENT_WRITABLE), boot_page_map
    movl $0x80000001, %eax
    cpuid
    xorl %ecx, %ecx
    btl $26, %edx               // does the processor have 1 GiB pages?
    jnc 2f

1:  movl %ecx, %eax             // yes: 512 GiB, entry i maps i GiB
    shll $30, %eax
    orl $LARGE_PAGE, %eax
    movl %ecx, %edx
    shrl $2, %edx
    movl %eax, pdpt(,%ecx,8)
    movl %edx, pdpt + 4(,%ecx,8)
    incl %ecx
    cmpl $512, %ecx
    jne 1b
    jmp 3f

2:  movl %ecx, %eax             // no: the first 4 GiB, entry i of the four directories maps i * 2 MiB
    shll $21, %eax
    orl $LARGE_PAGE, %eax
    movl %eax, directories(,%ecx,8)
    incl %ecx
    cmpl $2048, %ecx
    jne 2b
    movl $(directories + 0x0000 + PRESENT_WRITABLE), pdpt
    movl $(directories + 0x1000 + PRESENT_WRITABLE), pdpt + 8
    movl $(directories + 0x2000 + PRESENT_WRITABLE), pdpt + 16
    movl $(directories + 0x3000 + PRESENT_WRITABLE), pdpt + 24

3:  movl $boot_page_map, %eax
    movl %eax, %cr3
    movl $0x620, %eax           // PAE; OSFXSR and OSXMMEXCPT, which SSE needs; and no bit of the loader's
    movl %eax, %cr4
    movl $0xc0000080, %ecx      // EFER
    rdmsr
    orl $0x100, %eax            // long mode enable
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax            // EM and TS off: SSE instructions run rather than trap
    orl $0x80000002, %eax       // paging, and MP
    movl %eax, %cr0
    ljmp $8, $start64

    .code64
start64:
    movl $stack_top, %esp
    movl %ebp, %edi             // the kind of loader; RSI has its data
    movl %esi, %esi
    xorl %ebp, %ebp             // ends a debugger's backtrace
    call boot_enter             // does not return

    .text

#include "exception_stubs.S"

exception:
    movq %rsp, %rdi
    andq $-16, %rsp
    cld
    call boot_exception         // does not return, so no register is saved

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 64-bit code
    .quad 0x00cf93000000ffff    // data
    .quad 0x00cf9b000000ffff    // 32-bit code
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .quad gdt                   // in 32 bits its lower half
compatibility:
    .long leave_long_mode
    .word 24

    .bss
    .balign 4096
    .globl boot_page_map
boot_page_map: .skip 4096
pdpt:        .skip 4096
directories: .skip 4 * 4096
stack:       .skip 64 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
