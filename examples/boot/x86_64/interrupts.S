// SPDX-License-Identifier: MIT
// One stub per interrupt vector from 32 to 63, 16 bytes apart, and their common part: it saves the registers that a C++
// function may change, with floating point and SSE, calls boot_interrupt(vector), and returns.

    .text
    .code64
    .balign 16
    .globl boot_interrupt_stubs
boot_interrupt_stubs:
    .set .Lvector, 32
    .rept 32
    .balign 16
    pushq $.Lvector
    jmp interrupt
    .set .Lvector, .Lvector + 1
    .endr

interrupt:
    pushq %rbp
    movq %rsp, %rbp
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    subq $512, %rsp
    andq $-16, %rsp             // required by fxsave and by calls
    fxsave (%rsp)
    movq 8(%rbp), %rdi
    cld
    call boot_interrupt
    fxrstor (%rsp)
    leaq -72(%rbp), %rsp        // the nine registers
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    popq %rbp
    addq $8, %rsp               // the vector
    iretq

    .section .note.GNU-stack, "", @progbits
