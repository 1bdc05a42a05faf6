// Products of tiles of weight rows with tiles of tokens, on tensor cores in BF16. A unit that
// includes this comes after weights.cuh, slots.cuh and fragment.cuh, and is compiled for one
// quantized FORMAT, for tiles of at most TOKENS tokens, 64 or 128, and a number of SLOTS.
//
// A block stays on its processor and takes one tile after the other. Its last 128 threads copy
// activations, which are in BF16 and in the order of columns that bf16.cuh says, to slots of 64
// columns in shared memory, as far ahead as there are slots, also into the next tile. Every other
// 128 threads are a group that takes 64 weight rows: weights go from memory to registers, are
// decoded there, and are the left operand of products, once for all tokens. Sums stay in registers,
// as floats, and are final, since scales are in the weights.
//
// Nothing but two barriers per slot, that it is full and that it is empty, keeps warps together:
// while some decode, others multiply. Hopper multiplies 64 rows by all tokens with one
// instruction of a group, asynchronously; other architectures 16 rows by 8 tokens with one of a
// warp, from the same registers. Rows have 256 columns or more, and a multiple of 128.

#define STAGE_COLS 64
#define STAGE_LINE (STAGE_COLS * 2)
#define SLOT_BYTES (TOKENS * STAGE_LINE)
#define GROUP 128
#define GROUP_ROWS 64
// Stages that are on their way beside the newest one. The others wait until whoever multiplies has
// time for them: groups that run ahead of the slowest find them there.
#define LAG 1
// Tiles, of four stages or more, that may be in a block at once.
#define NOTES (SLOTS / 4 + 2)

// Threads that multiply, and the rows that they take.
DEVICE u32 workers() { return blockDim.x - GROUP; }
DEVICE u32 rows_at_once() { return workers() / GROUP * GROUP_ROWS; }

// What a block has in shared memory: the lattice's tables, slots, which are swizzled, and barriers.
struct Room {
    u8 *tables;         // [TABLE_BYTES]
    u8 *slots;          // [SLOTS][TOKENS][STAGE_LINE]
    u64 *full, *empty;  // [SLOTS]
    u32 *notes;         // [NOTES][TOKENS]
    u8 *rest;           // aligned to 16

    __device__ __forceinline__ Room(u8 *pool) {
        tables = pool;
        slots = pool + TABLE_BYTES;
        full = (u64 *)(slots + SLOTS * SLOT_BYTES);
        empty = full + SLOTS;
        notes = (u32 *)(empty + SLOTS);
        rest = (u8 *)(notes + NOTES * TOKENS);
        make_tables(tables);
        if (threadIdx.x < 2 * SLOTS) {
            u32 warps = threadIdx.x < SLOTS ? GROUP / WARP : workers() / WARP;
            barrier_begin(full + threadIdx.x, warps);
        }
        __syncthreads();
    }
};

typedef SlotTurn<SLOTS> Turn;

// All threads of a group have come here.
DEVICE void group_meets() {
    asm volatile("bar.sync %0, %1;" :: "r"(threadIdx.x / GROUP + 1), "n"(GROUP) : "memory");
}

// A thread's sums of eight tokens each: two tokens of one row, and of the row eight below.
template <int COUNT>
struct Sums {
    float of[COUNT / 8][4];
};
// Where in a group's 64 rows a thread's first row is, and in eight tokens the first of its two.
DEVICE u32 row_of() { return threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4; }
DEVICE u32 token_of() { return threadIdx.x % 4 * 2; }

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Warps that only copy leave registers to those that multiply.
DEVICE void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 32;"); }
DEVICE void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 112;"); }

#define FOUR(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define TWO_FOURS(j) FOUR(j), FOUR(j + 1)
#define SUMS_16 TWO_FOURS(0)
#define SUMS_32 SUMS_16, TWO_FOURS(2)
#define SUMS_48 SUMS_32, TWO_FOURS(4)
#define SUMS_64 SUMS_48, TWO_FOURS(6)
#define SUMS_80 SUMS_64, TWO_FOURS(8)
#define SUMS_96 SUMS_80, TWO_FOURS(10)
#define SUMS_112 SUMS_96, TWO_FOURS(12)
#define SUMS_128 SUMS_112, TWO_FOURS(14)
#define NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7"
#define NAMES_32 NAMES_16 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_48 NAMES_32 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define NAMES_64 NAMES_48 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_80 NAMES_64 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define NAMES_96 NAMES_80 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES_112 NAMES_96 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define NAMES_128 NAMES_112 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define PRODUCT(COUNT, A, B)                                                                       \
    DEVICE void multiply(float (&d)[COUNT / 8][4], const u32 (&a)[4], u64 b) {                     \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" #COUNT "k16.f32.bf16.bf16 {"              \
                     NAMES_##COUNT "}, {" A "}, " B ", 1, 1, 1, 0;"                                \
                     : SUMS_##COUNT : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));         \
    }
PRODUCT(16, "%8, %9, %10, %11", "%12")
PRODUCT(32, "%16, %17, %18, %19", "%20")
PRODUCT(48, "%24, %25, %26, %27", "%28")
PRODUCT(64, "%32, %33, %34, %35", "%36")
PRODUCT(80, "%40, %41, %42, %43", "%44")
PRODUCT(96, "%48, %49, %50, %51", "%52")
PRODUCT(112, "%56, %57, %58, %59", "%60")
PRODUCT(128, "%64, %65, %66, %67", "%68")

// sums += a x, for sixteen columns: the `step`th of a slot, which is described as lines of 128
// bytes, swizzled, eight of them together.
template <int COUNT>
DEVICE void multiply(Sums<COUNT> &sums, const u32 (&a)[4], u32 slot, int step) {
    u64 lines = (u64)1 << 62 | (u64)(8 * STAGE_LINE / 16) << 32;
    multiply(sums.of, a, lines | ((slot >> 4) + (1 << 16) + step * 2));
}
#else
DEVICE void fewer_registers() {}
DEVICE void more_registers() {}

template <int COUNT>
DEVICE void multiply(Sums<COUNT> &sums, const u32 (&a)[4], u32 slot, int step) {
    u32 lane = threadIdx.x % WARP, line = lane / 16 * 8 + lane % 8;
    u32 chunk = step * 2 + lane / 8 % 2, from = slot + swizzled(line, chunk, 8) * 16;
#pragma unroll
    for (int j = 0; j < COUNT / 8; j += 2) {
        u32 b[4];
        load4(b, from + j * 8 * STAGE_LINE);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float (&d)[4] = sums.of[j + i];
            asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[2 * i]), "r"(b[2 * i + 1]));
        }
    }
}
#endif

// The two rows of weights that a thread decodes: blocks of 32 columns, of which it takes every
// fourth, of this tile, and of the one after it, which has as many.
struct Part {
    u32 at[2], after[2];
};

// The first block that this thread takes of a row.
DEVICE u32 block_of(u64 row, u32 cols) { return (u32)(row * (cols / 32)) + threadIdx.x % 4; }

// Copies the tiles of a block, all stages of each. `work` says which tiles there are, and which
// lines of its activations each has. Beyond the last line a tile has anything: nobody stores what
// becomes of it.
template <typename Work>
DEVICE void copy_tiles(const Work &work, const Room &room) {
    u32 thread = threadIdx.x % GROUP, chunk = thread % 8, first = thread / 8;
    u32 tile = 0, to = shared_address(room.slots) + swizzled(first, chunk, 8) * 16;
    Filler<SLOTS, LAG> filler(room.full, room.empty);
    for (u32 i = blockIdx.x; i < work.tiles; i += gridDim.x) {
        auto job = work.job(i);
        if (job.count == 0) break;
        // Seen with the first slot. No warp is in a tile that had this place.
        filler.slot();
        if (thread < job.count) room.notes[tile * TOKENS + thread] = work.note(job, thread);
        tile = tile + 1 == NOTES ? 0 : tile + 1;
        const u16 *from[TOKENS / 16];
#pragma unroll
        for (int k = 0; k < TOKENS / 16; k++) {
            u32 line = work.line(job, min(first + k * 16, job.count - 1));
            from[k] = work.x + (u64)line * work.cols + chunk * 8;
        }
        for (u32 stage = 0; stage < work.cols / STAGE_COLS; stage++) {
            u32 slot = to + filler.slot() * SLOT_BYTES;
#pragma unroll
            for (int k = 0; k < TOKENS / 16; k++) {
                if (job.count > k * 16) copy16_to(slot + k * 16 * STAGE_LINE, from[k], true);
                from[k] += STAGE_COLS;
            }
            filler.next();
        }
    }
    filler.end();
}

// All columns of a tile. `held` are the first blocks of its rows, and then those of the next
// tile's.
template <int COUNT>
DEVICE void multiply_tile(Sums<COUNT> &sums, const Room &room, Turn &turn, Block (&held)[2],
                          const Planes (&planes)[2], const Part &part, u32 cols) {
    u32 units = cols / UNIT_COLS, slots = shared_address(room.slots);
    u32 places = lane_places();
    Looked looked[2];
#pragma unroll
    for (int r = 0; r < 2; r++) looked[r] = look_up(held[r], room.tables, places);
    sums = {};
    for (u32 unit = 0; unit < units; unit++) {
        Scales scales[2];
        u32 next[2], second[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            scales[r] = scales_of(held[r], part.at[r] + unit * 4);
            next[r] = unit + 1 < units ? part.at[r] + (unit + 1) * 4 : part.after[r];
            second[r] = unit + 2 < units ? part.at[r] + (unit + 2) * 4
                                         : part.after[r] + (unit + 2 - units) * 4;
        }
#pragma unroll
        for (int s = 0; s < FRAGMENTS; s += 2) {
            u32 slot = slots + turn.slot * SLOT_BYTES, a[2][4];
#pragma unroll
            for (int k = 0; k < 2; k++) {
                uint2 first = fragment(held[0], scales[0], s + k, looked[0]);
                uint2 other = fragment(held[1], scales[1], s + k, looked[1]);
                a[k][0] = first.x, a[k][1] = other.x, a[k][2] = first.y, a[k][3] = other.y;
            }
            if (s % 4 == 0) wait(room.full + turn.slot, turn.parity);
            products_begin();
            multiply(sums, a[0], slot, s % 4);
            multiply(sums, a[1], slot, s % 4 + 1);
            products_end();
#pragma unroll
            for (int r = 0; r < 2; r++)
                looked[r] = look_ahead(held[r], s / 2, room.tables, places);
            products_but<0>();
            if (s % 4 == 0) continue;
            arrive(room.empty + turn.slot);
            turn.next();
#pragma unroll
            for (int r = 0; r < 2; r++) renew(held[r], planes[r], next[r], second[r], s / 4);
        }
    }
}

template <int COUNT, typename Work, typename Job>
DEVICE void compute_tile(const Work &work, const Job &job, const Room &room, u32 tile,
                         Turn &turn, Block (&held)[2], const Part &part) {
    Sums<COUNT> sums;
    multiply_tile(sums, room, turn, held, work.planes, part, work.cols);
    work.finish(job, sums, room, room.notes + tile * TOKENS);
}

// All of this block's tiles: `work` has their number, and says what each is, which rows of its
// `planes` a thread takes of it, and what becomes of its sums.
template <typename Work>
DEVICE void compute_tiles(const Work &work, const Room &room) {
    u32 i = blockIdx.x;
    if (i >= work.tiles) return;
    auto job = work.job(i);
    Turn turn = {0, 0};
    u32 tile = 0;
    Block held[2];
    Part part;
    work.rows_of(job, part.at);
#pragma unroll
    for (int r = 0; r < 2; r++)
        hold(held[r], work.planes[r], part.at[r], part.at[r] + 4);
    while (job.count) {
        i += gridDim.x;
        auto next = i < work.tiles ? work.job(i) : job;
        bool last = i >= work.tiles || next.count == 0;
        work.rows_of(last ? job : next, part.after);
        // A loop for every sixteen tokens.
        if (job.count <= 16) compute_tile<16>(work, job, room, tile, turn, held, part);
        else if (job.count <= 32) compute_tile<32>(work, job, room, tile, turn, held, part);
        else if (job.count <= 48) compute_tile<48>(work, job, room, tile, turn, held, part);
        else if (TOKENS == 64 || job.count <= 64)
            compute_tile<64>(work, job, room, tile, turn, held, part);
        else if (job.count <= 80) compute_tile<80>(work, job, room, tile, turn, held, part);
        else if (job.count <= 96) compute_tile<96>(work, job, room, tile, turn, held, part);
        else if (job.count <= 112) compute_tile<112>(work, job, room, tile, turn, held, part);
        else compute_tile<128>(work, job, room, tile, turn, held, part);
        if (last) break;
        tile = tile + 1 == NOTES ? 0 : tile + 1;
        job = next;
        part.at[0] = part.after[0];
        part.at[1] = part.after[1];
    }
}

// All of it. What the kernel reads can be read.
template <typename Work>
DEVICE void each_tile(const Work &work, const Room &room) {
    if (threadIdx.x < workers()) {
        more_registers();
        compute_tiles(work, room);
    } else {
        fewer_registers();
        copy_tiles(work, room);
    }
}
