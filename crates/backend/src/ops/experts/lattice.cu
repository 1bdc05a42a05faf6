// The inner rows of chosen experts, as inner.cu computes them, for IQ2_XXS and few tokens. Looking up
// points and signs is most of the work: both tables lie in shared memory 32 times, so that no two lanes
// ever meet in a bank. Activations stay in registers.
//
// An entry is a word of selectors. Tables begin at a multiple of their size, so that an address takes
// one or two instructions: with WIDE ones, where entries are 256 bytes apart, the index is a byte of
// the address; else they are 128 bytes apart.
//
// Blocks: some (x) for each token (y); warps take rows in turn. HELD chunks of a row are one lane's;
// a row has 32 HELD chunks of 32 columns, and an expert INNER rows.

#define THREADS 512
#define APART (WIDE ? 256 : 128)
#define TABLE_BYTES (256 * APART)

extern __shared__ u8 pool[];

// Where this lane's copy of the first entry is; that of the signs is TABLE_BYTES further.
DEVICE u32 tables_at(u32 lane) {
    u32 at = (u32)__cvta_generic_to_shared(pool);
    return (at + TABLE_BYTES - 1) / TABLE_BYTES * TABLE_BYTES + 4 * lane;
}

DEVICE void fill_tables() {
    u8 *first = pool + (tables_at(0) - (u32)__cvta_generic_to_shared(pool));
    for (u32 i = threadIdx.x; i < 512 * 8; i += THREADS) {
        u32 entry = i / 8, index = entry % 256;
        u32 word = entry < 256 ? LEVELS[index] : sign_selectors(index);
        *(uint4 *)(first + entry * APART + i % 8 * 16) = make_uint4(word, word, word, word);
    }
}

// The entry of byte `k` of a word, in the table that is `OFFSET` bytes after `first`.
template <int OFFSET>
DEVICE u32 entry(u32 word, int k, u32 first) {
#if WIDE
    u32 at = __byte_perm(word, first, 0x7604 | k << 4), value;
#else
    u32 at = (k ? word >> (8 * k - 7) : word << 7) & 0x7f80 | first, value;
#endif
    asm volatile("ld.shared.u32 %0, [%1 + %2];" : "=r"(value) : "r"(at), "n"(OFFSET));
    return value;
}

// A lane's part of a row of one matrix.
struct Line {
    Chunk of[HELD];
};

// What `load` does, chunk by chunk, with one address for all of them.
DEVICE void load_line(Line &line, Planes planes, u64 row, u32 lane) {
    const uint2 *codes = (const uint2 *)planes.a + row * (HELD * WARP) + lane;
    const u16 *scales = (const u16 *)planes.b + row * (HELD * 4) + lane / 8;
#pragma unroll
    for (int i = 0; i < HELD; i++) line.of[i] = {fixed(codes + i * WARP), fixed(scales + i * 4)};
}

DEVICE float dot_line(const Line &line, const int4 (&x)[HELD][2], const float (&steps)[HELD],
                      u32 tables) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        uint2 w = line.of[i].w;
        int v[8] = {x[i][0].x, x[i][0].y, x[i][0].z, x[i][0].w,
                    x[i][1].x, x[i][1].y, x[i][1].z, x[i][1].w};
        int all = 0;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u32 of = entry<0>(w.x, k, tables) | entry<TABLE_BYTES>(w.y, k, tables);
            all = __dp4a(four_values(of), v[2 * k], all);
            all = __dp4a(four_values(of >> 16), v[2 * k + 1], all);
        }
        // Steps have the eighth of the scale, and the rest of it is a whole number.
        int scale = 2 * scale_bits(line.of[i]) + 1;
        sum += half_to_float(line.of[i].d) * steps[i] * (float)(all * scale);
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lattice_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub, const u8 *uc,
                  const i8 *codes, const float *steps, const u32 *picks, const float *shares,
                  float *out, u32 used, float clamp) {
    let_next_begin();
    fill_tables();
    __syncthreads();
    wait_for_inputs();
    u32 lane = threadIdx.x % WARP, t = blockIdx.y, rows = used * INNER;
    u32 tables = tables_at(lane);
    Token all = token_at({codes, steps, 0, 0}, t, HELD * 1024);
    int4 x[HELD][2];
    float own[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        u32 c = i * WARP + lane;
        x[i][0] = ((const int4 *)all.codes)[2 * c];
        x[i][1] = ((const int4 *)all.codes)[2 * c + 1];
        own[i] = all.steps[c] * 0.125f;
    }
    picks += (u64)t * used;
    shares += (u64)t * used;
    out += (u64)t * rows;
    u32 step = gridDim.x * (THREADS / WARP), i = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (i >= rows) return;
    Planes gates = {ga, gb, gc}, ups = {ua, ub, uc};
    u64 row = (u64)picks[i / INNER] * INNER + i % INNER;
    Line gate, up, next_gate, next_up;
    load_line(gate, gates, row, lane);
    load_line(up, ups, row, lane);
    // Multiplies what is there while the next row is on its way; whether there is a next one.
    auto turn = [&](const Line &gate, const Line &up, Line &next_gate, Line &next_up) {
        u32 after = i + step, next = after < rows ? after : i;
        row = (u64)picks[next / INNER] * INNER + next % INNER;
        load_line(next_gate, gates, row, lane);
        load_line(next_up, ups, row, lane);
        float a = warp_sum(dot_line(gate, x, own, tables));
        float b = warp_sum(dot_line(up, x, own, tables));
        if (lane == 0) out[i] = shares[i / INNER] * activate(a, b, clamp);
        i = after;
        return i < rows;
    };
    while (turn(gate, up, next_gate, next_up) && turn(next_gate, next_up, gate, up)) {}
}
