# The C stack's pointer, which C can not name. (Locals whose address is taken live on that stack, in linear memory.)
    .globaltype __stack_pointer, i32

    .section .text.hyp_stack_get,"",@
    .globl hyp_stack_get
    .type hyp_stack_get,@function
hyp_stack_get:
    .functype hyp_stack_get () -> (i32)
    global.get __stack_pointer
    end_function

    .section .text.hyp_stack_set,"",@
    .globl hyp_stack_set
    .type hyp_stack_set,@function
hyp_stack_set:
    .functype hyp_stack_set (i32) -> ()
    local.get 0
    global.set __stack_pointer
    end_function
