// SPDX-License-Identifier: MIT
// The code of a disk's boot sector: 440 bytes, which a BIOS loads to 0x7c00 and enters in real mode with the drive's
// number in DL. It reads the loader, a bzImage (examples/boot/x86_64/bzimage.S) with a complete header, by INT 13h to
// LOADED_AT, and enters it by Linux's boot protocol. The bzImage reads the memory map from the BIOS. Afterwards no BIOS
// call reads the disk. tools/bootloader-install assembles this file, and fills in the fields at its end.
// Interfaces: Phoenix Enhanced Disk Drive Specification 1.1 (AH=41h, 42h); Linux, Documentation/arch/x86/boot.rst.

    .set ORIGIN, 0x7c00
    .set SECTOR, 512
    .set LOADED_AT, 0x10000
    .set AT_ONCE, 64            // sectors: 32 KiB, so that no read crosses 64 KiB

#define OF(place) (ORIGIN + (place) - start)  // a number: the address itself would need a linker

    .text
    .code16
start:
    jmp 1f
    .org 3
    .ascii "virtio boot 1"      // the mark by which tools/bootloader-install recognizes its boot sectors
1:  cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $ORIGIN, %sp
    sti
    cld
    ljmp $0, $OF(2f)            // some BIOSes enter at 0x07c0:0
2:  movb %dl, OF(drive)

    movb $0x41, %ah             // check for the extensions
    movw $0x55aa, %bx
    int $0x13
    movw $OF(no_extensions), %si
    jc fail
    cmpw $0xaa55, %bx
    jne fail
    testb $1, %cl
    jz fail

    movw OF(sectors), %ax
    movw %ax, OF(left)
    movl OF(first), %eax
    movl %eax, OF(sector)
    movl OF(first) + 4, %eax
    movl %eax, OF(sector) + 4
3:  movw OF(left), %ax
    testw %ax, %ax
    jz 5f
    cmpw $AT_ONCE, %ax
    jbe 4f
    movw $AT_ONCE, %ax
4:  movw %ax, OF(count)
    pushw %ax
    movb $0x42, %ah
    movb OF(drive), %dl
    movw $OF(packet), %si
    int $0x13
    popw %ax
    movw $OF(read_error), %si
    jc fail
    subw %ax, OF(left)
    movzwl %ax, %eax
    addl %eax, OF(sector)
    adcl $0, OF(sector) + 4
    shlw $5, %ax                // paragraphs
    addw %ax, OF(segment)
    jmp 3b

    // The sum of all words of 4 bytes.
5:  xorl %edx, %edx
    movw $LOADED_AT >> 4, %bx
    movw OF(sectors), %cx
6:  movw %bx, %es
    xorw %di, %di
7:  addl %es:(%di), %edx
    addw $4, %di
    cmpw $SECTOR, %di
    jne 7b
    addw $SECTOR >> 4, %bx
    loop 6b
    cmpl OF(sum), %edx
    movw $OF(damaged), %si
    jne fail

    movw $LOADED_AT >> 4, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    ljmp $(LOADED_AT >> 4) + (SECTOR >> 4), $0

    // SI points to the error message, for the screen and the first serial port. Then the BIOS tries its next disk.
fail:
    pushw %si
    movw $OF(name), %si
    call print
    popw %si
    call print
    int $0x18
8:  hlt
    jmp 8b

print:
    lodsb
    testb %al, %al
    jz 9f
    pushw %ax
    movb $0x0e, %ah
    movw $7, %bx
    int $0x10
    popw %ax
    movb $1, %ah
    xorw %dx, %dx
    int $0x14
    jmp print
9:  ret

name:
    .asciz "virtio boot: "
no_extensions:
    .asciz "no LBA in BIOS\r\n"
read_error:
    .asciz "read error\r\n"
damaged:
    .asciz "loader damaged\r\n"

drive:
    .byte 0
left:
    .word 0
    .balign 4
packet:                         // disk address packet
    .byte 16, 0
count:
    .word 0
    .word 0
segment:
    .word LOADED_AT >> 4
sector:
    .quad 0

    .org 424                    // to be filled in
first:
    .quad 0                     // the loader's first sector
sectors:
    .word 0
    .word 0
sum:
    .long 0
    .org 440                    // the disk's signature and the partition table follow
