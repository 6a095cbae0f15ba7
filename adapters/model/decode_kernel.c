// Adds every token's own low-rank term, y += scale * B A x, reading factors where they lie in the stacks.
// x [tokens, in], y [tokens, out], a [slots, rank, in], b [slots, rank, out]; `run` neighbouring tokens share a slot,
// and a negative slot adds nothing. Sums are in float whatever the storage type.
#include <stdint.h>

typedef uint16_t bf16;

static inline float from_bf16(bf16 value) {
    union { uint32_t bits; float number; } u = {.bits = (uint32_t)value << 16};
    return u.number;
}

// Round to nearest, ties to even; inputs are finite.
static inline bf16 to_bf16(float value) {
    union { float number; uint32_t bits; } u = {.number = value};
    return (bf16)((u.bits + 0x7fffu + ((u.bits >> 16) & 1)) >> 16);
}

static inline float from_float(float value) { return value; }
static inline float to_float(float value) { return value; }

#define DEFINE_ADD_LOW_RANK(TYPE)                                                                                            \
    void add_low_rank_##TYPE(TYPE *y, const TYPE *x, const TYPE *a, const TYPE *b, const int64_t *slots, int64_t tokens,  \
                         int64_t run, int64_t in, int64_t rank, int64_t out, float scale) {                           \
        _Pragma("omp parallel for schedule(static)") for (int64_t token = 0; token < tokens; token++) {               \
            const int64_t slot = slots[token / run];                                                                  \
            if (slot < 0) continue;                                                                                   \
            const TYPE *read = x + token * in, *left = a + slot * rank * in, *right = b + slot * rank * out;          \
            float sum[out];                                                                                           \
            for (int64_t o = 0; o < out; o++) sum[o] = 0;                                                             \
            for (int64_t j = 0; j < rank; j++, left += in, right += out) {                                            \
                float inner = 0;                                                                                      \
                _Pragma("omp simd reduction(+ : inner)") for (int64_t i = 0; i < in; i++)                             \
                    inner += from_##TYPE(read[i]) * from_##TYPE(left[i]);                                             \
                inner *= scale;                                                                                       \
                _Pragma("omp simd") for (int64_t o = 0; o < out; o++) sum[o] += inner * from_##TYPE(right[o]);        \
            }                                                                                                         \
            TYPE *write = y + token * out;                                                                            \
            _Pragma("omp simd") for (int64_t o = 0; o < out; o++)                                                     \
                write[o] = to_##TYPE(from_##TYPE(write[o]) + sum[o]);                                                 \
        }                                                                                                             \
    }

DEFINE_ADD_LOW_RANK(bf16)
DEFINE_ADD_LOW_RANK(float)
