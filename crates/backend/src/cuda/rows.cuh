// KV rows as kv/layout.rs lays them out, for kernels that read or write them.
//
// A unit that includes this is compiled for one layout: KIND (0 attention, 1 indexer), PACKED (0
// floats, 1 codes), ROUNDED (0 no channel, 1 all but the rotary ones, 2 all; codes are always 2),
// PLAIN and ROTARY channels.

#define WIDTH (PLAIN + ROTARY)

// Where a row lies in a block of `rows` rows.
struct RowPlace {
    const u8 *first, *second, *third;
};

DEVICE RowPlace row_place(const u8 *block, u32 rows, u32 row) {
#if !PACKED
    return {block + (u64)row * 4 * WIDTH, 0, 0};
#elif KIND == 0
    const u8 *second = block + (u64)rows * PLAIN;
    const u8 *third = second + (u64)rows * 2 * ROTARY;
    return {block + (u64)row * PLAIN, second + (u64)row * 2 * ROTARY, third + (u64)row * (PLAIN / 64)};
#else
    const u8 *second = block + (u64)rows * (WIDTH / 2);
    return {block + (u64)row * (WIDTH / 2), second + (u64)row * (WIDTH / 32), 0};
#endif
}

DEVICE void copy_bytes(const u8 *from, u8 *to, u32 bytes) {
    for (u32 i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = from[i];
}

// Copies a row as it is. Every thread of the block takes part.
DEVICE void copy_row(RowPlace from, RowPlace to) {
#if !PACKED
    copy_bytes(from.first, (u8 *)to.first, 4 * WIDTH);
#elif KIND == 0
    copy_bytes(from.first, (u8 *)to.first, PLAIN);
    copy_bytes(from.second, (u8 *)to.second, 2 * ROTARY);
    copy_bytes(from.third, (u8 *)to.third, PLAIN / 64);
#else
    copy_bytes(from.first, (u8 *)to.first, WIDTH / 2);
    copy_bytes(from.second, (u8 *)to.second, WIDTH / 32);
#endif
}

// Keeps row `i` of segment `s`, which lies in a block of `capacity` fresh rows, in the ring of its
// session, if it is one of the last `ring` rows.
DEVICE void keep_row(const u8 *fresh, u32 capacity, const Segment &s, u32 i, u8 *slots, u64 slot_bytes,
                     u64 offset, u32 ring) {
    if (i >= s.len || i + ring < s.len) return;
    u8 *to = slots + s.slot * slot_bytes + offset;
    copy_row(row_place(fresh, capacity, s.first_row + i), row_place(to, ring, (s.start + i) % ring));
}

DEVICE float e4m3_value(u32 code) {
    // The bits of sign, exponent and mantissa, moved to those of a float; subnormals come out right.
    u32 bits = (code & 0x80) << 24 | (code & 0x7f) << 20;
    float value = __uint_as_float(bits) * __uint_as_float((127 + 120) << 23);
    return (code & 0x7f) == 0x7f ? NOT_A_NUMBER : value;
}

DEVICE float e2m1_value(u32 code) {
    u32 m = code & 7;
    float value = m < 2 ? 0.5f * m : __uint_as_float((126 + (m >> 1)) << 23) * (1.0f + 0.5f * (m & 1));
    return code & 8 ? -value : value;
}

// Channel `i` of a row.
DEVICE float row_value(RowPlace row, u32 i) {
#if !PACKED
    return ((const float *)row.first)[i];
#elif KIND == 0
    if (i < PLAIN) return e4m3_value(row.first[i]) * exponent_scale(row.third[i / 64]);
    return bf16_to_float(((const u16 *)row.second)[i - PLAIN]);
#else
    return e2m1_value(row.first[i / 2] >> (4 * (i & 1)) & 15) * exponent_scale(row.second[i / 32]);
#endif
}

// Biased exponent of 2^ceil(log2(x)), x positive, finite, normal.
DEVICE u32 ceil_exponent(float x) {
    u32 bits = __float_as_uint(x);
    return (bits >> 23) + ((bits & 0x7fffff) != 0);
}

DEVICE u32 e4m3_code(float v) {
    u32 sign = __float_as_uint(v) >> 24 & 0x80;
    float magnitude = fminf(fabsf(v), 448.0f);
    int exponent = max((int)(__float_as_uint(magnitude) >> 23) - 127, -6);
    float scale = __uint_as_float((u32)(exponent - 3 + 127) << 23);
    int steps = __float2int_rn(magnitude / scale);
    return sign | (u32)(((exponent + 6) << 3) + steps);
}

DEVICE u32 e2m1_code(float v) {
    u32 sign = __float_as_uint(v) >> 28 & 8;
    float m = fabsf(v);
    u32 code = m <= 0.25f ? 0 : m < 0.75f ? 1 : m <= 1.25f ? 2 : m < 1.75f ? 3
             : m <= 2.5f ? 4 : m < 3.5f ? 5 : m <= 5.0f ? 6 : 7;
    return sign | code;
}

// Rounds a row in shared memory as its layout says, in place, and writes it if `block` is not null.
// Every thread of the block takes part; `row` is WIDTH floats.
DEVICE void round_row(float *row, u8 *block, u32 rows, u32 index) {
    RowPlace place = row_place(block, rows, index);
#if ROUNDED
#if KIND == 1
    for (u32 half = 1; half < WIDTH; half *= 2) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < WIDTH / 2; i += blockDim.x) {
            u32 at = (i / half) * 2 * half + i % half;
            float a = row[at], b = row[at + half];
            row[at] = a + b;
            row[at + half] = a - b;
        }
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) row[i] *= rsqrtf((float)WIDTH);
    const u32 group = 32, groups = WIDTH / 32;
    const float floor = 6.0f * __uint_as_float(1u << 23), largest = 6.0f;
#else
    const u32 group = 64, groups = PLAIN / 64;
    const float floor = 1e-4f, largest = 448.0f;
#endif
    __syncthreads();
    // One warp per group of channels.
    for (u32 g = threadIdx.x / WARP; g < groups; g += blockDim.x / WARP) {
        u32 lane = threadIdx.x % WARP;
        float max = floor;
        bool finite = true;
        for (u32 i = lane; i < group; i += WARP) {
            float magnitude = fabsf(row[g * group + i]);
            finite = finite && magnitude < INFINITE;
            max = fmaxf(max, magnitude);
        }
        finite = __all_sync(0xffffffff, finite);
        u32 exponent = finite ? ceil_exponent(warp_max(max) / largest) : 255;
        float scale = exponent_scale(exponent);
        for (u32 i = lane; i < group; i += WARP) {
            u32 at = g * group + i;
#if KIND == 1
            u32 code = finite ? e2m1_code(row[at] / scale) : 0;
            row[at] = e2m1_value(code) * scale;
            u32 next = __shfl_down_sync(0xffffffff, code, 1);
            if (PACKED && block && i % 2 == 0) ((u8 *)place.first)[at / 2] = code | next << 4;
            if (PACKED && block && i == 0) ((u8 *)place.second)[g] = exponent;
#else
            u32 code = finite ? e4m3_code(row[at] / scale) : 0;
            row[at] = e4m3_value(code) * scale;
            if (PACKED && block) ((u8 *)place.first)[at] = code;
            if (PACKED && block && i == 0) ((u8 *)place.third)[g] = exponent;
#endif
        }
    }
#if ROUNDED == 2 && KIND == 0
    for (u32 i = threadIdx.x; i < ROTARY; i += blockDim.x) {
        u16 bits = float_to_bf16(row[PLAIN + i]);
        row[PLAIN + i] = bf16_to_float(bits);
        if (PACKED && block) ((u16 *)place.second)[i] = bits;
    }
#endif
#endif
    __syncthreads();
#if !PACKED
    if (block)
        for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) ((float *)place.first)[i] = row[i];
#endif
}
