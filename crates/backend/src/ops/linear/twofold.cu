// out[t][row] = W[row] . x[t] for many tokens with weights in F16, on tensor cores: activations are
// two F16 each, as twofold.cuh says. Up to eight weights with the same activations, or one by groups.
// Compiled for tiles of ROWS weight rows, 64, 128 or 256, and a number of SLOTS.
//
// A block stays on its processor and takes one tile after the other. Its last 128 threads copy 64
// columns of 128 tokens and of ROWS weight rows at a time to slots in shared memory, as far ahead as
// there are slots, also into the next tile. Every other 128 threads multiply 64 of the tokens with
// all rows of the tile, high parts and low parts into the same sums. Hopper does it with instructions
// of a group that take both sides from shared memory and end later; others with those of a warp.

#define TOKENS 128
#define GROUP 128
#define GROUP_TOKENS 64
#define SLOT_BYTES ((2 * TOKENS + ROWS) * STAGE_LINE)
// Stages that are on their way at once: a slot is left when the one after it is full.
#define LAG (SLOTS - 2)
#define BLOCK_THREADS (TOKENS / GROUP_TOKENS * GROUP + GROUP)

typedef SlotTurn<SLOTS> Turn;

// Slots: lines of high parts, of low parts, and of weights; then the barriers, that each is full and
// that it is empty.
struct Room {
    u32 slots;
    u64 *full, *empty;

    __device__ __forceinline__ Room(u8 *pool) {
        slots = shared_address(pool);
        full = (u64 *)(pool + SLOTS * SLOT_BYTES);
        empty = full + SLOTS;
        if (threadIdx.x < 2 * SLOTS) {
            u32 warps = (threadIdx.x < SLOTS ? GROUP : BLOCK_THREADS - GROUP) / WARP;
            barrier_begin(full + threadIdx.x, warps);
        }
        __syncthreads();
    }
};

// A thread's sums for eight rows each: two rows of one token, and of the token eight below.
struct Sums {
    float of[ROWS / 8][4];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define FOUR(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define FOURS(j) FOUR(j), FOUR(j + 1), FOUR(j + 2), FOUR(j + 3), FOUR(j + 4), FOUR(j + 5),         \
                 FOUR(j + 6), FOUR(j + 7)
#define TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, "  \
               "%" #t "8, %" #t "9"
#define NAMES_30 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) ", " TEN(2)
#define NAMES_60 NAMES_30 ", " TEN(3) ", " TEN(4) ", " TEN(5)
#if ROWS == 64
#define SUMS FOURS(0)
#define NAMES NAMES_30 ", %30, %31"
#define SIDES "%32, %33"
#elif ROWS == 128
#define SUMS FOURS(0), FOURS(8)
#define NAMES NAMES_60 ", %60, %61, %62, %63"
#define SIDES "%64, %65"
#else
#define SUMS FOURS(0), FOURS(8), FOURS(16), FOURS(24)
#define NAMES NAMES_60 ", " TEN(6) ", " TEN(7) ", " TEN(8) ", " TEN(9) ", " TEN(10) ", " TEN(11)   \
              ", %120, %121, %122, %123, %124, %125, %126, %127"
#define SIDES "%128, %129"
#endif
#define TEXT(n) #n
#define NUMBER(n) TEXT(n)

// sums += x w for sixteen columns.
DEVICE void multiply(float (&d)[ROWS / 8][4], u64 x, u64 w) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n" NUMBER(ROWS) "k16.f32.f16.f16 {" NAMES "}, "
                 SIDES ", 1, 1, 1, 0, 0;" : SUMS : "l"(x), "l"(w));
}

// Lines of 128 bytes from `at` on, swizzled, eight of them together.
DEVICE u64 lines(u32 at) {
    return (u64)1 << 62 | (u64)(8 * STAGE_LINE / 16) << 32 | 1 << 16 | at >> 4;
}

// All columns of a slot: `x` are this group's high parts there.
DEVICE void multiply_slot(Sums &sums, u32 x, u32 w) {
#pragma unroll
    for (int step = 0; step < STAGE_COLS / 16; step++) {
        multiply(sums.of, lines(x + step * 32), lines(w + step * 32));
        multiply(sums.of, lines(x + TOKENS * STAGE_LINE + step * 32), lines(w + step * 32));
    }
}
#else
DEVICE void multiply_slot(Sums &sums, u32 x, u32 w) {
    u32 lane = threadIdx.x % WARP, token = threadIdx.x % GROUP / WARP * 16 + lane % 16;
    u32 row = lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int step = 0; step < STAGE_COLS / 16; step++) {
        u32 high[4], low[4], from = x + swizzled(token, step * 2 + lane / 16, 8) * 16;
        load4(high, from);
        load4(low, from + TOKENS * STAGE_LINE);
#pragma unroll
        for (int j = 0; j < ROWS / 8; j += 2) {
            u32 b[4];
            load4(b, w + j * 8 * STAGE_LINE + swizzled(row, step * 2 + lane / 8 % 2, 8) * 16);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float (&d)[4] = sums.of[j + i % 2];
                const u32 (&a)[4] = i < 2 ? high : low;
                asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                    "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[i % 2 * 2]),
                      "r"(b[i % 2 * 2 + 1]));
            }
        }
    }
}
#endif

// `count` tokens from `first` on, with ROWS rows of a weight from `row` on.
struct Job {
    const u8 *w;
    float *out;
    u32 first, count, row, rows;
};

struct Work {
    const Matrices &all;
    const u8 *x;
    const float *factors;
    u32 cols, groups, tokens, tiles;

    // Tokens first, so that blocks that run together share weights.
    __device__ __forceinline__ Job job(u32 i) const {
        u32 across = (tokens + TOKENS - 1) / TOKENS, strip = i / across, first = i % across * TOKENS;
        const Matrix &m = matrix_of(all, 0, strip, ROWS);
        return {m.a, m.out, first, min(tokens - first, TOKENS), strip * ROWS, (u32)m.rows};
    }
    __device__ __forceinline__ u32 line(const Job &job, u32 t) const {
        return (job.first + t) * groups + job.row / (job.rows / groups);
    }
};

// Begins to copy a thread's chunks of a stage, sixteen lines apart. Tokens and rows beyond the last
// are zero.
DEVICE void copy_stage(const Work &work, const Job &job, u32 slot, u32 stage) {
    u32 thread = threadIdx.x % GROUP, chunk = thread % 8, first = thread / 8;
    u32 to = slot + swizzled(first, chunk, 8) * 16;
#pragma unroll
    for (u32 k = 0; k < TOKENS / 16; k++) {
        bool there = first + k * 16 < job.count;
        u64 line = work.line(job, there ? first + k * 16 : 0);
        const u8 *from = work.x + line * work.cols * 4 + stage * (2 * STAGE_LINE) + chunk * 16;
        copy16_to(to + k * 16 * STAGE_LINE, from, there);
        copy16_to(to + (TOKENS + k * 16) * STAGE_LINE, from + STAGE_LINE, there);
    }
    to += 2 * TOKENS * STAGE_LINE;
#pragma unroll
    for (u32 k = 0; k < ROWS / 16; k++) {
        u32 row = job.row + first + k * 16;
        bool there = row < job.rows;
        const u8 *from = job.w + (u64)(there ? row : 0) * work.cols * 2 + stage * STAGE_LINE;
        copy16_to(to + k * 16 * STAGE_LINE, from + chunk * 16, there);
    }
}

// Copies the tiles of a block, all stages of each.
DEVICE void copy_tiles(const Work &work, const Room &room) {
    Filler<SLOTS, LAG> filler(room.full, room.empty);
    for (u32 i = blockIdx.x; i < work.tiles; i += gridDim.x) {
        Job job = work.job(i);
        for (u32 stage = 0; stage < work.cols / STAGE_COLS; stage++) {
            copy_stage(work, job, room.slots + filler.slot() * SLOT_BYTES, stage);
            filler.next();
        }
    }
    filler.end();
}

DEVICE void store(const Work &work, const Job &job, const Sums &sums) {
    u32 lane = threadIdx.x % WARP, row = job.row + lane % 4 * 2;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 t = threadIdx.x / WARP * 16 + half * 8 + lane / 4;
        if (t >= job.count) continue;
        float factor = work.factors[work.line(job, t)];
        float *to = job.out + (u64)(job.first + t) * job.rows + row;
#pragma unroll
        for (u32 j = 0; j < ROWS / 8; j++) {
            u32 at = row + j * 8;
            float a = sums.of[j][2 * half] * factor, b = sums.of[j][2 * half + 1] * factor;
            if (job.rows % 2 == 0 && at < job.rows) *(float2 *)(to + j * 8) = make_float2(a, b);
            else {
                if (at < job.rows) to[j * 8] = a;
                if (at + 1 < job.rows) to[j * 8 + 1] = b;
            }
        }
    }
}

DEVICE void multiply_tiles(const Work &work, const Room &room) {
    Turn turn = {0, 0};
    u32 group = threadIdx.x / GROUP * GROUP_TOKENS * STAGE_LINE;
    for (u32 i = blockIdx.x; i < work.tiles; i += gridDim.x) {
        Sums sums = {};
        u32 before = 0;
        for (u32 stage = 0; stage < work.cols / STAGE_COLS; stage++) {
            u32 slot = room.slots + turn.slot * SLOT_BYTES;
            wait(room.full + turn.slot, turn.parity);
            products_begin();
            multiply_slot(sums, slot + group, slot + 2 * TOKENS * STAGE_LINE);
            products_end();
            products_but<1>();
            if (stage > 0) arrive(room.empty + before);
            before = turn.slot;
            turn.next();
        }
        products_but<0>();
        arrive(room.empty + before);
        store(work, work.job(i), sums);
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK_THREADS, 1)
    twofold(const Matrices all, const u8 *x, const float *factors, u32 cols, u32 groups, u32 tokens,
            u32 tiles) {
    extern __shared__ __align__(1024) u8 pool[];
    let_next_begin();
    Work work = {all, x, factors, cols, groups, tokens, tiles};
    Room room(pool);
    wait_for_inputs();
    if (threadIdx.x < BLOCK_THREADS - GROUP) multiply_tiles(work, room);
    else copy_tiles(work, room);
}
