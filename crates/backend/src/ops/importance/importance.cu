// Squares of what experts are given, added up per expert. A thread adds one column in the order of the
// pairs, so that nothing depends on the order in which threads run.

#define THREADS 256

// sums[e][i] += x[pair / shared][i]^2 over the pairs of e. Blocks: columns (x) of one expert (y).
extern "C" __global__ void __launch_bounds__(THREADS)
    add_squares(const float *x, const u32 *picks, float *sums, u32 width, u32 shared, u32 pairs) {
    begin();
    __shared__ u32 some[THREADS];
    u32 e = blockIdx.y, i = blockIdx.x * THREADS + threadIdx.x;
    float sum = i < width ? sums[(u64)e * width + i] : 0;
    for (u32 first = 0; first < pairs; first += THREADS) {
        u32 count = min(THREADS, pairs - first);
        __syncthreads();
        if (threadIdx.x < count) some[threadIdx.x] = picks[first + threadIdx.x];
        __syncthreads();
        for (u32 k = 0; k < count; k++) {
            if (some[k] != e || i >= width) continue;
            float value = x[(u64)((first + k) / shared) * width + i];
            sum += value * value;
        }
    }
    if (i < width) sums[(u64)e * width + i] = sum;
}

// counts[e] += pairs of e. Blocks: one for each expert.
extern "C" __global__ void __launch_bounds__(THREADS)
    count_picks(const u32 *picks, u32 *counts, u32 pairs) {
    begin();
    u32 mine = 0;
    for (u32 i = threadIdx.x; i < pairs; i += THREADS) mine += picks[i] == blockIdx.x;
    u32 all = block_sum(mine);
    if (threadIdx.x == 0) counts[blockIdx.x] += all;
}
