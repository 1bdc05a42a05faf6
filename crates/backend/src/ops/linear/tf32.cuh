// Products of TF32 on tensor cores, for weights and activations of float precision.
//
// A TF32 number has the eleven bits of an F16 or the eight of a BF16, so those weights are exact. An
// activation is the sum of two TF32 numbers, which keep 22 of its 24 bits.

// A number as two: bits below those of TF32 are ignored by the product. The first is the nearest, ties
// away from zero. The second says what is not a number, whatever the first becomes then.
DEVICE void split(float v, u32 &high, u32 &low) {
    high = (__float_as_uint(v) + 0x1000) & ~0x1fffu;
    low = __float_as_uint(v - __uint_as_float(high));
}

// sums [16, 8] += a [16, 8] b [8, 8].
DEVICE void multiply(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
