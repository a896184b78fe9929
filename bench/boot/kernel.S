// SPDX-License-Identifier: MIT
// The kernel that loading.py has loaded: a bzImage whose first two instructions write to the debug port. It then adds up every byte of
// itself and of its initrd, writes whether the sums are right, and ends the machine. loading.py assembles it, fills in the sums, and
// appends data.
// Names of fields: Linux, Documentation/arch/x86/boot.rst.

    .set SETUP_SECTORS, 7
    .set CODE_AT, (SETUP_SECTORS + 1) * 512
    .set SUMS, 0x300            // in the code: the words after this head, their two sums, the two sums of the initrd
    .set HEAD_BYTES, 0x400      // of the code
    .set STACK, 0x7000          // no loader uses it after the jump

    .text
    .code32
start:
    .org 0x1f1
    .byte SETUP_SECTORS         // setup_sects
    .word 0                     // root_flags
    .long SYSSIZE               // syssize
    .word 0, 0xffff, 0          // ram_size, vid_mode, root_dev
    .word 0xaa55                // boot_flag
    .byte 0xeb, 0x66            // jump
    .ascii "HdrS"
    .word 0x20f                 // version
    .long 0                     // realmode_swtch
    .word 0, 0                  // start_sys_seg, kernel_version
    .byte 0, 1                  // type_of_loader, loadflags: loaded high
    .word 0                     // setup_move_size
    .long 0x100000              // code32_start
    .long 0, 0, 0               // ramdisk_image, ramdisk_size, bootsect_kludge
    .word 0                     // heap_end_ptr
    .byte 0, 0                  // ext_loader_ver, ext_loader_type
    .long 0                     // cmd_line_ptr
    .long 0x7fffffff            // initrd_addr_max
    .long 0x200000              // kernel_alignment
    .byte 1, 21                 // relocatable_kernel, min_alignment
    .word 3                     // xloadflags: has an entry for 64 bits, and may lie above 4 GiB
    .long 2047                  // cmdline_size
    .long 0                     // hardware_subarch
    .quad 0                     // hardware_subarch_data
    .long 0, 0                  // payload_offset, payload_length
    .quad 0                     // setup_data
    .quad 0x1000000             // pref_address
    .long SYSSIZE * 16          // init_size
    .long 0                     // handover_offset

    // These instructions have the same encoding for 32 and 64 bits. ESI or RSI: the first word; ECX: the number of words; EBX and EDX
    // become the sums.
    .macro add_up
    xorl %ebx, %ebx
    xorl %edx, %edx
1:  .byte 0xad                  // lodsl
    addl %eax, %ebx
    addl %ebx, %edx
    loop 1b
    .endm

    // Writes 'Y' if the last comparison was equal, else 'N', and ends QEMU.
    .macro report
    movb $'N', %al
    jne 1f
    movb $'Y', %al
1:  outb %al, $0xe9
    xorl %eax, %eax
    outb %al, $0xf4
2:  jmp 2b
    .endm

    .org CODE_AT
head:
    .code32
    movb $'K', %al
    outb %al, $0xe9
    cld
    movl %esi, %ebp             // the zero page
    movl $STACK, %esp
    call 1f
1:  popl %edi
    subl $(1b - head), %edi
    leal HEAD_BYTES(%edi), %esi
    movl SUMS(%edi), %ecx
    add_up
    cmpl SUMS + 4(%edi), %ebx
    jne 3f
    cmpl SUMS + 8(%edi), %edx
    jne 3f
    movl 0x218(%ebp), %esi
    movl 0x21c(%ebp), %ecx
    shrl $2, %ecx
    add_up
    cmpl SUMS + 12(%edi), %ebx
    jne 3f
    cmpl SUMS + 16(%edi), %edx
3:  report

    .org CODE_AT + 0x200
    .code64
    movb $'K', %al
    outb %al, $0xe9
    cld
    movq %rsi, %rbp
    leaq head(%rip), %rdi
    leaq HEAD_BYTES(%rdi), %rsi
    movl SUMS(%rdi), %ecx
    add_up
    cmpl SUMS + 4(%rdi), %ebx
    jne 3f
    cmpl SUMS + 8(%rdi), %edx
    jne 3f
    movl 0x218(%rbp), %esi
    movl 0x21c(%rbp), %ecx
    shrl $2, %ecx
    add_up
    cmpl SUMS + 12(%rdi), %ebx
    jne 3f
    cmpl SUMS + 16(%rdi), %edx
3:  report

    .org CODE_AT + SUMS
    .zero HEAD_BYTES - SUMS
