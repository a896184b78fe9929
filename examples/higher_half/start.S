// SPDX-License-Identifier: MIT
// A kernel in the higher half. A PVH loader enters in 32-bit protected mode with paging off and EBX pointing to its
// start_info. The image is linked at IMAGE and loaded at 1 MiB, memory is mapped again from DIRECT on, and devices are
// mapped at their first use (DEVICES, board.hpp). After the jump to the higher half the lower half is unmapped, so a
// physical address that is used as a pointer faults.

#define IMAGE  0xffffffff80000000
#define PHYSICAL(symbol) (symbol - IMAGE)
#define PRESENT_WRITABLE 0x3
#define LARGE_PAGE       0x83

    .section .note.pvh, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18                    // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad PHYSICAL(start)

    .section .text.start, "ax"
    .code32
    .globl start
start:
    cld
    movl %ebx, %esi

    // DIRECT is entry 256 of the top level, DEVICES entry 384, IMAGE entry 511; entry 0 is removed later.
    movl $(PHYSICAL(direct_pdpt) + PRESENT_WRITABLE), %eax
    movl %eax, PHYSICAL(pml4)
    movl %eax, PHYSICAL(pml4) + 256 * 8
    movl $(PHYSICAL(image_pdpt) + PRESENT_WRITABLE), PHYSICAL(pml4) + 511 * 8
    movl $(PHYSICAL(directories) + PRESENT_WRITABLE), PHYSICAL(image_pdpt) + 510 * 8
    movl $(PHYSICAL(device_pdpt) + PRESENT_WRITABLE), PHYSICAL(pml4) + 384 * 8
    movl $(PHYSICAL(device_pages) + PRESENT_WRITABLE), PHYSICAL(device_pdpt)

    // 4 GiB in pages of 2 MiB: all memory that this kernel uses.
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    orl $LARGE_PAGE, %eax
    movl %eax, PHYSICAL(directories)(,%ecx,8)
    incl %ecx
    cmpl $2048, %ecx
    jne 1b
    xorl %ecx, %ecx
2:  movl %ecx, %eax
    shll $12, %eax
    addl $(PHYSICAL(directories) + PRESENT_WRITABLE), %eax
    movl %eax, PHYSICAL(direct_pdpt)(,%ecx,8)
    incl %ecx
    cmpl $4, %ecx
    jne 2b

    movl $PHYSICAL(pml4), %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax            // PAE; OSFXSR and OSXMMEXCPT, which SSE needs
    movl %eax, %cr4
    movl $0xc0000080, %ecx      // EFER
    rdmsr
    orl $0x100, %eax            // long mode enable
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax            // EM and TS off: SSE instructions run rather than trap
    orl $0x80000002, %eax       // paging, and MP
    movl %eax, %cr0
    lgdt PHYSICAL(gdt_pointer)
    ljmp $8, $PHYSICAL(start64)

    .code64
start64:
    movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movabsq $higher, %rax
    jmpq *%rax
    .text
higher:
    movq $stack_top, %rsp
    movq $0, pml4
    movq %cr3, %rax
    movq %rax, %cr3
    movl %esi, %edi             // start_info, a physical address
    xorl %ebp, %ebp
    call kernel_main            // does not return

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 64-bit code
    .quad 0x00cf93000000ffff    // data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long PHYSICAL(gdt)

    .bss
    .balign 4096
pml4:        .skip 4096
direct_pdpt: .skip 4096
image_pdpt:  .skip 4096
device_pdpt: .skip 4096
    .globl device_pages
device_pages: .skip 4096
directories: .skip 4 * 4096
stack:       .skip 64 * 1024
stack_top:

    .section .note.GNU-stack, "", @progbits
