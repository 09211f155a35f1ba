// int hyp_switch(void **save, void *load), void hyp_switch_last(void *load): as in switch_x86_64.S. AAPCS64: x19-x28, the frame pointer, the link register, the low
// halves of v8-v15, and the floating-point control register, written only when it differs.
#if defined(__APPLE__)
#define NAME(x) _##x
#else
#define NAME(x) x
#endif
    .text
    .globl NAME(hyp_switch)
    .globl NAME(hyp_switch_last)
    .p2align 4
NAME(hyp_switch):
    sub sp, sp, #176
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mrs x9, fpcr
    str x9, [sp, #160]
    mov x10, sp
    str x10, [x0]
    mov x0, #0
2:  mov sp, x1
    ldr x11, [sp, #160]
    cmp x9, x11
    b.eq 1f
    msr fpcr, x11
1:  ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #176
    br x30

NAME(hyp_switch_last):
    mov x1, x0
    mov x0, #1
    mrs x9, fpcr
    b 2b

// Where a new fiber begins: its function in x19, the argument in x20.
    .globl NAME(hyp_fiber_entry)
    .p2align 4
NAME(hyp_fiber_entry):
    mov x0, x20
    mov x29, xzr
    mov x30, xzr
    br x19
#if defined(__linux__)
    .type NAME(hyp_switch), %function
    .type NAME(hyp_switch_last), %function
    .type NAME(hyp_fiber_entry), %function
    .section .note.GNU-stack, "", %progbits
#endif
