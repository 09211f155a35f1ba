// Status, conversions, elementary functions, hashes, formatting, memory.
#include "../src/base/fmath.h"
#include "../src/base/sha256.h"
#include "../src/base/status.h"
#include "../src/base/text.h"
#include "../src/mem/buffer.h"
#include "../src/text/unicode.h"
#include "harness.h"

#include <math.h>
#include <string.h>

static void status_names(void) {
    CHECK(strcmp(hyp_status_name(HYP_OK), "HYP_OK") == 0);
    CHECK(strcmp(hyp_status_name(HYP_E_CANCELLED), "HYP_E_CANCELLED") == 0);
    CHECK(strcmp(hyp_status_name((hyp_status)-99), "HYP_E_UNKNOWN") == 0);
    hyp_fault fault;
    CHECK(hyp_fail(&fault, HYP_E_IO, "%s %u", "part", 7u) == HYP_E_IO &&
          strcmp(fault.text, "part 7") == 0);
}

static void half_precision(void) {
    for (uint32_t h = 0; h < 0x10000; h++) { // every half survives the round trip, NaN as NaN
        float f = hyp_f16_to_f32((uint16_t)h);
        if (f != f) CHECK((h & 0x7C00) == 0x7C00 && (h & 0x3FF));
        else CHECK_MSG(hyp_f32_to_f16(f) == h, "%04x", h);
    }
    for (uint32_t h = 0; h < 0x7BFF; h++) { // halfway goes to even, beside it to the nearer
        float a = hyp_f16_to_f32((uint16_t)h), b = hyp_f16_to_f32((uint16_t)(h + 1)),
              middle = (a + b) / 2;
        CHECK(hyp_f32_to_f16(middle) == (h & 1 ? h + 1 : h));
        CHECK(hyp_f32_to_f16(nextafterf(middle, 0)) == h);
        CHECK(hyp_f32_to_f16(nextafterf(middle, 1e9f)) == h + 1);
    }
    CHECK(hyp_f32_to_f16(65520.0f) == 0x7C00 && hyp_f32_to_f16(-1e10f) == 0xFC00);
}

static void elementary_functions(void) {
    for (int i = 0; i < 200000; i++) {
        float x = random_float() * 87;
        double want = exp((double)x);
        CHECK_MSG(fabs((double)hyp_expf(x) - want) <= 4e-7 * want, "exp(%g)", (double)x);
        CHECK_MSG(fabs((double)hyp_tanhf(x / 8) - tanh((double)x / 8)) <= 4e-7, "tanh(%g)",
                  (double)x / 8);
        double y = exp((double)random_float() * 300), z = (double)random_float();
        CHECK_MSG(fabs(hyp_log(y) - log(y)) <= 1e-14 * fmax(1, fabs(log(y))), "log(%g)", y);
        CHECK_MSG(fabs(hyp_pow(10000.0, z) / pow(10000.0, z) - 1) <= 1e-13, "pow(1e4, %g)", z);
        double angle = (double)random_float() * (i % 2 ? 1e6 : HYP_ANGLE_MOST), s, c;
        hyp_sincos(angle, &s, &c);
        CHECK_MSG(fabs(s - sin(angle)) <= 1e-11 && fabs(c - cos(angle)) <= 1e-11, "sincos(%g)",
                  angle);
    }
    CHECK(hyp_expf(0) == 1 && hyp_expf(-INFINITY) == 0 && hyp_expf(INFINITY) == INFINITY &&
          isnan(hyp_expf(NAN)));
    CHECK(hyp_rintf(2.5f) == 2 && hyp_rintf(3.5f) == 4 && hyp_rintf(-0.5f) == 0);
}

// Numbers from files reach these functions: each has an answer for whatever they are.
static void elementary_functions_of_anything(void) {
    const double odd[] = {0,
                          -0.0,
                          NAN,
                          INFINITY,
                          -INFINITY,
                          1e-310,
                          -1e-310,
                          5e-324,
                          1e308,
                          -1e308,
                          1e19,
                          -1e19,
                          709.5,
                          -709.5,
                          1e-30,
                          HYP_ANGLE_MOST,
                          -HYP_ANGLE_MOST,
                          1.1e9,
                          -1.1e9,
                          0x1p63,
                          0x1p64,
                          -1,
                          88.7,
                          89,
                          0x1p-126,
                          0x1p-149,
                          3e38,
                          -3e38,
                          16777216,
                          1e-45,
                          87.4,
                          -87.4,
                          0x1p52,
                          0x1.8p52,
                          0x1p53,
                          2};
    enum { N = sizeof odd / sizeof *odd };
    for (int i = 0; i < N + 20000; i++) {
        uint64_t bits = (uint64_t)random_u32() << 32 | random_u32();
        double x, s, c;
        memcpy(&x, &bits, 8);
        if (i < N) x = odd[i];
        hyp_sincos(x, &s, &c);
        if (fabs(x) <= HYP_ANGLE_MOST)
            CHECK_MSG(fabs(s - sin(x)) <= 1e-11 && fabs(c - cos(x)) <= 1e-11, "sincos(%g)", x);
        else CHECK_MSG(isnan(s) && isnan(c), "sincos(%g)", x);
        double l = hyp_log(x), p = hyp_pow(2, x), want = pow(2, x);
        if (isnan(x) || x < 0) CHECK_MSG(isnan(l), "log(%g)", x);
        else
            CHECK_MSG(l == log(x) || fabs(l - log(x)) <= 1e-14 * fmax(1, fabs(log(x))),
                      "log(%g) is %g", x, l);
        if (isnan(x)) CHECK(isnan(p));
        else if (want < 1e-307 || want > 8e307)
            CHECK_MSG(want < 1 ? p <= 1.001e-307 : p > 7.9e307, "2^%g is %g", x, p);
        else CHECK_MSG(fabs(p / want - 1) <= 1e-12, "2^%g is %g", x, p);
        for (int k = 0; k < N; k++) {
            double q = hyp_pow(x, odd[k]);
            CHECK_MSG(!(x < 0 || isnan(x) || isnan(odd[k])) || isnan(q), "%g^%g is %g", x, odd[k],
                      q);
        }
        float y = i < N ? (float)x : hyp_bits_f32((uint32_t)bits), e = hyp_expf(y),
              t = hyp_tanhf(y);
        CHECK_MSG(isnan(y) ? isnan(e) && isnan(t) : e >= 0 && fabs((double)t) <= 1, "%g",
                  (double)y);
        int r = hyp_round_within(y, -127, 127, 5);
        CHECK(r >= -127 && r <= 127 && (!isnan(y) || r == 5));
    }
}

static void formatting(void) {
    char out[64];
    CHECK(hyp_format_text(out, sizeof out, "%s|%.*s|%d|%u|%llu|%zu|%x|%c|%%|%5d|%03d", "ab", 2,
                          "xyz", -7, 7u, 18446744073709551615ull, (size_t)9, 255u, 'q', -42,
                          5) == strlen(out));
    CHECK_MSG(strcmp(out, "ab|xy|-7|7|18446744073709551615|9|ff|q|%|  -42|005") == 0, "%s", out);
    CHECK(hyp_format_text(out, 4, "abcdef") == 6 && strcmp(out, "abc") == 0);
    static const struct {
        double value;
        const char *text;
    } reals[] = {
        {0, "0"},        {1.5, "1.5"},        {-0.001, "-0.001"},        {123456789, "123456789"},
        {1e21, "1e+21"}, {2.5e-7, "2.5e-07"}, {1e-5f, "9.99999975e-06"}, {10000.25, "10000.25"},
        {100, "100"}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        size_t n = hyp_format_real(out, reals[i].value);
        CHECK_MSG(n == strlen(reals[i].text) && memcmp(out, reals[i].text, n) == 0, "%s for %.*s",
                  out, (int)n, reals[i].text);
    }
}

static void code_points(void) {
    char utf8[4];
    uint32_t length;
    for (uint32_t r = 0; r < 0x110000; r++) {
        if (r >= 0xD800 && r < 0xE000) continue;
        uint32_t n = hyp_rune_encode(r, utf8);
        CHECK(hyp_rune_decode(utf8, n, &length) == r && length == n);
        for (uint32_t cut = 1; cut < n; cut++) CHECK(hyp_rune_unfinished(utf8, cut) == cut);
        CHECK(hyp_rune_unfinished(utf8, n) == 0);
    }
    static const char *const bad[] = {
        "\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF", "\xE2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(hyp_rune_decode(bad[i], strlen(bad[i]), &length) == HYP_RUNE_INVALID && length == 1);
    CHECK(hyp_rune_class('A') == HYP_CLASS_UPPER && hyp_rune_class('z') == HYP_CLASS_LOWER &&
          hyp_rune_class('7') == HYP_CLASS_NUMBER && hyp_rune_class(' ') == HYP_CLASS_SPACE &&
          hyp_rune_class('\n') == HYP_CLASS_SPACE);
    CHECK(hyp_rune_class(0x4E2D) == HYP_CLASS_LETTER && hyp_rune_class(0x0301) == HYP_CLASS_MARK &&
          hyp_rune_class(0x2019) == HYP_CLASS_PUNCTUATION &&
          hyp_rune_class(0x20AC) == HYP_CLASS_SYMBOL);
    CHECK(hyp_rune_lower(0x00C9) == 0x00E9 && hyp_rune_base(0x00E9) == 'e' &&
          hyp_rune_lower(0x0416) == 0x0436 && hyp_rune_base(0x1EC7) == 'e' &&
          hyp_rune_lower('a') == 'a');
}

static void arena_under_a_budget(void) {
    hyp_budget budget = {.limit_bytes = 4 << 20};
    hyp_arena arena;
    hyp_arena_init(&arena, &budget);
    uint8_t *blocks[1000];
    size_t sizes[1000], count = 0;
    for (; count < 1000; count++) {
        sizes[count] = random_u32() % (count % 50 == 0 ? 300000 : 3000);
        blocks[count] = hyp_arena_alloc(&arena, sizes[count]);
        if (!blocks[count]) break;
        CHECK((uintptr_t)blocks[count] % 64 == 0);
        for (size_t i = 0; i < sizes[count]; i++) CHECK(blocks[count][i] == 0);
        memset(blocks[count], (int)(count & 255), sizes[count]);
        CHECK(budget.used_bytes <= budget.limit_bytes);
    }
    CHECK_MSG(count < 1000, "the limit never held");
    for (size_t b = 0; b < count; b++)
        for (size_t i = 0; i < sizes[b]; i++)
            CHECK(blocks[b][i] == (b & 255)); // none overlaps another
    CHECK(!hyp_arena_alloc(&arena, SIZE_MAX) && !hyp_arena_alloc(&arena, SIZE_MAX - 100));
    hyp_arena_deinit(&arena);
    CHECK(budget.used_bytes == 0 && budget.peak_bytes > 0);
    hyp_buffer buffer = {.budget = &budget};
    for (uint32_t i = 0; i < 50000; i++) CHECK(hyp_buffer_append(&buffer, &i, sizeof i));
    for (uint32_t i = 0; i < 50000; i++) CHECK(memcmp(buffer.data + i * 4, &i, 4) == 0);
    CHECK(!hyp_buffer_reserve(&buffer, 8 << 20) && buffer.bytes == 200000);
    hyp_buffer_deinit(&buffer);
    CHECK(budget.used_bytes == 0);
}

static void memory_is_given_out_again(void) {
    hyp_budget budget = {0};
    enum { N = 64 };
    void *held[N] = {0};
    size_t sizes[N] = {0};
    for (int round = 0; round < 4000;
         round++) { // any order of map and unmap; what comes is always zeroed and disjoint
        uint32_t i = random_u32() % N;
        if (held[i]) {
            for (size_t k = 0; k < sizes[i]; k += 97)
                CHECK(((uint8_t *)held[i])[k] == (uint8_t)(i + 1));
            hyp_budget_unmap(&budget, held[i], sizes[i]);
            held[i] = NULL;
        } else {
            sizes[i] = 1 + random_u32() % 40000;
            held[i] = hyp_budget_map(&budget, sizes[i]);
            CHECK(held[i]);
            for (size_t k = 0; k < sizes[i]; k++) CHECK(((uint8_t *)held[i])[k] == 0);
            memset(held[i], (int)(i + 1), sizes[i]);
        }
    }
    for (int i = 0; i < N; i++) hyp_budget_unmap(&budget, held[i], sizes[i]);
    CHECK(budget.used_bytes == 0);
}

// The examples of FIPS 180-4 and of NIST's validation suite (SHA256ShortMsg, LongMsg).
static void sha256_of_known_messages(void) {
    static const struct {
        const char *text, *hash;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "m"
         "nopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
        {"\xd3", "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
        {"\x11\xaf", "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"},
        {"\xb4\x19\x0e", "dff2e73091f6c05e528896c4c831b9448653dc2ff043528f6769437bc7b975c2"},
        {"\x74\xba\x25\x21", "b16aa56be3880d18cd41e68384cf1ec8c17680c45a02b1575dc1518923ae8b0e"},
    };
    char hash[HYP_SHA256_HEX];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        hyp_sha256_text(known[i].text, strlen(known[i].text), hash);
        CHECK_MSG(!strcmp(hash, known[i].hash), "message %zu: %s", i, hash);
    }
    static char million[1000000];
    memset(million, 'a', sizeof million);
    hyp_sha256_text(million, sizeof million, hash);
    CHECK(!strcmp(hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    for (size_t bytes = 0; bytes < 300; bytes++) { // in pieces of any size it is the same
        hyp_sha256 state;
        uint8_t sum[HYP_SHA256_BYTES];
        char pieces[HYP_SHA256_HEX];
        hyp_sha256_text(million, bytes, hash);
        hyp_sha256_init(&state);
        for (size_t at = 0; at < bytes;) {
            size_t n = random_u32() % 80;
            if (n > bytes - at) n = bytes - at;
            hyp_sha256_add(&state, million + at, n);
            at += n;
        }
        hyp_sha256_end(&state, sum);
        hyp_sha256_hex(sum, pieces);
        CHECK_MSG(!strcmp(hash, pieces), "%zu bytes", bytes);
    }
}

int main(void) {
    RUN(status_names);
    RUN(sha256_of_known_messages);
    RUN(half_precision);
    RUN(elementary_functions);
    RUN(elementary_functions_of_anything);
    RUN(formatting);
    RUN(code_points);
    RUN(arena_under_a_budget);
    RUN(memory_is_given_out_again);
    return finish();
}
