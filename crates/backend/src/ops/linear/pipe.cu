// out[t][row] = W[row] . x[t] for up to four tokens: weights of Q8_0, and beside them weights of 16-bit
// floats, all of COLS columns, in a pipe through shared memory. See given.cuh for what it is called with.
//
// One block has a processor to itself and takes rows in turn. Each of its warps has a fixed slice of
// the columns, a piece of 1,024 bytes of every row, and holds the activations that belong to it in
// registers. Pieces are copied ahead into the warp's own ring of DEPTH, so warps never wait for each
// other until the end, when the sums of slices are added. The ring is filled before the kernels in front
// have ended: what it holds is a good part of all weights, and costs no time any more.
//
//   warp 0: row 0, columns 0..1023     row G, columns 0..1023     row 2 G ...
//   warp 1: row 0, columns 1024..2047  row G, columns 1024..2047  ...
//
// Bytes: every weight once, the activations once per block.
//
// Nothing reads a weight again before all others have been read, so their lines in the second-level cache
// are the first to go: what steps leave there for each other stays.

#define WARPS 16
#define PIPE_THREADS (WARPS * WARP)
#define DEPTH 8
#define PIECE 1024
// With the scales of a piece of Q8_0.
#define SLOT (PIECE + PIECE / 32 * 2)

// Where a block's rows lie among those of all matrices of a kind: it takes some from `first` on, then as
// many `apart` further, until `end`. Either all blocks' rows lie beside each other in every turn, or
// each block's own do, in a run of `run` rows.
struct Stretch {
    u32 first, apart, end;
};

DEVICE u32 turns_of(const Stretch &s) {
    return s.first < s.end ? (s.end - s.first + s.apart - 1) / s.apart : 0;
}

// The rows of weights with BYTES bytes per value that this warp has still to take, one in a turn, of all
// matrices from number `which` on, one after the other.
template <int BYTES>
struct Rows {
    static const u32 SLICES = COLS * BYTES / PIECE;
    static const u32 AT_ONCE = WARPS / SLICES;
    // The matrix that has the row, and the rows of those before it.
    u32 which, before;
    Stretch left;

    __device__ __forceinline__ static u32 slice() { return threadIdx.x / WARP % SLICES; }

    // The row in its matrix, and the next turn's becomes the one to ask for.
    __device__ __forceinline__ u32 take(const Matrices &all) {
        while (left.first - before >= (u32)all.of[which].rows) before += (u32)all.of[which++].rows;
        u32 there = left.first - before;
        left.first += left.apart;
        return there;
    }
};

template <int BYTES>
DEVICE Stretch stretch_of(u32 first, u32 end, u32 own, u32 blocks, u32 run) {
    const u32 at_once = Rows<BYTES>::AT_ONCE;
    if (run == 0) return {first + own * at_once, blocks * at_once, end};
    first = min(first + own * run, end);
    return {first, at_once, min(first + run, end)};
}

// A warp's part of it. Warps that are left over have none.
template <int BYTES>
DEVICE Rows<BYTES> rows_of(const Stretch &s, u32 which) {
    u32 at = threadIdx.x / WARP / Rows<BYTES>::SLICES;
    return {which, 0, {at < Rows<BYTES>::AT_ONCE ? s.first + at : s.end, s.apart, s.end}};
}

// One warp's ring.
struct Ring {
    u8 *slots;
    u32 at;

    __device__ __forceinline__ u8 *slot() const { return slots + at * SLOT; }
    __device__ __forceinline__ void turn() { at = at + 1 == DEPTH ? 0 : at + 1; }
};

DEVICE void copy_once(u8 *to, const u8 *from, u64 policy) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "l"(policy) : "memory");
}

DEVICE void copy_piece(u8 *to, const u8 *from, u64 policy) {
    u32 lane = threadIdx.x % WARP;
    copy_once(to + lane * 16, from + lane * 16, policy);
    copy_once(to + PIECE / 2 + lane * 16, from + PIECE / 2 + lane * 16, policy);
}

// Begins to copy the next piece of all that a warp takes, the floats first, if there is one left.
DEVICE void fetch(u8 *slot, const Matrices &all, Rows<2> &floats, Rows<1> &codes, u64 policy) {
    if (floats.left.first < floats.left.end) {
        u32 row = floats.take(all);
        copy_piece(slot, all.of[floats.which].a + (u64)row * (2 * COLS) + floats.slice() * PIECE,
                   policy);
    } else if (codes.left.first < codes.left.end) {
        u32 row = codes.take(all), lane = threadIdx.x % WARP;
        const Matrix &w = all.of[codes.which];
        copy_piece(slot, w.a + (u64)row * COLS + codes.slice() * PIECE, policy);
        const u8 *scales = w.b + ((u64)row * COLS + codes.slice() * PIECE) / 32 * 2;
        if (lane < 4) copy_once(slot + PIECE + lane * 16, scales + lane * 16, policy);
    }
    copies_end();
}

// A lane's activations of a token for its slice of 16-bit floats: eight beside each other, and eight 256
// further.
struct Floats {
    float4 x[4];
};

DEVICE void hold(Floats &to, const float *floats, u32 slice) {
    const float4 *from = (const float4 *)(floats + slice * (PIECE / 2)) + threadIdx.x % WARP * 2;
#pragma unroll
    for (int i = 0; i < 4; i++) to.x[i] = from[i / 2 * 64 + i % 2];
}

// The products of the lane's part of a piece.
template <int TOKENS>
DEVICE void multiply(float (&sums)[TOKENS], const u8 *slot, const Floats (&tokens)[TOKENS]) {
    const uint4 *w = (const uint4 *)slot + threadIdx.x % WARP;
    uint4 v[2] = {w[0], w[WARP]};
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        sums[t] = 0;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float4 low = tokens[t].x[2 * i], high = tokens[t].x[2 * i + 1];
            sums[t] += other::two(v[i].x, low.x, low.y) + other::two(v[i].y, low.z, low.w)
                     + other::two(v[i].z, high.x, high.y) + other::two(v[i].w, high.z, high.w);
        }
    }
}

// The same for codes: sixteen, and sixteen 512 further, with their steps.
struct Codes {
    int4 x[2];
    float steps[2];
};

DEVICE void hold(Codes &to, const i8 *codes, const float *steps, u32 slice) {
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        u32 column = slice * PIECE + i * (PIECE / 2) + threadIdx.x % WARP * 16;
        to.x[i] = *(const int4 *)(codes + column);
        to.steps[i] = steps[column / 32];
    }
}

template <int TOKENS>
DEVICE void multiply(float (&sums)[TOKENS], const u8 *slot, const Codes (&tokens)[TOKENS]) {
    u32 lane = threadIdx.x % WARP;
    const u16 *scales = (const u16 *)(slot + PIECE) + lane / 2;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) sums[t] = 0;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int4 w = ((const int4 *)slot)[i * WARP + lane];
        float scale = half_to_float(scales[i * 16]);
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            sums[t] += scale * tokens[t].steps[i] * (float)one::dot16(w, tokens[t].x[i], 0);
    }
}

// The sum of the slices of row `i` of those that a block takes, for token `t` of TOKENS; `parts` are sums
// [turns, WARPS, TOKENS].
template <int BYTES, int TOKENS>
DEVICE float sum_of(const float *parts, u32 i, u32 t) {
    const u32 at_once = Rows<BYTES>::AT_ONCE, slices = Rows<BYTES>::SLICES;
    const float *part = parts + (i / at_once * WARPS + i % at_once * slices) * TOKENS + t;
    float sum = 0;
    for (u32 k = 0; k < slices; k++) sum += part[k * TOKENS];
    return sum;
}

// Stores the rows of a stretch, which is of the matrices from number `which` on.
template <int BYTES, int TOKENS>
DEVICE void store_rows(const Matrices &all, u32 which, const Stretch &s, const float *parts, u32 tokens,
                       u32 onto) {
    const u32 at_once = Rows<BYTES>::AT_ONCE;
    for (u32 i = threadIdx.x; i < turns_of(s) * at_once * TOKENS; i += PIPE_THREADS) {
        u32 t = i % TOKENS, at = i / TOKENS, matrix = which;
        u32 row = s.first + at / at_once * s.apart + at % at_once;
        if (row >= s.end || t >= tokens) continue;
        float sum = sum_of<BYTES, TOKENS>(parts, at, t);
        while (row >= (u32)all.of[matrix].rows) row -= (u32)all.of[matrix++].rows;
        float *to = all.of[matrix].out + t * all.of[matrix].rows + row;
        *to = onto ? *to + sum : sum;
    }
}

// The same for a run of codes' rows of one matrix, which are rounded as well: whole blocks of 32.
template <int TOKENS>
DEVICE void store_rounded(const Matrix &w, const Stretch &s, const float *parts, u32 tokens,
                          const Rounded &to) {
    u32 fours = (s.end - s.first) / 4;
    for (u32 i = threadIdx.x; i < fours * tokens; i += PIPE_THREADS) {
        u32 t = i / fours, at = i % fours;
        float v[4];
#pragma unroll
        for (u32 k = 0; k < 4; k++) v[k] = sum_of<1, TOKENS>(parts, 4 * at + k, t);
        float4 four = make_float4(v[0], v[1], v[2], v[3]);
        u64 place = (t * w.rows + s.first) / 4 + at;
        ((float4 *)w.out)[place] = four;
        round_four(four, place, to);
    }
}

// The first `count` matrices are of codes and have `code_rows` rows in all, those after them of floats.
// With several groups there is one matrix, whose rows and columns of x they share out evenly, and as many
// blocks for each. With a `run`, of one matrix of codes, what comes out is rounded to `to` as well. Dynamic
// shared memory: WARPS rings, then WARPS * TOKENS floats for each turn.
template <int TOKENS>
DEVICE void pipe(const Matrices &all, const Given &given, u32 count, u32 code_rows, u32 float_rows,
                 u32 groups, u32 tokens, u32 onto, u32 run, const Rounded &to) {
    let_next_begin();
    extern __shared__ __align__(16) u8 pool[];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 group = blockIdx.x % groups, own = blockIdx.x / groups, blocks = gridDim.x / groups;
    u32 of_group = code_rows / groups;
    Stretch floats_at = stretch_of<2>(0, float_rows, own, blocks, 0);
    u32 first = group * of_group;
    Stretch codes_at = stretch_of<1>(first, first + of_group, own, blocks, run);
    Rows<2> float_rows_left = rows_of<2>(floats_at, count);
    Rows<1> code_rows_left = rows_of<1>(codes_at, 0);
    u32 float_turns = turns_of(float_rows_left.left), code_turns = turns_of(code_rows_left.left);
    Ring ring = {pool + warp * (DEPTH * SLOT), 0};
    u64 policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    for (u32 i = 0; i < DEPTH; i++)
        fetch(ring.slots + i * SLOT, all, float_rows_left, code_rows_left, policy);
    wait_for_inputs();
    Floats floats[TOKENS];
    Codes codes[TOKENS];
#pragma unroll
    for (u32 t = 0; t < TOKENS; t++) {
        // Tokens beyond the last repeat it; nobody stores their results.
        u64 at = (u64)min(t, tokens - 1) * groups + group;
        if (float_turns) hold(floats[t], given.floats + at * COLS, float_rows_left.slice());
        hold(codes[t], given.codes + at * COLS, given.steps + at * (COLS / 32), code_rows_left.slice());
    }
    float *parts = (float *)(pool + WARPS * DEPTH * SLOT), sums[TOKENS];
    auto keep = [&](float *to) {
#pragma unroll
        for (u32 t = 0; t < TOKENS; t++) {
            float sum = warp_sum(sums[t]);
            if (lane == 0) to[warp * TOKENS + t] = sum;
        }
        // Every lane has read the slot.
        fetch(ring.slot(), all, float_rows_left, code_rows_left, policy);
        ring.turn();
    };
    for (u32 i = 0; i < float_turns; i++) {
        copies_but<DEPTH - 1>();
        __syncwarp();
        multiply<TOKENS>(sums, ring.slot(), floats);
        keep(parts + i * (WARPS * TOKENS));
    }
    float *code_parts = parts + turns_of(floats_at) * (WARPS * TOKENS);
    for (u32 i = 0; i < code_turns; i++) {
        copies_but<DEPTH - 1>();
        __syncwarp();
        multiply<TOKENS>(sums, ring.slot(), codes);
        keep(code_parts + i * (WARPS * TOKENS));
    }
    __syncthreads();
    if (run) return store_rounded<TOKENS>(all.of[0], codes_at, code_parts, tokens, to);
    store_rows<2, TOKENS>(all, count, floats_at, parts, tokens, onto);
    store_rows<1, TOKENS>(all, 0, codes_at, code_parts, tokens, onto);
}

#define PIPE(TOKENS)                                                                               \
    extern "C" __global__ void __launch_bounds__(PIPE_THREADS, 1)                                  \
        pipe##TOKENS(Matrices all, const i8 *codes, const float *steps, const float *floats,       \
                     u32 count, u32 code_rows, u32 float_rows, u32 groups, u32 tokens, u32 onto,   \
                     u32 run, i8 *to_codes, float *to_steps, float2 *to_halves) {                  \
        pipe<TOKENS>(all, {codes, steps, 0, floats}, count, code_rows, float_rows, groups, tokens, \
                     onto, run, {to_codes, to_steps, to_halves});                                  \
    }

PIPE(1)
PIPE(2)
PIPE(4)
