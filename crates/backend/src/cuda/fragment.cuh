// Quantized weights decoded straight to registers, with their scales: the left operand of
// products in BF16 on tensor cores. A unit that includes this comes after weights.cuh and
// bf16.cuh, which says which columns a lane has, and is compiled for one quantized FORMAT.
//
// Codes become BF16 by joining their bytes with those of 128, which has room for seven bits below,
// and taking 128 away. So a weight is its code, which is exact, times its scale in BF16, rounded
// once.

DEVICE u32 bf16_twice(float value) { return bf16_pair(value, value); }

// a b + c, by halves.
DEVICE u32 fused(u32 a, u32 b, u32 c) {
    u32 sum;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;
}
// -0, 1, -128 and 2^126, twice.
#define MINUS_NOTHING 0x80008000u
#define ONES 0x3f803f80u
#define MINUS_128 0xc300c300u
#define LARGE 0x7e807e80u
#define FRAGMENTS 8
DEVICE u32 times(u32 a, u32 b) { return fused(a, b, MINUS_NOTHING); }

// Bytes 0 and 1, and bytes 2 and 3, of `codes`, each below `high`'s.
DEVICE uint2 joined(u32 codes, u32 high) {
    return make_uint2(picked_bytes(codes, high, 0x4140), picked_bytes(codes, high, 0x4342));
}

DEVICE u32 word_of(int4 v, int i) {
    return (u32)(i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w);
}

// For each format:
// - `Block` is what a lane holds of its 32 columns;
// - `hold` loads block `at` of the matrix, and where a block is needed to its end also the `next`;
// - `renew` loads what comes, when half `half` of the fragments needs no more of a block: the one
//   after it is `at`, and then comes `next`;
// - `Scales` are the same for all fragments, and `Looked` for two of them, found a turn earlier;
// - `fragment` gives the two registers of fragment `s`.
#if FORMAT != 16
struct Looked {};
#endif
#if FORMAT == 8
struct Block { int4 w[2]; u16 scale; };
struct Scales { u32 scale, negative; };
DEVICE void hold_codes(Block &k, const Planes &p, u32 at, int half) {
    k.w[half] = fixed((const int4 *)p.a + 2 * (u64)at + half);
}
DEVICE void hold_scales(Block &k, const Planes &p, u32 at) {
    k.scale = fixed((const u16 *)p.b + at);
}
DEVICE Scales scales_of(const Block &k, u32) {
    u32 scale = bf16_twice(half_to_float(k.scale));
    return {scale, scale ^ 0x80008000u};
}
// Codes have eight bits: 128 and the low seven, less 128 or, of a negative code, 256.
DEVICE uint2 fragment(const Block &k, const Scales &of, int s, const Looked &) {
    uint2 v = joined(word_of(k.w[s / 4], s % 4), 0x43434343u);
    return make_uint2(fused(v.x & 0xff7fff7fu, of.scale, times(v.x & 0xff80ff80u, of.negative)),
                      fused(v.y & 0xff7fff7fu, of.scale, times(v.y & 0xff80ff80u, of.negative)));
}

#elif FORMAT == 10 || FORMAT == 12
struct Scales { u32 scale[2], minimum[2], shift; };
#if FORMAT == 10
#define FIELD 0x03030303u
struct Block { int4 w[2]; u16 scales; u32 d; };
DEVICE void hold_codes(Block &k, const Planes &p, u32 at, int half) {
    k.w[half] = fixed((const int4 *)p.a + (u64)(at / 4) * 2 + half);
}
DEVICE void hold_scales(Block &k, const Planes &p, u32 at) {
    k.scales = fixed((const u16 *)p.b + at);
    k.d = fixed((const u32 *)p.c + at / 8);
}
DEVICE Scales scales_of(const Block &k, u32) {
    float d = half_to_float((u16)k.d), dmin = half_to_float((u16)(k.d >> 16));
    Scales of;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        of.scale[i] = bf16_twice(d * (float)(k.scales >> (8 * i) & 15));
        of.minimum[i] = bf16_twice(-dmin * (float)(k.scales >> (8 * i + 4) & 15));
    }
    of.shift = threadIdx.x % 4 * 2;
    return of;
}
#else
#define FIELD 0x0f0f0f0fu
struct Block { int4 w[2]; uint4 head; };
DEVICE void hold_codes(Block &k, const Planes &p, u32 at, int half) {
    k.w[half] = fixed((const int4 *)p.a + (u64)(at / 2) * 2 + half);
}
DEVICE void hold_scales(Block &k, const Planes &p, u32 at) {
    k.head = fixed((const uint4 *)p.b + at / 8);
}
DEVICE Scales scales_of(const Block &k, u32 at) {
    u32 words[3] = {k.head.y, k.head.z, k.head.w}, scale, minimum;
    scale_of(words, at % 8, scale, minimum);
    u32 s = bf16_twice(half_to_float((u16)k.head.x) * (float)scale);
    u32 m = bf16_twice(-half_to_float((u16)(k.head.x >> 16)) * (float)minimum);
    return {{s, s}, {m, m}, threadIdx.x % 2 * 4};
}
#endif
DEVICE uint2 fragment(const Block &k, const Scales &of, int s, const Looked &) {
    uint2 v = joined(word_of(k.w[s / 4], s % 4) >> of.shift & FIELD, 0x43434343u);
    return make_uint2(fused(fused(v.x, ONES, MINUS_128), of.scale[s / 4], of.minimum[s / 4]),
                      fused(fused(v.y, ONES, MINUS_128), of.scale[s / 4], of.minimum[s / 4]));
}

#elif FORMAT == 16
struct Block { uint2 w; u16 d; uint2 ahead; u16 d_ahead; };
struct Scales { u32 scale; };
DEVICE void hold_ahead(Block &k, const Planes &p, u32 at) {
    k.ahead = fixed((const uint2 *)p.a + at);
    k.d_ahead = fixed((const u16 *)p.b + at / 8);
}
DEVICE void advance(Block &k) {
    k.w = k.ahead;
    k.d = k.d_ahead;
}
DEVICE Scales scales_of(const Block &k, u32) {
    Chunk c = {k.w, k.d};
    return {bf16_twice(lattice_scale(c))};
}
// `tables` in shared memory has a row for every byte: the eight magnitudes of a point in BF16,
// LANES / 4 times, and then eight signs, LANES times: for every lane that reads at the same time,
// or for every other where shared memory is scarce. Signs of columns 2 j and 2 j + 1 are bits 15
// - j and 31 - j.
#define LANES (TOKENS > 64 ? 32 : 16)
#define TABLE_ROW (LANES * 8)
#define TABLE_BYTES (256 * TABLE_ROW)
DEVICE u32 magnitudes_of(u32 levels) {
    u32 low = levels & 15, high = levels >> 4 & 15;
    return bf16_pair(low == 0 ? 8 : low == 1 ? 25 : 43, high == 0 ? 8 : high == 1 ? 25 : 43);
}
DEVICE void make_tables(u8 *tables) {
    for (u32 i = threadIdx.x; i < 256 * LANES; i += blockDim.x) {
        u32 byte = i / LANES, negative = sign_selectors(byte) >> 2, signs = 0;
#pragma unroll
        for (u32 t = 0; t < 8; t++)
            signs |= (negative >> (4 * t) & 1) << (15 + t % 2 * 16 - t / 2);
        u32 *row = (u32 *)(tables + byte * TABLE_ROW) + i % LANES;
        row[0] = magnitudes_of(LEVELS[byte] >> (i % 4 * 8));
        row[LANES] = signs;
    }
}
struct Looked { uint4 point; u32 signs; };
// What a lane adds to a row's place: for points in the lowest byte, for signs in the second. It
// comes from a shuffle, since the compiler would ask for a lane's number anew at every use.
DEVICE u32 lane_places() {
    u32 lane = threadIdx.x % WARP, places = lane % (LANES / 4) * 16 | lane % LANES * 4 << 8;
    return __shfl_sync(0xffffffff, places * (32 / LANES), lane);
}
// What the tables say of columns 8 j.. of a lane's eight bytes.
DEVICE Looked looked_up(uint2 w, int j, const u8 *tables, u32 places) {
    u32 point = picked_bytes(w.x, places, 0x7604 | j << 4) / (32 / LANES);
    u32 signs = picked_bytes(w.y, places, 0x7605 | j << 4) / (32 / LANES);
    return {*(const uint4 *)(tables + point), *(const u32 *)(tables + LANES * 4 + signs)};
}
DEVICE Looked look_up(const Block &k, const u8 *tables, u32 places) {
    return looked_up(k.w, 0, tables, places);
}
DEVICE Looked look_ahead(const Block &k, int j, const u8 *tables, u32 places) {
    return j < 3 ? looked_up(k.w, j + 1, tables, places) : looked_up(k.ahead, 0, tables, places);
}
DEVICE uint2 fragment(const Block &k, const Scales &of, int s, const Looked &looked) {
    u32 first = looked.signs << (s % 2 * 2) & 0x80008000u;
    u32 other = looked.signs << (s % 2 * 2 + 1) & 0x80008000u;
    return make_uint2(times(s % 2 ? looked.point.z : looked.point.x, of.scale ^ first),
                      times(s % 2 ? looked.point.w : looked.point.y, of.scale ^ other));
}

#elif FORMAT == 39
struct Block { int4 w, ahead; u8 exponent, exponent_ahead; };
struct Scales { u32 scale; };
DEVICE void hold_ahead(Block &k, const Planes &p, u32 at) {
    k.ahead = fixed((const int4 *)p.a + at);
    k.exponent_ahead = fixed(p.b + at);
}
DEVICE void advance(Block &k) {
    k.w = k.ahead;
    k.exponent = k.exponent_ahead;
}
DEVICE Scales scales_of(const Block &k, u32) { return {bf16_twice(exponent_scale(k.exponent))}; }
// The bits of a code are sign, exponent and mantissa: as BF16 a code is smaller by 2^126.
DEVICE u32 widened(u32 codes, u32 scale) {
    u32 v = (codes << 6 & 0x01c001c0u) | (codes << 12 & 0x80008000u);
    return times(times(v, LARGE), scale);
}
DEVICE uint2 fragment(const Block &k, const Scales &of, int s, const Looked &) {
    uint2 v = joined(word_of(k.w, s % 4) >> (s / 4 * 4) & 0x0f0f0f0fu, 0);
    return make_uint2(widened(v.x, of.scale), widened(v.y, of.scale));
}
#endif

#if FORMAT == 16 || FORMAT == 39
DEVICE void hold(Block &k, const Planes &p, u32 at, u32 next) {
    hold_ahead(k, p, at);
    advance(k);
    hold_ahead(k, p, next);
}
DEVICE void renew(Block &k, const Planes &p, u32, u32 next, int half) {
    if (half == 0) return;
    advance(k);
    hold_ahead(k, p, next);
}
#else
DEVICE void hold(Block &k, const Planes &p, u32 at, u32) {
    hold_codes(k, p, at, 0);
    hold_codes(k, p, at, 1);
    hold_scales(k, p, at);
}
DEVICE void renew(Block &k, const Planes &p, u32 at, u32, int half) {
    hold_codes(k, p, at, half);
    if (half == 0) hold_scales(k, p, at);
}
#endif

#ifndef TABLE_BYTES
#define TABLE_BYTES 0
DEVICE void make_tables(u8 *) {}
DEVICE u32 lane_places() { return 0; }
DEVICE Looked look_up(const Block &, const u8 *, u32) { return {}; }
DEVICE Looked look_ahead(const Block &, int, const u8 *, u32) { return {}; }
#endif
