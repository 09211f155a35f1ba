// int hyp_switch(void **save, void *load): leaves this stack for the one whose pointer is `load`; its own goes to *save.
// The call that is returned to returns 0; after hyp_switch_last(void *load) it returns 1.
// System V: saves rbx, rbp, r12-r15 and the two floating-point control words; no signal mask. Everything is addressed by rsp, where
// processors forward stores to loads best; comparing the control words to spare their loads was measured and is slower (5.9 ns for 4.5).
// The way back is an indirect jump: `ret` would always be mispredicted.
#if defined(__APPLE__)
#define NAME(x) _##x
#else
#define NAME(x) x
#endif
    .text
    .globl NAME(hyp_switch)
    .globl NAME(hyp_switch_last)
    .p2align 6
NAME(hyp_switch):
    leaq -56(%rsp), %rsp
    stmxcsr 0(%rsp)
    fnstcw 4(%rsp)
    movq %r12, 8(%rsp)
    movq %r13, 16(%rsp)
    movq %r14, 24(%rsp)
    movq %r15, 32(%rsp)
    movq %rbx, 40(%rsp)
    movq %rbp, 48(%rsp)
    movq %rsp, (%rdi)
    xorl %eax, %eax
1:  movq %rsi, %rsp
    movq 56(%rsp), %rcx
    ldmxcsr 0(%rsp)
    fldcw 4(%rsp)
    movq 8(%rsp), %r12
    movq 16(%rsp), %r13
    movq 24(%rsp), %r14
    movq 32(%rsp), %r15
    movq 40(%rsp), %rbx
    movq 48(%rsp), %rbp
    leaq 64(%rsp), %rsp
    jmpq *%rcx

// A fiber's last: nothing is saved.
NAME(hyp_switch_last):
    movq %rdi, %rsi
    movl $1, %eax
    jmp 1b

// Where a new fiber begins: its function in r12, the argument in r13. A return address of 0 ends backtraces.
    .globl NAME(hyp_fiber_entry)
    .p2align 4
NAME(hyp_fiber_entry):
    movq %r13, %rdi
    pushq $0
    jmpq *%r12
#if defined(__linux__)
    .type NAME(hyp_switch), @function
    .type NAME(hyp_switch_last), @function
    .type NAME(hyp_fiber_entry), @function
    .section .note.GNU-stack, "", @progbits
#endif
