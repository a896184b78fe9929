// SPDX-License-Identifier: MIT
// One stub per exception, for start.S of both widths, which has `exception`. The stubs are 16 bytes apart: machine.cpp
// computes their addresses. The processor pushes an error code for some exceptions only; the other stubs push a zero, so
// that all frames have one layout.
    .balign 16
    .globl boot_exception_stubs
boot_exception_stubs:
    .set .Lvector, 0
    .rept 32
    .balign 16
    .if !((0x60227d00 >> .Lvector) & 1)
    push $0                     // of a register's width, as the next one
    .endif
    push $.Lvector
    jmp exception
    .set .Lvector, .Lvector + 1
    .endr
