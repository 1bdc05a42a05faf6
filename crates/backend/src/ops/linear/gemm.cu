// out[t][row] = W[row] . x[t] for many tokens; see tile.cuh. FORMAT is the weight's.
//
// Tiles are taken tokens first, so that blocks that run together share weights. A tile of rows is
// in one group: the caller sees to it.

extern __shared__ __align__(1024) u8 pool[];

struct Gemm {
    Planes planes[2];
    const u16 *x;
    float *out;
    u32 rows, cols, groups, tokens, tile, across, tiles;

    // `count` tokens from `first` on, and the rows from `row` on.
    struct Job {
        u32 first, count, row;
    };
    __device__ __forceinline__ Job job(u32 i) const {
        u32 first = i % across * tile;
        return {first, min(tokens - first, tile), i / across * rows_at_once()};
    }
    __device__ __forceinline__ u32 line(const Job &job, u32 t) const {
        return (job.first + t) * groups + job.row / (rows / groups);
    }
    __device__ __forceinline__ u32 note(const Job &, u32) const { return 0; }
    __device__ __forceinline__ u32 row(const Job &job) const {
        return job.row + threadIdx.x / GROUP * GROUP_ROWS + row_of();
    }
    // Rows beyond the last repeat it.
    __device__ __forceinline__ void rows_of(const Job &job, u32 (&at)[2]) const {
        at[0] = block_of(min(row(job), rows - 1), cols);
        at[1] = block_of(min(row(job) + 8, rows - 1), cols);
    }
    template <int COUNT>
    __device__ __forceinline__ void finish(const Job &job, const Sums<COUNT> &sums, const Room &,
                                           const u32 *) const {
        u32 row = this->row(job);
#pragma unroll
        for (u32 i = 0; i < COUNT / 4; i++) {
            u32 j = i / 2, e = i % 2, t = j * 8 + token_of() + e;
            if (t >= job.count) continue;
            float *to = out + (u64)(job.first + t) * rows;
            if (row < rows) to[row] = sums.of[j][e];
            if (row + 8 < rows) to[row + 8] = sums.of[j][e + 2];
        }
    }
};

extern "C" __global__ void __launch_bounds__(640, 1)
    gemm(const u8 *a, const u8 *b, const u8 *c, const u16 *x, float *out, u32 rows, u32 cols,
         u32 groups, u32 tokens, u32 tile) {
    let_next_begin();
    u32 across = (tokens + tile - 1) / tile, strips = (rows + rows_at_once() - 1) / rows_at_once();
    Planes w = {a, b, c};
    Gemm work = {{w, w}, x, out, rows, cols, groups, tokens, tile, across, across * strips};
    Room room(pool);
    wait_for_inputs();
    each_tile(work, room);
}
