#include "chat_format.h"

#include <string.h>

static const chat_format formats[] = {
    {"chatml",
     "<|im_start|>",
     "",
     {"<|im_start|>system\n", "<|im_end|>\n"},
     {"<|im_start|>user\n", "<|im_end|>\n"},
     {"<|im_start|>assistant\n", "<|im_end|>\n"}},
    {"llama3",
     "<|start_header_id|>",
     "<|begin_of_text|>",
     {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
    {"gemma",
     "<start_of_turn>",
     "<bos>",
     {"<start_of_turn>user\n", "<end_of_turn>\n"},
     {"<start_of_turn>user\n", "<end_of_turn>\n"},
     {"<start_of_turn>model\n", "<end_of_turn>\n"}},
    {"phi3",
     "<|end|>",
     "",
     {"<|system|>\n", "<|end|>\n"},
     {"<|user|>\n", "<|end|>\n"},
     {"<|assistant|>\n", "<|end|>\n"}},
    {"zephyr",
     "<|user|>",
     "",
     {"<|system|>\n", "</s>\n"},
     {"<|user|>\n", "</s>\n"},
     {"<|assistant|>\n", "</s>\n"}},
    {"llama2",
     "[INST]",
     "<s>",
     {"[INST] <<SYS>>\n", "\n<</SYS>>\n\n"},
     {"[INST] ", " [/INST]"},
     {" ", " </s>"}},
};

const chat_format *chat_format_of(const char *text, size_t bytes) {
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        size_t n = strlen(formats[f].marker);
        for (size_t at = 0; at + n <= bytes; at++)
            if (memcmp(text + at, formats[f].marker, n) == 0) return &formats[f];
    }
    return NULL;
}
