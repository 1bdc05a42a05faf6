// Scores of the indexer on tensor cores, for packed rows; see mod.rs. Queries are rounded as rows
// are, so both are exact in BF16 and their products are sums of exact terms.
//
// A warp decodes its rows straight from memory into the registers that tensor cores read: no row is
// in shared memory. Thread `g` of four has the codes of group `g` of a row, one scale and 16 bytes;
// which channels meet in one step does not matter as long as queries are in the same order:
//
//   channel 32 g + 8 j + 4 h + i    (g, j, i < 4, h < 2)    is value    32 j + 8 i + 2 g + h
//
// A unit that includes this is compiled for HEADS heads: a multiple of AT_ONCE, to which they are
// padded. Comes after keys.cuh.

#define STEPS (WIDTH / 16)
#define CHUNKS (WIDTH / CHUNK)
// Heads that are multiplied with at once.
#define AT_ONCE 64
// Warps that multiply together, in threads, and their rows.
#define GROUP (4 * WARP)
#define GROUP_ROWS 64

#if WIDTH != 128 || HEADS % AT_ONCE
#error "a row has four groups, one for each thread of four; heads are padded"
#endif

// Where the rows of all sessions are. A page has 2^shift rows.
struct Pages {
    const u8 *first;
    u64 bytes, offset;
    const u32 *table;
    u32 table_width, shift;
};

// How many rows, as a power of two, a page of 128 tokens has.
DEVICE u32 page_shift(u32 ratio) { return 31 - __clz(128 / ratio); }

// What a thread has of 16 rows: as they are stored, and by step as factors.
struct Stored {
    uint4 codes[2];
    u32 exponents[2];
};
typedef u32 Rows[STEPS][4];

// Codes i and i + 4 of eight, as BF16.
DEVICE u32 e2m1_pair(u32 codes, u32 i, u32 scale) {
    codes >>= 4 * i;
    // The exponent moved to its new place is 126 too small.
    u32 bits = (codes & 0x00070007) << 6 | (codes & 0x00080008) << 12;
    return pair_product(pair_product(bits, 0x7e807e80), scale);
}

// Rows from `first` on, of which those below `limit` are there.
DEVICE Stored load_rows(const Pages &pages, u32 owner, u32 first, u32 limit) {
    const u32 *table = pages.table + (u64)owner * pages.table_width;
    u32 lane = threadIdx.x % WARP;
    Stored stored;
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
        u32 row = first + 8 * m + lane / 4;
        stored.codes[m] = {};
        stored.exponents[m] = 127;
        if (row >= limit) continue;
        const u8 *page = pages.first + table[row >> pages.shift] * pages.bytes + pages.offset;
        RowPlace place = row_place(page, 1u << pages.shift, row & ((1u << pages.shift) - 1));
        stored.codes[m] = ((const uint4 *)place.first)[lane % 4];
        stored.exponents[m] = place.second[lane % 4];
    }
    return stored;
}

DEVICE void decode_rows(Rows &rows, const Stored &stored) {
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
        uint4 codes = stored.codes[m];
        u32 words[4] = {codes.x, codes.y, codes.z, codes.w};
        u32 scale = scale_pair(stored.exponents[m]);
#pragma unroll
        for (u32 u = 0; u < 2 * STEPS; u++)
            rows[u / 2][u % 2 * 2 + m] = e2m1_pair(words[u / 4], u % 4, scale);
    }
}

// Where chunk `c` of line `i` of `lines` lies, in chunks: in one of two panels, whose lines of 128
// bytes are swizzled as tensor cores of Hopper have it.
DEVICE u32 chunk_place(u32 i, u32 c, u32 lines) {
    return c / 8 * lines * 8 + swizzled(i, c % 8, 8);
}

// Queries of a block's tokens in the order of values, [tokens, HEADS, WIDTH] BF16, placed as above
// among `lines`; beside them weights [tokens, HEADS]. Both are zero from `heads` on.
DEVICE void place_queries(u8 *bytes, float *to_weights, const float *q, const float *weights,
                          u32 tokens, u32 lines, u32 heads, float scale) {
#pragma unroll 4
    for (u32 i = threadIdx.x; i < tokens * HEADS * CHUNKS; i += THREADS) {
        u32 eight = i % CHUNKS, at = i / CHUNKS, head = at % HEADS;
        float4 v = {}, w = {};
        if (head < heads) {
            const float4 *from = (const float4 *)(q + ((u64)(at / HEADS) * heads + head) * WIDTH);
            v = from[2 * eight];
            w = from[2 * eight + 1];
        }
        u32 pairs[4] = {pair_of(v.x, w.x), pair_of(v.y, w.y), pair_of(v.z, w.z), pair_of(v.w, w.w)};
#pragma unroll
        for (u32 k = 0; k < 4; k++)
            ((u32 *)bytes)[chunk_place(at, eight % 4 * 4 + k, lines) * 4 + eight / 4] = pairs[k];
    }
    for (u32 i = threadIdx.x; i < tokens * HEADS; i += THREADS) {
        u32 head = i % HEADS;
        to_weights[i] = head < heads ? weights[i / HEADS * heads + head] * scale : 0.0f;
    }
}

// Products of a group's rows, 16 of each warp, with AT_ONCE queries: of every eight a thread has
// those of queries lane % 4 * 2 and the next with row lane / 4, and then with row lane / 4 + 8.
// `begin_products` takes queries from line `first` of `lines` on, whose panels are at chunk
// `queries` of shared memory; the products are there when `products_but` has waited until only some
// that began later are under way.
typedef float Products[AT_ONCE / 8][4];

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// d [64, 64] (+)= a [64, 16] b [16, 64], by the four warps of a group: `a` in registers, `b` in
// lines as chunk_place has them, named by its chunk in shared memory.
DEVICE void multiply_wide(Products &d, const u32 (&a)[4], u32 b, bool add) {
    // Eight lines of 128 bytes after the other, swizzled.
    u64 matrix = (u64)(64 | 1u << 30) << 32 | b;
    asm volatile(
        "{ .reg .pred p; setp.ne.b32 p, %37, 0;"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, "
        "%9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "
        "%27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, 1, 1, 0; }"
#define FOUR(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
        : FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7)
#undef FOUR
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(matrix), "r"((u32)add));
}

DEVICE void begin_products(Products &d, const Rows &rows, u32 queries, u32 first, u32 lines) {
    products_begin();
#pragma unroll
    for (u32 k = 0; k < STEPS; k++)
        multiply_wide(d, rows[k], queries + (k / 4 * lines + first) * 8 + k % 4 * 2, k);
    products_end();
}
#else
DEVICE void begin_products(Products &d, const Rows &rows, u32 queries, u32 first, u32 lines) {
    u32 lane = threadIdx.x % WARP, line = first + lane / 16 * 8 + lane % 8;
#pragma unroll
    for (u32 i = 0; i < AT_ONCE / 2; i++) d[i / 4][i % 4] = 0;
#pragma unroll
    for (u32 k = 0; k < STEPS; k++)
#pragma unroll
        for (u32 n = 0; n < AT_ONCE / 16; n++) {
            u32 b[4];
            load4(b, (queries + chunk_place(line + 16 * n, 2 * k + lane / 8 % 2, lines)) * 16);
            multiply(d[2 * n], rows[k], b[0], b[1]);
            multiply(d[2 * n + 1], rows[k], b[2], b[3]);
        }
}
#endif

// NaN stays NaN.
DEVICE float relu(float x) {
    float positive;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(positive) : "f"(x));
    return positive;
}

// What heads say of a thread's two rows, each in two sums.
struct Sums {
    float low[2], high[2];
};

// Adds what the heads with these weights say.
DEVICE void add_weighed(Sums &sums, const Products &d, const float *weights) {
#pragma unroll
    for (u32 n = 0; n < AT_ONCE / 8; n++) {
        float2 weight = *(const float2 *)(weights + 8 * n + threadIdx.x % 4 * 2);
        sums.low[0] = fmaf(weight.x, relu(d[n][0]), sums.low[0]);
        sums.low[1] = fmaf(weight.y, relu(d[n][1]), sums.low[1]);
        sums.high[0] = fmaf(weight.x, relu(d[n][2]), sums.high[0]);
        sums.high[1] = fmaf(weight.y, relu(d[n][3]), sums.high[1]);
    }
}

// Calls `put` with each of a warp's rows, counted from its first, and its key, in some thread.
template <typename F>
DEVICE void put_scores(const Sums &sums, F put) {
    float low = sums.low[0] + sums.low[1], high = sums.high[0] + sums.high[1];
    for (u32 distance = 1; distance < 4; distance *= 2) {
        low += __shfl_xor_sync(0xffffffff, low, distance);
        high += __shfl_xor_sync(0xffffffff, high, distance);
    }
    u32 lane = threadIdx.x % WARP;
    if (lane % 4 < 2) put(lane / 4 + lane % 4 * 8, key_of(lane % 4 ? high : low));
}
