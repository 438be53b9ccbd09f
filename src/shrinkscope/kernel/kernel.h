/* Interface of the kernel: plain C, called through ctypes, so that one binary serves every Python. */
#ifndef SHRINKSCOPE_KERNEL_H
#define SHRINKSCOPE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define SHRINKSCOPE_ABI 1

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum kind { BF16 = 0, F16 = 1, F32 = 2, F64 = 3 };
enum path { BEST = 0, GENERIC = 1, AVX2 = 2, AVX512 = 3, AVX512BF16 = 4 };

/* Must match Sums in library.py. Sums are over the elements that are finite on both sides. */
struct sums {
    uint64_t zeros_dense, zeros_compressed, zeros_both, changed, bits_differ, nonfinite_dense, nonfinite_compressed;
    uint64_t careful_blocks; /* blocks whose sums were taken in float64 although float32 was asked for */
    double square_dense, square_compressed, square_delta, product, largest_delta;
};

EXPORT int shrinkscope_abi(void);
EXPORT int shrinkscope_best_path(void);
EXPORT int shrinkscope_pair_sums(const void *x, const void *y, uint64_t n, int kind, int exact, int path,
                                 struct sums *out);
EXPORT uint64_t shrinkscope_read(const void *x, const void *y, uint64_t bytes, int path);
EXPORT int64_t shrinkscope_distinct(const void *x, uint64_t n, int kind, uint64_t *values, int64_t limit);
EXPORT void shrinkscope_most_in_groups(const void *x, uint64_t n, int kind, uint64_t *most);

#endif
