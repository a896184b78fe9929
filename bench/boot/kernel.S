// SPDX-License-Identifier: MIT
// The kernel of loading.py: a bzImage and program for UEFI whose first instructions write to the debug port. It then
// adds up every byte of itself and of its initrd, writes whether the sums are right, and ends the machine. Started as a
// program for UEFI, it first requests its initrd, as Linux does, and writes to the debug port again after the initrd is
// in its own memory.
// loading.py assembles it, fills in the sums, and appends data.
// Names of fields: Linux, Documentation/arch/x86/boot.rst and admin-guide/efi-stub.rst; PE format; UEFI Specification
// 2.10, 4.4 and 13.2.

    .set SETUP_SECTORS, 7
    .set CODE_AT, (SETUP_SECTORS + 1) * 512
    .set SUMS, 0x3e0            // in the code: the words after this head, their two sums, the two sums of the initrd
    .set HEAD_BYTES, 0x400      // of the code
    .set UEFI_ENTRY, 0x280      // in the code
    .set STACK, 0x7000          // no loader uses it after the jump

    .text
    .code32
start:
    .ascii "MZ"
    .org 0x3c
    .long 0x40                  // where the PE header is
    .ascii "PE\0\0"
    .word 0x8664, 1             // x86-64; one section
    .long 0, 0, 0
    .word 160, 0x0206           // bytes of the next header; runs anywhere
    .word 0x20b, 0              // PE32+
    .long BYTES - CODE_AT, 0, 0 // code, data, zeros
    .long CODE_AT + UEFI_ENTRY, CODE_AT
    .quad 0                     // base
    .long 4096, 512             // alignment in memory and in the file
    .long 0, 0, 0, 0            // versions
    .long BYTES, CODE_AT, 0     // memory, headers, sum
    .word 10, 0                 // application
    .quad 0, 0, 0, 0            // stacks, heaps
    .long 0, 6                  // six directories, all empty
    .zero 48
    .ascii ".text\0\0\0"
    .long BYTES - CODE_AT, CODE_AT, BYTES - CODE_AT, CODE_AT
    .long 0, 0, 0, 0xe0000020   // code, executable, readable, writable
    .org 0x1f1
    .byte SETUP_SECTORS         // setup_sects
    .word 0                     // root_flags
    .long (BYTES - CODE_AT) / 16  // syssize
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
    .long BYTES - CODE_AT       // init_size
    .long 0                     // handover_offset

    // These instructions have the same encoding for 32 and 64 bits. ESI or RSI: the first word; ECX: the number of
    // words; EBX and EDX become the sums.
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
    movl 0x218(%rsi), %ebp
    movl 0x21c(%rsi), %r12d
sum64:                          // RBP: the initrd; R12: its bytes
    leaq head(%rip), %rdi
    leaq HEAD_BYTES(%rdi), %rsi
    movl SUMS(%rdi), %ecx
    add_up
    cmpl SUMS + 4(%rdi), %ebx
    jne 3f
    cmpl SUMS + 8(%rdi), %edx
    jne 3f
    movq %rbp, %rsi
    movl %r12d, %ecx
    shrl $2, %ecx
    add_up
    cmpl SUMS + 12(%rdi), %ebx
    jne 3f
    cmpl SUMS + 16(%rdi), %edx
3:  report

    // RDX points to the system table. Arguments are in RCX, RDX, R8, R9 and on the stack, after room for those four.
    .org CODE_AT + UEFI_ENTRY
    movb $'E', %al
    outb %al, $0xe9
    subq $0x58, %rsp
    movq 96(%rdx), %rbx         // boot services
    leaq load_file2(%rip), %rcx
    leaq 0x38(%rsp), %rdx
    leaq path(%rip), %rax
    movq %rax, (%rdx)
    leaq 0x40(%rsp), %r8
    callq *184(%rbx)            // LocateDevicePath(protocol, &path, &handle)
    testq %rax, %rax
    jnz 9f
    movq 0x40(%rsp), %rcx
    leaq load_file2(%rip), %rdx
    leaq 0x30(%rsp), %r8
    callq *152(%rbx)            // HandleProtocol(handle, protocol, &interface)
    testq %rax, %rax
    jnz 9f
    movq $0, 0x48(%rsp)
    xorl %eax, %eax
    call load                   // learns the size
    movl $0, %ecx               // anywhere
    movl $2, %edx               // loader's data
    movq 0x48(%rsp), %r8
    addq $4095, %r8
    shrq $12, %r8
    leaq 0x50(%rsp), %r9
    callq *40(%rbx)             // AllocatePages(where, type, count, &address)
    testq %rax, %rax
    jnz 9f
    movq 0x50(%rsp), %rax
    call load
    testq %rax, %rax
    jnz 9f
    movb $'K', %al
    outb %al, $0xe9
    cld
    movq 0x50(%rsp), %rbp
    movq 0x48(%rsp), %r12
    jmp sum64
9:  orb $1, %al                 // not equal
    report

load:                           // RAX: where to. LoadFile(interface, path, 0, &size, address)
    subq $0x28, %rsp
    movq %rax, 0x20(%rsp)
    movq 0x60(%rsp), %rcx       // the caller's 0x30
    leaq end(%rip), %rdx
    xorl %r8d, %r8d
    leaq 0x78(%rsp), %r9        // the caller's 0x48
    callq *(%rcx)
    addq $0x28, %rsp
    ret

load_file2:
    .long 0x4006c0c1
    .word 0xfcb3, 0x403e
    .byte 0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d
path:                           // Linux's device path for an initrd
    .byte 4, 3, 20, 0
    .long 0x5568e427
    .word 0x68fc, 0x4f3d
    .byte 0xac, 0x74, 0xca, 0x55, 0x52, 0x31, 0xcc, 0x68
end:
    .byte 0x7f, 0xff, 4, 0

    .org CODE_AT + SUMS
    .zero HEAD_BYTES - SUMS
