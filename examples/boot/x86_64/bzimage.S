// SPDX-License-Identifier: MIT
// A bzImage around a guest's image, for monitors and boot loaders that accept only Linux kernels: boot sector and setup
// header, code for real mode (QEMU, GRUB's linux16), then a head that moves the image to its link address and enters it
// as the loader would. tools/boot-image assembles this, with these symbols: IMAGE_AT, IMAGE_SIZE, MEMORY_END, ENTRY32,
// ENTRY64.
// Names of fields: Linux, Documentation/arch/x86/boot.rst.

    .set SECTOR, 512
    .set SETUP_SECTORS, 8
    .set LOADED_AT, 0x100000
    .set ALIGNMENT, 0x1000000   // a loader's other choice, above the memory of the image after its move
    .set HEAD_BYTES, 0x400      // of the head: 32 bits from its start, 64 bits from 0x200 on

#define OF(place) ((place) - start)  // a number: the address itself would need a linker

    .text
    .code16
start:
    .org 0x1f1
    .byte SETUP_SECTORS         // setup_sects
    .word 0                     // root_flags
    .long (HEAD_BYTES + IMAGE_SIZE + 15) / 16  // syssize
    .word 0, 0xffff, 0          // ram_size, vid_mode, root_dev
    .word 0xaa55                // boot_flag
    .org 0x200
    jmp 1f                      // jump
    .org 0x202
    .ascii "HdrS"
    .word 0x20c                 // version
    .long 0                     // realmode_swtch
    .word 0, 0                  // start_sys_seg, kernel_version
    .byte 0, 1                  // type_of_loader, loadflags: loaded high
    .word 0                     // setup_move_size
    .long LOADED_AT             // code32_start
    .long 0, 0, 0               // ramdisk_image, ramdisk_size, bootsect_kludge
    .word 0                     // heap_end_ptr
    .byte 0, 0                  // ext_loader_ver, ext_loader_type
    .long 0                     // cmd_line_ptr
    .long 0x7fffffff            // initrd_addr_max
    .long ALIGNMENT             // kernel_alignment
    .byte 1, 24                 // relocatable_kernel, which Alioth requires; min_alignment
    .word 1                     // xloadflags: has an entry for 64 bits
    .long 2047                  // cmdline_size
    .long 0                     // hardware_subarch
    .quad 0                     // hardware_subarch_data
    .long 0, 0                  // payload_offset, payload_length
    .quad 0                     // setup_data
    .quad ALIGNMENT             // pref_address
    .long MEMORY_END - LOADED_AT  // init_size
    .long 0                     // handover_offset

1:  pushw %ds                   // CS begins a sector after the other segments
    pushw $OF(real_mode)
    lretw

    // Real mode. DS and the others point to the boot sector, whose page becomes the zero page. This code writes the
    // memory map to it, between 0x2d0 and 0xd00, so the code is after that range.
    .org 0x1000
real_mode:
    cld
    movw %ds, %ax
    movw %ax, %es
    movw $0x2d0, %di            // e820_table
    xorl %ebx, %ebx
1:  movl $0xe820, %eax
    movl $0x534d4150, %edx      // "SMAP"
    movl $20, %ecx
    int $0x15
    jc 2f
    cmpl $0x534d4150, %eax
    jne 2f
    addw $20, %di
    incb 0x1e8                  // e820_entries
    cmpb $128, 0x1e8
    je 2f
    testl %ebx, %ebx
    jnz 1b

2:  cli
    inb $0x92, %al              // address line 20
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    xorl %esi, %esi
    movw %ds, %si
    shll $4, %esi               // the zero page
    leal OF(gdt)(%esi), %eax
    movl %eax, OF(gdt_at)
    lgdt OF(gdt_pointer)
    leal OF(protected_mode)(%esi), %eax
    movl %eax, OF(far_offset)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl *OF(far_offset)           // the jump flushes instructions decoded for real mode

    .code32
protected_mode:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl 0x214(%esi), %eax      // code32_start
    jmp *%eax

    .balign 8
gdt:
    .quad 0, 0
    .quad 0x00cf9b000000ffff    // 0x10: code
    .quad 0x00cf93000000ffff    // 0x18: data
gdt_pointer:
    .word gdt_pointer - gdt - 1
gdt_at:
    .long 0
far_offset:
    .long 0
    .word 0x10

    // The head. ESI or RSI points to the zero page, whose field `scratch` is the only stack.
    .org (SETUP_SECTORS + 1) * SECTOR
head:
    .code32
    cld
    leal 0x1e8(%esi), %esp
    call 1f
1:  popl %ebp
    leal HEAD_BYTES - (1b - head)(%ebp), %edi  // the image at its load address
    movl %esi, %edx
    movl %edi, %esi
    movl $IMAGE_AT, %edi
    movl $(IMAGE_SIZE + 3) / 4, %ecx
    cmpl %edi, %esi
    jae 2f
    leal -4(%esi,%ecx,4), %esi  // upwards, so the last word first
    leal -4(%edi,%ecx,4), %edi
    std
2:  rep movsl
    cld
    movl %edx, %esi
    movl $ENTRY32, %eax
    jmp *%eax

    .org (SETUP_SECTORS + 1) * SECTOR + 0x200
    .code64
    cld
    leaq head(%rip), %rdi
    addq $HEAD_BYTES, %rdi
    movq %rsi, %rdx
    movq %rdi, %rsi
    movl $IMAGE_AT, %edi
    movl $(IMAGE_SIZE + 7) / 8, %ecx
    cmpq %rdi, %rsi
    jae 1f
    leaq -8(%rsi,%rcx,8), %rsi
    leaq -8(%rdi,%rcx,8), %rdi
    std
1:  rep movsq
    cld
    movq %rdx, %rsi
    movl $ENTRY64, %eax
    jmp *%rax

    .org (SETUP_SECTORS + 1) * SECTOR + HEAD_BYTES
