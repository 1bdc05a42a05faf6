// The inner rows of chosen experts, as inner.cu computes them, for IQ2_XXS and few tokens.
//
// Looking up points and signs is most of the work. Both tables lie in shared memory 32 times, so that no
// two lanes ever meet in a bank. An entry is a word of selectors. Tables begin at a multiple of their
// size, so that an address takes one or two instructions: with WIDE ones, where entries of points and
// signs lie side by side, 256 bytes for an index, the index is a byte of the address.
//
// Blocks take stretches of all rows of all tokens; their sums meet in shared memory, where the block
// activates them at its end and, if that is wanted, rounds them to 8 bits. A row has 32 HELD chunks of
// 32 columns, of which a lane takes HELD in pairs, and an expert INNER rows.

// Long rows take more registers.
#define THREADS (HELD > 4 ? 384 : 512)
#define WARPS (THREADS / WARP)
// Bytes of both tables, what they begin at a multiple of, and from points to signs.
#define TABLE_BYTES 0x10000u
#define ALIGNED (WIDE ? 0x10000u : 0x8000u)
#define TO_SIGNS (WIDE ? 0x80 : 0x8000)
#define PAIRS (HELD / 2)

extern __shared__ __align__(16) u8 pool[];

// Bytes of the pool before the tables.
DEVICE u32 before_tables() {
    u32 at = (u32)__cvta_generic_to_shared(pool);
    return (at + ALIGNED - 1) / ALIGNED * ALIGNED - at;
}

// A word that is to stay in the second-level cache until the next layer needs it.
DEVICE u32 kept(const u32 *at) {
    u64 policy;
    u32 word;
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
    asm("ld.global.nc.L2::cache_hint.u32 %0, [%1], %2;" : "=r"(word) : "l"(at), "l"(policy));
    return word;
}

DEVICE void fill_tables(u8 *first) {
    for (u32 i = threadIdx.x; i < 512 * 8; i += THREADS) {
        u32 index = i / 8 % 256, word = i < 256 * 8 ? kept(LEVELS + index) : sign_selectors(index);
        u8 *to = first + index * (WIDE ? 256 : 128) + i / 2048 * TO_SIGNS + i % 8 * 16;
        *(uint4 *)to = make_uint4(word, word, word, word);
    }
}

// The entry of byte `k` of a word; OFFSET is 0 for points.
template <int OFFSET>
DEVICE u32 entry(u32 word, int k, u32 tables) {
#if WIDE
    u32 at = picked_bytes(word, tables, 0x7604 | k << 4), value;
#else
    u32 at = (k ? word >> (8 * k - 7) : word << 7) & 0x7f80 | tables, value;
#endif
    asm("ld.shared.u32 %0, [%1 + %2];" : "=r"(value) : "r"(at), "n"(OFFSET));
    return value;
}

// A lane's part of a row of one matrix: pairs of chunks, and one more if their number is odd.
struct Line {
    uint4 pairs[PAIRS + 1];
    u16 scales[PAIRS + 1];
};

DEVICE void load_line(Line &line, const u8 *codes, const u8 *scales, u64 row) {
    u32 lane = threadIdx.x % WARP;
    const uint4 *from = (const uint4 *)(codes + row * (HELD * 256)) + lane;
    const u16 *of_blocks = (const u16 *)scales + row * (HELD * 4);
#pragma unroll
    for (u32 i = 0; i < PAIRS; i++) {
        line.pairs[i] = fixed(from + i * WARP);
        line.scales[i] = fixed(of_blocks + i * 8 + lane / 4);
    }
    if (HELD % 2) {
        uint2 one = fixed((const uint2 *)(codes + row * (HELD * 256) + PAIRS * 512) + lane);
        line.pairs[PAIRS] = make_uint4(one.x, one.y, 0, 0);
        line.scales[PAIRS] = fixed(of_blocks + PAIRS * 8 + lane / 8);
    }
}

// A token's activations that belong to this lane's chunks; steps have the eighth of the scale.
struct Lane {
    int4 x[HELD][2];
    float steps[HELD];
};

DEVICE void take_token(Lane &own, const i8 *codes, const float *steps, u32 t) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 i = 0; i < HELD; i++) {
        u32 c = i < 2 * PAIRS ? (i / 2 * WARP + lane) * 2 + i % 2 : 2 * PAIRS * WARP + lane;
        u64 at = (u64)t * (HELD * WARP) + c;
        own.x[i][0] = ((const int4 *)codes)[2 * at];
        own.x[i][1] = ((const int4 *)codes)[2 * at + 1];
        own.steps[i] = steps[at] * 0.125f;
    }
}

// The product of chunk `i` of this lane with four points and their signs, without the block's scale.
DEVICE float dot_chunk(u32 points, u32 signs, const Lane &own, u32 i, u32 tables) {
    int4 low = own.x[i][0], high = own.x[i][1];
    int v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}, all = 0;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        // No bit is in both; added, since other units do that than the ones that look up.
        u32 of = entry<0>(points, k, tables) + entry<TO_SIGNS>(signs, k, tables);
        all = __dp4a(four_values(of), v[2 * k], all);
        all = __dp4a(four_values(of >> 16), v[2 * k + 1], all);
    }
    // Bits 7, 15, 23 and 31 side by side, and a one behind them: twice the scale's bits, and 1.
    u32 scale = ((signs & 0x80808080u) * 0x00204081u + (1u << 27)) >> 27;
    return own.steps[i] * (float)(all * (int)scale);
}

DEVICE float dot_line(const Line &line, const Lane &own, u32 tables) {
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < (HELD + 1) / 2; i++) {
        uint4 w = line.pairs[i];
        float both = dot_chunk(w.x, w.y, own, 2 * i, tables);
        if (i < PAIRS) both += dot_chunk(w.z, w.w, own, 2 * i + 1, tables);
        sum += half_to_float(line.scales[i]) * both;
    }
    return sum;
}

// Lanes 0 to 15 get the sum of all lanes' `a`, the others that of `b`.
DEVICE float sum_both(float a, float b) {
    bool upper = threadIdx.x % WARP >= 16;
    float sum = upper ? b : a;
    sum += __shfl_xor_sync(0xffffffff, upper ? a : b, 16);
#pragma unroll
    for (int distance = 8; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, distance);
    return sum;
}

// Rounds the values of a warp's lanes, which stand at `at`, a multiple of 32 and the lanes' numbers, as
// `round_four` does.
DEVICE void round_lanes(float v, u32 at, const Rounded &to) {
    // Magnitudes that are not finite have the largest bits.
    u32 bits = __reduce_max_sync(0xffffffff, __float_as_uint(fabsf(v)));
    float largest = __uint_as_float(bits);
    bool finite = bits < 0x7f800000, tiny = largest < __uint_as_float(1u << 23) * 256.0f;
    float step = !finite ? NOT_A_NUMBER : tiny ? 0.0f : largest / 127.0f;
    int code = !finite || tiny ? 0 : __float2int_rn(v * (127.0f / largest));
    int sum = __reduce_add_sync(0xffffffff, code);
    int first = __reduce_add_sync(0xffffffff, at % 32 < 16 ? code : 0);
    to.codes[at] = (i8)code;
    if (at % 32 == 0) {
        to.steps[at / 32] = step;
        to.halves[at / 32] = make_float2(step * first, step * (sum - first));
    }
}

// The stretch from row `first` on, of `count` rows, whose sums are there: to `out`, or rounded, and then
// INNER is a multiple of 32. `share` is that of this thread's first row.
DEVICE void finish(const float2 *sums, u32 first, u32 count, const float *shares, float share, float clamp,
                   float *out, const Rounded &to) {
    auto value = [&](u32 i) {
        float of = i == threadIdx.x ? share : shares[(first + i) / INNER];
        return of * activate(sums[i].x, sums[i].y, clamp);
    };
    if (!to.codes) {
        for (u32 i = threadIdx.x; i < count; i += THREADS) out[first + i] = value(i);
        return;
    }
    for (u32 i = threadIdx.x; i < count; i += THREADS) round_lanes(value(i), first + i, to);
}

// `rows` are those of all tokens and their experts; a stretch begins at a multiple of 32 of them.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lattice_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub, const u8 *uc,
                  const i8 *codes, const float *steps, const u32 *picks, const float *shares, float *out,
                  i8 *out_codes, float *out_steps, float2 *out_halves, u32 rows, u32 used, float clamp) {
    u32 before = before_tables(), lane = threadIdx.x % WARP, units = (rows + 31) / 32;
    fill_tables(pool + before);
    u32 tables = (u32)__cvta_generic_to_shared(pool) + before + 4 * lane;
    float2 *sums = (float2 *)(pool + before + TABLE_BYTES);
    u32 begin = (u32)((u64)units * blockIdx.x / gridDim.x) * 32;
    u32 end = min((u32)((u64)units * (blockIdx.x + 1) / gridDim.x) * 32, rows);
    u32 i = begin + threadIdx.x / WARP, t = i / (used * INNER);
    __syncthreads();
    wait_for_inputs();
    // Not sooner: who comes next inherits the picks, and no processor has room for it beside this anyway.
    let_next_inherit();

    // Asked for now, since it is needed when nothing else is left to wait for.
    float share = begin + threadIdx.x < end ? shares[(begin + threadIdx.x) / INNER] : 0.0f;
    if (i < end) {
        Lane own;
        Line gate, up, next_gate, next_up;
        u64 row = (u64)picks[i / INNER] * INNER + i % INNER;
        take_token(own, codes, steps, t);
        load_line(gate, ga, gb, row);
        load_line(up, ua, ub, row);
        // Multiplies what is there while the next row is on its way; whether there is a next one.
        auto turn = [&](const Line &gate, const Line &up, Line &next_gate, Line &next_up) {
            u32 after = i + WARPS, next = after < end ? after : i;
            u64 row = (u64)picks[next / INNER] * INNER + next % INNER;
            load_line(next_gate, ga, gb, row);
            load_line(next_up, ua, ub, row);
            if (i >= (t + 1) * used * INNER) take_token(own, codes, steps, ++t);
            float a = dot_line(gate, own, tables), b = dot_line(up, own, tables);
            float sum = sum_both(a, b);
            if (lane % 16 == 0) ((float *)(sums + (i - begin)))[lane / 16] = sum;
            i = after;
            return i < end;
        };
        while (turn(gate, up, next_gate, next_up) && turn(next_gate, next_up, gate, up)) {}
    }
    __syncthreads();
    finish(sums, begin, end - begin, shares, share, clamp, out, {out_codes, out_steps, out_halves});
}
