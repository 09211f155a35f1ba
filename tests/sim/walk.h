#ifndef HYP_TESTS_SIM_WALK_H
#define HYP_TESTS_SIM_WALK_H

#include <stddef.h>
#include <stdint.h>

// Walks all public calls over the model, the bytes of a GGUF file. Ends the program where one is
// not right.
void walk(const uint8_t *model, size_t bytes);

#endif
