/* Distinct values and groups of consecutive elements: counts that stop as soon as nothing is to be learnt. */
#include "kernel.h"

#include <stdlib.h>

/* Slots of the table of values: a power of two, four times the largest limit. */
#define SLOTS 16384u
/* 16-bit elements marked between two looks at how many values there are. */
#define LOOK 65536u

/* The value's bits, +0 and -0 as one value. */
static inline uint64_t key_of(const void *x, uint64_t i, int kind) {
    if (kind == F64) {
        uint64_t bits = ((const uint64_t *)x)[i];
        return bits << 1 ? bits : 0;
    }
    if (kind == F32) {
        uint32_t bits = ((const uint32_t *)x)[i];
        return bits << 1 ? bits : 0;
    }
    uint16_t bits = ((const uint16_t *)x)[i];
    return bits & 0x7fff ? bits : 0;
}

/* 16-bit elements: one mark for each of the 65,536 patterns. */
static int64_t distinct_short(const uint16_t *x, uint64_t n, uint64_t *values, int64_t limit) {
    uint8_t *marks = calloc(65536, 1);
    int64_t found = 0;
    if (marks == NULL) return -2;
    for (uint64_t start = 0; start < n && found <= limit; start += LOOK) {
        uint64_t end = n - start < LOOK ? n : start + LOOK;
        for (uint64_t i = start; i < end; i++) marks[x[i]] = 1;
        marks[0] |= marks[0x8000];
        marks[0x8000] = 0;
        found = 0;
        for (uint32_t k = 0; k < 65536; k++) found += marks[k];
    }
    if (found <= limit) {
        for (uint32_t k = 0; k < 65536; k++)
            if (marks[k]) *values++ = k;
    }
    free(marks);
    return found <= limit ? found : -1;
}

/* 32- and 64-bit elements: a table in which a slot that is zero is empty; the value zero is kept beside it. */
static int64_t distinct_long(const void *x, uint64_t n, int kind, uint64_t *values, int64_t limit) {
    uint64_t *table = calloc(SLOTS, sizeof *table);
    int64_t found = 0;
    int zero = 0;
    if (table == NULL) return -2;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t key = key_of(x, i, kind);
        if (key == 0) {
            zero = 1;
            continue;
        }
        uint64_t slot = (key * 0x9e3779b97f4a7c15ull) >> 50;
        while (table[slot] != 0 && table[slot] != key) slot = (slot + 1) % SLOTS;
        if (table[slot] != 0) continue;
        if (++found > limit) break;
        table[slot] = key;
    }
    found += zero;
    if (found <= limit) {
        if (zero) *values++ = 0;
        for (uint32_t k = 0; k < SLOTS; k++)
            if (table[k]) *values++ = table[k];
    }
    free(table);
    return found <= limit ? found : -1;
}

/* Writes the bit patterns of the distinct values to `values`, which holds `limit` < SLOTS of them, and returns their
 * number; -1 when there are more, -2 without memory. */
int64_t shrinkscope_distinct(const void *x, uint64_t n, int kind, uint64_t *values, int64_t limit) {
    return kind <= F16 ? distinct_short(x, n, values, limit) : distinct_long(x, n, kind, values, limit);
}

/* The most elements other than zero in any group of 2, 4, 8 and 16 consecutive ones, whole groups only; stops when
 * every group size has seen more than its half. `most` holds four numbers, which are only ever raised. */
void shrinkscope_most_in_groups(const void *x, uint64_t n, int kind, uint64_t *most) {
    for (uint64_t start = 0; start < n; start += 16) {
        uint64_t count[4] = {0, 0, 0, 0}, end = n - start < 16 ? n - start : 16;
        for (uint64_t i = 0; i < end; i++) {
            uint64_t full = key_of(x, start + i, kind) != 0;
            for (int g = 0; g < 4; g++) {
                count[g] += full;
                if ((i + 1) % (2u << g) != 0) continue;
                if (count[g] > most[g]) most[g] = count[g];
                count[g] = 0;
            }
        }
        if (most[0] > 1 && most[1] > 2 && most[2] > 4 && most[3] > 8) return;
    }
}
