// Matrix products of a warp, and how their factors lie in the registers of its lanes. Sums are
// in double precision and rounded once, more exact than the device's.
//
// Source: PTX ISA 8.7, fragments of `mma.m16n8k8`, `m16n8k16` and `m16n8k32`, of `ldmatrix` and of
// `wgmma.m64nNk16`, and the layouts of its matrices in shared memory.
#include <cstring>

#include "fibers.h"

namespace emulated {

namespace {

struct Factors {
    unsigned a[4], b[2];
};

// Where the sums of this lane stand in a tile of 16 rows, 8 columns for each four sums.
struct Place {
    unsigned row, column;
};

unsigned own_lane() { return current->thread % LANES; }

Place place_of(unsigned sum) {
    unsigned lane = own_lane();
    return {lane / 4 + sum % 4 / 2 * 8, sum / 4 * 8 + lane % 4 * 2 + sum % 2};
}

// The register of the first factor with part `part` of a row: each row has eight parts.
unsigned part_of_a(const Factors *all, unsigned row, unsigned part) {
    return all[row % 8 * 4 + part % 4].a[row / 8 + part / 4 * 2];
}

unsigned part_of_b(const Factors *all, unsigned column, unsigned part) {
    return all[column * 4 + part % 4].b[part / 4];
}

float as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float bf16_half(unsigned pair, unsigned half) {
    return as_float(half ? pair & 0xffff0000 : pair << 16);
}

float f16_half(unsigned pair, unsigned half) {
    uint16_t bits = (uint16_t)(pair >> half * 16);
    _Float16 value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

float tf32(unsigned bits) { return as_float(bits & ~0x1fffu); }

void exchange(const unsigned *a, const unsigned *b, Factors *all) {
    Factors own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    meet(EVERY_LANE, &own, sizeof own, all);
}

// Reads a value of 16 bits in shared memory as a descriptor of `wgmma` says. In a line are values of a
// column, or, transposed, of a row.
struct SharedMatrix {
    unsigned start, leading, stride;
    bool swizzled, transposed;

    explicit SharedMatrix(uint64_t descriptor, bool transposed = false) : transposed(transposed) {
        start = (descriptor & 0x3fff) << 4;
        leading = (descriptor >> 16 & 0x3fff) << 4;
        stride = (descriptor >> 32 & 0x3fff) << 4;
        unsigned mode = descriptor >> 62;
        if (mode > 1) fail("a swizzle that is not emulated");
        if (descriptor >> 49 & 7) fail("a base offset that is not emulated");
        swizzled = mode == 1;
        if (transposed && !swizzled) fail("a transposed matrix that is not emulated");
    }

    float value(unsigned row, unsigned column) const { return bf16_half(bits(row, column), 0); }

    unsigned bits(unsigned row, unsigned column) const {
        unsigned place = start + (transposed ? row : column) / 8 * stride;
        if (transposed) {
            place += column / 64 * leading + row % 8 * 128 + column % 64 * 2;
            place ^= (place >> 7 & 7) << 4;
        } else if (swizzled) {
            place += column % 8 * 128 + row * 2;
            place ^= (place >> 7 & 7) << 4;
        } else {
            place += row / 8 * leading + column % 8 * 16 + row % 8 * 2;
        }
        uint16_t bits;
        memcpy(&bits, at(place), sizeof bits);
        return bits;
    }
};

}  // namespace

void load_matrices(unsigned *const *to, unsigned count, unsigned row, bool transposed) {
    unsigned rows[LANES], lane = own_lane();
    if (lane < count * 8 && row % 16) fail("a misaligned row of a matrix");
    meet(EVERY_LANE, &row, sizeof row, rows);
    for (unsigned matrix = 0; matrix < count; matrix++) {
        const unsigned *own = rows + matrix * 8;
        if (!transposed) {
            memcpy(to[matrix], at(own[lane / 4]) + lane % 4 * 4, 4);
            continue;
        }
        uint16_t pair[2];
        for (unsigned i = 0; i < 2; i++)
            memcpy(&pair[i], at(own[lane % 4 * 2 + i]) + lane / 4 * 2, 2);
        memcpy(to[matrix], pair, sizeof pair);
    }
}

// Products of pairs of values, each of which `value` takes from its pair.
template <typename Value>
static void multiply_pairs(float *const *sums, const unsigned *a, const unsigned *b, Value value) {
    Factors all[LANES];
    exchange(a, b, all);
    for (unsigned i = 0; i < 4; i++) {
        auto [row, column] = place_of(i);
        double sum = 0;
        for (unsigned k = 0; k < 16; k++) {
            unsigned left = part_of_a(all, row, k / 2), right = part_of_b(all, column, k / 2);
            sum += (double)value(left, k % 2) * value(right, k % 2);
        }
        *sums[i] = (float)(sum + *sums[i]);
    }
}

void multiply_bf16(float *const *sums, const unsigned *a, const unsigned *b) {
    multiply_pairs(sums, a, b, bf16_half);
}

void multiply_f16(float *const *sums, const unsigned *a, const unsigned *b) {
    multiply_pairs(sums, a, b, f16_half);
}

void multiply_tf32(float *const *sums, const unsigned *a, const unsigned *b) {
    Factors all[LANES];
    exchange(a, b, all);
    for (unsigned i = 0; i < 4; i++) {
        auto [row, column] = place_of(i);
        double sum = 0;
        for (unsigned k = 0; k < 8; k++)
            sum += (double)tf32(part_of_a(all, row, k)) * tf32(part_of_b(all, column, k));
        *sums[i] = (float)(sum + *sums[i]);
    }
}

void multiply_bytes(unsigned *const *sums, const unsigned *a, const unsigned *b, unsigned start) {
    Factors all[LANES];
    exchange(a, b, all);
    for (unsigned i = 0; i < 4; i++) {
        auto [row, column] = place_of(i);
        int sum = (int)start;
        for (unsigned k = 0; k < 32; k++) {
            unsigned left = part_of_a(all, row, k / 4), right = part_of_b(all, column, k / 4);
            sum += (int8_t)(left >> k % 4 * 8) * (int8_t)(right >> k % 4 * 8);
        }
        *sums[i] = (unsigned)sum;
    }
}

void multiply_shared(unsigned columns, float *const *sums, const unsigned *a, uint64_t descriptor,
                     bool accumulate, bool transposed) {
    unsigned unused[2] = {};
    Factors all[LANES];
    exchange(a, unused, all);
    SharedMatrix b(descriptor, transposed);
    for (unsigned i = 0; i < columns / 2; i++) {
        auto [row, column] = place_of(i);
        double sum = 0;
        for (unsigned k = 0; k < 16; k++)
            sum += (double)bf16_half(part_of_a(all, row, k / 2), k % 2) * b.value(k, column);
        *sums[i] = (float)(sum + (accumulate ? *sums[i] : 0.0f));
    }
    // All lanes have read what is in shared memory before one of them changes it.
    meet(EVERY_LANE, unused, sizeof unused[0], all);
}

void multiply_both_shared(unsigned columns, float *const *sums, uint64_t left, uint64_t right,
                          bool accumulate, bool halves) {
    unsigned unused = 0, all[LANES];
    meet(EVERY_LANE, &unused, sizeof unused, all);
    SharedMatrix a(left), b(right);
    // Each warp has sixteen of the 64 rows.
    unsigned first = current->thread / LANES % 4 * 16;
    auto number = halves ? f16_half : bf16_half;
    for (unsigned i = 0; i < columns / 2; i++) {
        auto [row, column] = place_of(i);
        double sum = 0;
        for (unsigned k = 0; k < 16; k++)
            sum += (double)number(a.bits(k, first + row), 0) * number(b.bits(k, column), 0);
        *sums[i] = (float)(sum + (accumulate ? *sums[i] : 0.0f));
    }
    // All lanes have read what is in shared memory before one of them changes it.
    meet(EVERY_LANE, &unused, sizeof unused, all);
}

}  // namespace emulated
