// Activations as two F16, for products with weights in F16: exact products on tensor cores, sums of
// float precision.
//
// A row of activations is multiplied by a power of two, so that its largest magnitude is from 2^14 to
// 2^15. Of each number the nearest F16 and the nearest F16 of what is left keep 22 bits, as two TF32
// do, down to 2^-24, the smallest F16: what is lost there is 2^-40 of the largest number, less than
// any sum of floats loses. Rows without a number above 2^-112 are multiplied by 2^126 and exact.
//
// Of 64 columns of a row there are first their high parts and then their low ones, 128 bytes each; so
// a row takes as many bytes as its floats. Behind all rows stands each one's factor of its results.

#define STAGE_COLS 64
#define STAGE_LINE (STAGE_COLS * 2)

// Two floats as F16, the first in the low half.
DEVICE u32 half_pair(float low, float high) {
    u32 pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// What is left of two floats beyond `pair`, as F16.
DEVICE u32 half_rest(float low, float high, u32 pair) {
    return half_pair(low - half_to_float((u16)pair), high - half_to_float((u16)(pair >> 16)));
}

// The exponent of the power of two for a row whose largest magnitude this is, from -114 to 126.
DEVICE int exponent_for(float largest) {
    return min(126, 14 + 127 - (int)(__float_as_uint(largest) >> 23));
}
DEVICE float power_of_two(int exponent) { return __uint_as_float((u32)(127 + exponent) << 23); }

// Eight numbers, scaled, as both parts of chunk `c` of a row of so many columns at `row`.
DEVICE void store_twofold(uint4 *row, u32 c, float4 a, float4 b, float scale) {
    a = make_float4(a.x * scale, a.y * scale, a.z * scale, a.w * scale);
    b = make_float4(b.x * scale, b.y * scale, b.z * scale, b.w * scale);
    uint4 high = make_uint4(half_pair(a.x, a.y), half_pair(a.z, a.w), half_pair(b.x, b.y),
                            half_pair(b.z, b.w));
    row += c / 8 * 16 + c % 8;
    row[0] = high;
    row[8] = make_uint4(half_rest(a.x, a.y, high.x), half_rest(a.z, a.w, high.y),
                        half_rest(b.x, b.y, high.z), half_rest(b.z, b.w, high.w));
}
