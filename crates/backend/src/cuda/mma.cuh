// Products of BF16 on tensor cores, and the loads that feed them: for kernels whose rows are exact in
// BF16. A float that is not is taken as two of them, its rounding and the rest: sixteen bits. Comes
// after shared.cuh.
//
// Tiles in shared memory are swizzled by chunks of eight values.

#define CHUNK 8

// Two floats as BF16, the first in the low half.
DEVICE u32 pair_of(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// What is left of two floats beyond `pair`, as BF16.
DEVICE u32 rest_of(float low, float high, u32 pair) {
    return pair_of(low - __uint_as_float(pair << 16), high - __uint_as_float(pair & 0xffff0000u));
}

// Two products of BF16. Small numbers are not flushed.
DEVICE u32 pair_product(u32 a, u32 b) {
    u32 product;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(product) : "r"(a), "r"(b), "r"(0x80008000u));
    return product;
}

// The scale of an exponent byte, twice: NaN for 255.
DEVICE u32 scale_pair(u32 exponent) {
    u32 bits = exponent == 255 ? 0x7fc0 : exponent == 0 ? 0x40 : exponent << 7;
    return bits << 16 | bits;
}

// Two matrices, transposed; lanes 0 to 15 name their rows.
DEVICE void load2_transposed(u32 (&to)[2], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(to[0]), "=r"(to[1]) : "r"(address) : "memory");
}

// d [16, 8] += a [16, 16] b [16, 8].
DEVICE void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
