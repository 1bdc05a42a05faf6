// Products of experts with many tokens: pairs of one expert are computed together; see tile.cuh,
// and arrange.cu for the order of pairs and the tiles. FORMAT is that of the matrices.
//
// Tiles are taken rows first, so that blocks that run together share activations.

extern __shared__ __align__(1024) u8 pool[];

// Bytes of a group's part of a line of inner rows in shared memory, padded, and of its lines.
#define INNER_LINE (UNIT_COLS / 4 * 2 + 16)
#define INNER_BYTES (TOKENS * INNER_LINE)

// Pairs of an expert, and a strip of its rows.
struct Job {
    u32 expert, first, count, strip;
};
DEVICE Job job_at(const Tile *tiles, u32 strips, u32 i) {
    Tile tile = tiles[i / strips];
    return {tile.expert, tile.first, tile.count, i % strips};
}

// Inner rows of the pairs. A group has 32 rows of both matrices, eight of one above eight of the
// other, so that a thread holds both values of an activation.
struct Inner {
    Planes planes[2];
    const u16 *x;
    const float *shares;
    const u32 *order;
    const Tile *of;
    u16 *to;
    u32 inner, cols, used, strips, tiles;
    float clamp;

    __device__ __forceinline__ Job job(u32 i) const { return job_at(of, strips, i); }
    __device__ __forceinline__ u32 line(const Job &job, u32 t) const {
        return order[job.first + t] / used;
    }
    __device__ __forceinline__ u32 note(const Job &job, u32 t) const {
        return __float_as_uint(shares[order[job.first + t]]);
    }
    // Where in the strip the thread's row is: so that those of a group stand together, see
    // place_of.
    __device__ __forceinline__ u32 row() const {
        return threadIdx.x % GROUP / WARP * 32 + threadIdx.x / GROUP * 8 + threadIdx.x % WARP / 4;
    }
    __device__ __forceinline__ void rows_of(const Job &job, u32 (&at)[2]) const {
        at[0] = at[1] = block_of((u64)job.expert * inner + job.strip * UNIT_COLS + row(), cols);
    }
    template <int COUNT>
    __device__ __forceinline__ void finish(const Job &job, const Sums<COUNT> &sums,
                                           const Room &room, const u32 *notes) const {
        // What a group has of a pair is stored together, and so gathered first.
        u32 group = threadIdx.x / GROUP;
        u8 *lines = room.rest + group * INNER_BYTES, *place = lines + place_of(row()) % 32 * 2;
        group_meets();
#pragma unroll
        for (u32 i = 0; i < COUNT / 4; i++) {
            u32 j = i / 2, e = i % 2, t = j * 8 + token_of() + e;
            float value = activate(sums.of[j][e], sums.of[j][e + 2], clamp);
            value *= __uint_as_float(notes[t]);
            *(u16 *)(place + t * INNER_LINE) = (u16)bf16_pair(value, 0.0f);
        }
        group_meets();
        for (u32 i = threadIdx.x % GROUP; i < job.count * 4; i += GROUP) {
            uint4 v = *(const uint4 *)(lines + i / 4 * INNER_LINE + i % 4 * 16);
            u64 line = (u64)(job.first + i / 4) * inner + job.strip * UNIT_COLS + group * 32;
            *(uint4 *)(to + line + i % 4 * 8) = v;
        }
    }
};

// Results of the pairs.
struct Down {
    Planes planes[2];
    const u16 *x;
    const u32 *order;
    const Tile *of;
    float *out;
    u32 rows, cols, strips, tiles;

    __device__ __forceinline__ Job job(u32 i) const { return job_at(of, strips, i); }
    __device__ __forceinline__ u32 line(const Job &job, u32 t) const { return job.first + t; }
    __device__ __forceinline__ u32 note(const Job &job, u32 t) const {
        return order[job.first + t];
    }
    __device__ __forceinline__ u32 row(const Job &job) const {
        return job.strip * rows_at_once() + threadIdx.x / GROUP * GROUP_ROWS + row_of();
    }
    // Rows beyond the last repeat it.
    __device__ __forceinline__ void rows_of(const Job &job, u32 (&at)[2]) const {
        u64 base = (u64)job.expert * rows;
        at[0] = block_of(base + min(row(job), rows - 1), cols);
        at[1] = block_of(base + min(row(job) + 8, rows - 1), cols);
    }
    template <int COUNT>
    __device__ __forceinline__ void finish(const Job &job, const Sums<COUNT> &sums, const Room &,
                                           const u32 *notes) const {
        u32 row = this->row(job);
#pragma unroll
        for (u32 i = 0; i < COUNT / 4; i++) {
            u32 j = i / 2, e = i % 2, t = j * 8 + token_of() + e;
            float *to = out + (u64)notes[t] * rows;
            if (t < job.count && row < rows) to[row] = sums.of[j][e];
            if (t < job.count && row + 8 < rows) to[row + 8] = sums.of[j][e + 2];
        }
    }
};

// Row i of `to` = the inner row of pair order[i], in BF16. Blocks of 640 threads.
extern "C" __global__ void __launch_bounds__(640, 1)
    grouped_inner(const u8 *ga, const u8 *gb, const u8 *gc, const u8 *ua, const u8 *ub,
                  const u8 *uc, const u16 *x, const float *shares, const u32 *order,
                  const Tile *tiles, u16 *to, u32 inner, u32 cols, u32 used, u32 all_tiles, float clamp) {
    let_next_begin();
    u32 strips = inner / UNIT_COLS;
    Inner work = {{{ga, gb, gc}, {ua, ub, uc}}, x, shares, order, tiles, to, inner, cols, used,
                  strips, all_tiles * strips, clamp};
    Room room(pool);
    wait_for_inputs();
    each_tile(work, room);
}

// out[order[i]] = down . x[i].
extern "C" __global__ void __launch_bounds__(640, 1)
    grouped_down(const u8 *a, const u8 *b, const u8 *c, const u16 *x, const u32 *order,
                 const Tile *tiles, float *out, u32 rows, u32 cols, u32 all_tiles) {
    let_next_begin();
    u32 strips = (rows + rows_at_once() - 1) / rows_at_once();
    Planes w = {a, b, c};
    Down work = {{w, w}, x, order, tiles, out, rows, cols, strips, all_tiles * strips};
    Room room(pool);
    wait_for_inputs();
    each_tile(work, room);
}
