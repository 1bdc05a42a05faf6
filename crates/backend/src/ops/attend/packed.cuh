// Packed rows on their way to tensor cores: FETCHERS threads fetch a row, and put it, as BF16, into a
// swizzled row of shared memory. Between the two it is in registers, so that rows of the next turn may
// be on their way while those of this one are multiplied. Comes after seen.cuh and mma.cuh.

// Threads that fetch one row.
#define FETCHERS 8
#define GROUPS (PLAIN / 64)
#define ROTARIES (ROTARY / 64)
#define CHUNKS (WIDTH / CHUNK)

DEVICE uint4 all_of(u32 word) { return make_uint4(word, word, word, word); }

// A thread's part of a packed row: of every group of channels eight codes, and rotary channels.
struct Fetched {
    uint2 codes[GROUPS];
    uint4 rotary[ROTARIES];
    u32 scale;  // twice; lane i of a row's eight has that of group i
    bool there;
};

// A row that is not there is zero: its weight is, too. A damaged one is NaN.
DEVICE Fetched fetch(const Call &call, const Seen &s, u32 key, u32 row) {
    Fetched f = {};
    f.there = row != NO_PICK;
    if (row >= DAMAGED) {
        bool damaged = row == DAMAGED;
        f.scale = scale_pair(damaged ? 255 : 127);
        for (u32 g = 0; g < ROTARIES; g++) f.rotary[g] = all_of(damaged ? 0x7fc07fc0 : 0);
        return f;
    }
    u32 part = threadIdx.x % FETCHERS;
    RowPlace place = place_of(call, s, key, row);
#pragma unroll
    for (u32 g = 0; g < GROUPS; g++)
        f.codes[g] = ((const uint2 *)place.first)[g * FETCHERS + part];
#pragma unroll
    for (u32 g = 0; g < ROTARIES; g++)
        f.rotary[g] = ((const uint4 *)place.second)[g * FETCHERS + part];
    if (part < GROUPS) f.scale = scale_pair(place.third[part]);
    return f;
}

// Two E4M3 codes in the high bytes of the halves of `codes`, as BF16: the exponent moved to its place
// is 120 too small. Rows hold no codes of NaN; see round_row.
DEVICE u32 e4m3_pair(u32 codes, u32 scale) {
    u32 bits = codes & 0x80008000 | codes >> 4 & 0x07f007f0;
    return pair_product(pair_product(bits, 0x7b807b80), scale);
}

DEVICE uint4 expanded(uint2 codes, u32 scale) {
    return make_uint4(e4m3_pair(__byte_perm(codes.x, 0, 0x1404), scale),
                      e4m3_pair(__byte_perm(codes.x, 0, 0x3424), scale),
                      e4m3_pair(__byte_perm(codes.y, 0, 0x1404), scale),
                      e4m3_pair(__byte_perm(codes.y, 0, 0x3424), scale));
}

// What was fetched, as BF16, to row threadIdx.x / FETCHERS of swizzled `rows`; what is hidden.
DEVICE void place_row(uint4 *rows, float *hidden, const Fetched &f) {
    u32 r = threadIdx.x / FETCHERS, part = threadIdx.x % FETCHERS, lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 g = 0; g < GROUPS; g++) {
        u32 scale = __shfl_sync(0xffffffff, f.scale, lane / FETCHERS * FETCHERS + g);
        rows[swizzled(r, g * FETCHERS + part, CHUNKS)] = expanded(f.codes[g], scale);
    }
#pragma unroll
    for (u32 g = 0; g < ROTARIES; g++)
        rows[swizzled(r, (GROUPS + g) * FETCHERS + part, CHUNKS)] = f.rotary[g];
    if (part == 0) hidden[r] = f.there ? 0.0f : -INFINITE;
}
