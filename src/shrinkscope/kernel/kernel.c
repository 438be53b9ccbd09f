/* One pass over a pair of tensors: the driver over blocks, the choice of instruction set, and the careful cases. */
#include "kernel.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Elements whose sums are taken together: small enough for the first cache, large beside the cost of a call. */
#define BLOCK 4096
/* Terms of a float32 sum before it is added in float64: each sum is wrong by (CHAIN - 1) roundings at most. */
#define CHAIN 8
/* A block is padded with zeros to a multiple of this: CHAIN of the longest vectors of 16-bit elements. */
#define PADDING (CHAIN * 32)
/* Elements by which 16-bit data are fetched ahead: the processor itself stops at the end of each page of 4 KiB. */
#define AHEAD 1024
/* One block in this many is also summed in float64, to see whether the float32 sums keep their promise. */
#define CHECKED_EVERY 64
/* The deviation of the checked blocks' sums from which everything is summed in float64 instead. */
#define CHECKED_TOLERANCE 3e-8
/* Shorter tensors are summed in float64: too few roundings for their mean to be near zero, and no time to win. */
#define SHORT (1 << 20)

struct block {
    uint64_t zeros_dense, zeros_compressed, zeros_both, changed, bits_differ;
    uint64_t most_dense, most_compressed; /* largest magnitudes as bit patterns, which order like the numbers */
    double square_dense, square_compressed, square_delta, product, largest_delta;
};

typedef void block_function(const void *x, const void *y, size_t n, struct block *out);

struct path_functions {
    block_function *fast[4], *exact[4];
    uint64_t (*read)(const char *x, const char *y, uint64_t bytes);
};

#define W 16
#define TARGET
#define NAME(f) f##_generic
#include "block.inc"

#if defined(__x86_64__)
#define W 32
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define NAME(f) f##_avx2
#include "block.inc"

#define W 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,popcnt")))
#define NAME(f) f##_avx512
#include "block.inc"

/* Compilers from before the instruction was known do without it. */
#if __GNUC__ >= 10 || __clang_major__ >= 9
#define HAS_BF16
#include "bf16.inc"
#endif
#endif

static const uint64_t INFINITE[4] = {0x7f80, 0x7c00, 0x7f800000u, 0x7ff0000000000000ull};
static const size_t BYTES[4] = {2, 2, 4, 8};

int shrinkscope_abi(void) { return SHRINKSCOPE_ABI; }

int shrinkscope_best_path(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return GENERIC;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
#ifdef HAS_BF16
        if (__builtin_cpu_supports("avx512bf16")) return AVX512BF16;
#endif
        return AVX512;
    }
    return AVX2;
#else
    return GENERIC;
#endif
}

static const struct path_functions *functions_of(int path) {
    int best = shrinkscope_best_path();
    if (path == BEST) path = best;
    if (path < GENERIC || path > best) return NULL;
#if defined(__x86_64__)
#ifdef HAS_BF16
    if (path == AVX512BF16) return &functions_avx512bf16;
#endif
    if (path == AVX512) return &functions_avx512;
    if (path == AVX2) return &functions_avx2;
#endif
    return &functions_generic;
}

static double half_to_double(uint16_t bits) {
    int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    double size = exponent == 31   ? (mantissa ? NAN : INFINITY)
                  : exponent == 0 ? ldexp(mantissa, -24)
                                  : ldexp(mantissa + 1024, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

static uint64_t bits_of(const void *x, size_t i, int kind) {
    switch (kind) {
    case F32: return ((const uint32_t *)x)[i];
    case F64: return ((const uint64_t *)x)[i];
    default: return ((const uint16_t *)x)[i];
    }
}

static double value_of(const void *x, size_t i, int kind) {
    if (kind == F64) return ((const double *)x)[i];
    if (kind == F32) return ((const float *)x)[i];
    if (kind == F16) return half_to_double(((const uint16_t *)x)[i]);
    uint32_t bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* A block that holds NaN or an infinity, element by element. */
static void careful_block(const void *x, const void *y, size_t n, int kind, struct sums *out) {
    double xx = 0, yy = 0, dd = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        double u = value_of(x, i, kind), v = value_of(y, i, kind);
        out->zeros_dense += u == 0;
        out->zeros_compressed += v == 0;
        out->zeros_both += u == 0 && v == 0;
        out->changed += u != v;
        out->bits_differ += bits_of(x, i, kind) != bits_of(y, i, kind);
        out->nonfinite_dense += !isfinite(u);
        out->nonfinite_compressed += !isfinite(v);
        if (isfinite(u) && isfinite(v)) {
            double d = u - v;
            xx += u * u;
            yy += v * v;
            dd += d * d;
            xy += u * v;
            if (fabs(d) > out->largest_delta) out->largest_delta = fabs(d);
        }
    }
    out->square_dense += xx;
    out->square_compressed += yy;
    out->square_delta += dd;
    out->product += xy;
}

/* Whether float32 sums of CHAIN squares can neither overflow nor lose what lies below the smallest normal number:
 * each side's largest magnitude is zero or within [2^-40, 2^60], the difference's zero or at least 2^-50. What falls below
 * the smallest normal number, 2^-126, is then at most BLOCK * 2^-126 of a sum of 2^-80 or more (2^-100 for the
 * difference, whose small terms are not dropped but rounded to multiples of 2^-149). */
static int within_float32(const struct block *b, int kind) {
    const uint64_t low = (uint64_t)(127 - 40) << 7, high = (uint64_t)(127 + 60) << 7;
    if (kind == F16) return 1; /* squares within [2^-48, 2^32] */
    return (b->most_dense == 0 || (b->most_dense >= low && b->most_dense <= high)) &&
           (b->most_compressed == 0 || (b->most_compressed >= low && b->most_compressed <= high)) &&
           (b->largest_delta == 0 || b->largest_delta >= 0x1p-50);
}

/* What the checked blocks found: sums in float64 and by how much those in float32 are off. */
struct check { double square_dense, square_compressed, square_delta, size, off[4]; };

static void compare_block(struct check *c, const struct block *fast, const struct block *exact) {
    c->square_dense += exact->square_dense;
    c->square_compressed += exact->square_compressed;
    c->square_delta += exact->square_delta;
    c->size += sqrt(exact->square_dense) * sqrt(exact->square_compressed);
    c->off[0] += fast->square_dense - exact->square_dense;
    c->off[1] += fast->square_compressed - exact->square_compressed;
    c->off[2] += fast->square_delta - exact->square_delta;
    c->off[3] += fast->product - exact->product;
}

static int keeps_promise(const struct check *c) {
    return fabs(c->off[0]) <= CHECKED_TOLERANCE * c->square_dense &&
           fabs(c->off[1]) <= CHECKED_TOLERANCE * c->square_compressed &&
           fabs(c->off[2]) <= CHECKED_TOLERANCE * c->square_delta && fabs(c->off[3]) <= CHECKED_TOLERANCE * c->size;
}

/* The first block, and one of each further CHECKED_EVERY at a scattered place, so that no period of the data escapes. */
static int is_checked(uint64_t number) {
    uint64_t mixed = (number / CHECKED_EVERY + 1) * 0x9e3779b97f4a7c15ull;
    return number == 0 || number % CHECKED_EVERY == (mixed >> 32) % CHECKED_EVERY;
}

static void add_block(struct sums *out, const struct block *b, uint64_t padding) {
    out->zeros_dense += b->zeros_dense - padding;
    out->zeros_compressed += b->zeros_compressed - padding;
    out->zeros_both += b->zeros_both - padding;
    out->changed += b->changed;
    out->bits_differ += b->bits_differ;
    out->square_dense += b->square_dense;
    out->square_compressed += b->square_compressed;
    out->square_delta += b->square_delta;
    out->product += b->product;
    if (b->largest_delta > out->largest_delta) out->largest_delta = b->largest_delta;
}

/* Everything, block by block; false when float32 sums turned out not to be good enough for these data. */
static int pass(const char *x, const char *y, uint64_t n, int kind, int fast, const struct path_functions *f,
                struct sums *out) {
    _Alignas(64) char tail_x[BLOCK * 8], tail_y[BLOCK * 8];
    struct check checked = {0};
    memset(out, 0, sizeof *out);
    for (uint64_t start = 0, number = 0; start < n; start += BLOCK, number++) {
        size_t size = n - start < BLOCK ? (size_t)(n - start) : BLOCK;
        size_t padded = (size + PADDING - 1) / PADDING * PADDING;
        const char *px = x + start * BYTES[kind], *py = y + start * BYTES[kind];
        if (padded != size) {
            memcpy(tail_x, px, size * BYTES[kind]);
            memcpy(tail_y, py, size * BYTES[kind]);
            memset(tail_x + size * BYTES[kind], 0, (padded - size) * BYTES[kind]);
            memset(tail_y + size * BYTES[kind], 0, (padded - size) * BYTES[kind]);
            px = tail_x;
            py = tail_y;
        }
        struct block b;
        (fast ? f->fast : f->exact)[kind](px, py, padded, &b);
        if (b.most_dense >= INFINITE[kind] || b.most_compressed >= INFINITE[kind]) {
            careful_block(px, py, size, kind, out);
            out->careful_blocks += (uint64_t)fast;
            continue;
        }
        if (fast) {
            int within = within_float32(&b, kind);
            if (!within || is_checked(number)) {
                struct block exact;
                f->exact[kind](px, py, padded, &exact);
                if (within) compare_block(&checked, &b, &exact);
                b = exact;
                out->careful_blocks++;
            }
        }
        add_block(out, &b, padded - size);
    }
    return keeps_promise(&checked);
}

int shrinkscope_pair_sums(const void *x, const void *y, uint64_t n, int kind, int exact, int path, struct sums *out) {
    const struct path_functions *f = functions_of(path);
    if (f == NULL || kind < BF16 || kind > F64) return 0;
#if defined(__x86_64__)
    /* A caller may have set its thread to flush subnormal numbers to zero; counts and sums must not depend on it. */
    unsigned int control = _mm_getcsr();
    _mm_setcsr(0x1f80);
#endif
    int fast = !exact && (kind == BF16 || kind == F16) && n >= SHORT;
    if (!pass(x, y, n, kind, fast, f, out)) {
        pass(x, y, n, kind, 0, f, out);
        out->careful_blocks = (n + BLOCK - 1) / BLOCK;
    }
#if defined(__x86_64__)
    _mm_setcsr(control);
#endif
    return 1;
}

uint64_t shrinkscope_read(const void *x, const void *y, uint64_t bytes, int path) {
    const struct path_functions *f = functions_of(path);
    return f == NULL ? 0 : f->read(x, y, bytes);
}
