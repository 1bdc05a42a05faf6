// The rows with the largest scores, ascending; of equal ones the lowest. One block per token; see
// select.cuh.

// keys [T, stride] -> picks [T, top_k], for tokens from `first` on. `stride` is a multiple of 4.
// Shared memory: `room` keys.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    pick(const u32 *keys, const u32 *positions, u32 ratio, u32 top_k, u32 *picks, u32 stride,
         u32 first, u32 room) {
    begin();
    extern __shared__ __align__(16) u32 kept[];
    u32 t = first + blockIdx.x, visible = (positions[t] + 1) / ratio;
    picks += (u64)t * top_k;
    if (visible <= top_k) return pick_all(picks, visible, top_k, threadIdx.x, THREADS);
    Keys all = {keys + (u64)blockIdx.x * stride, kept, visible};
    auto put = [&](u32 place, u32 row, u32) { picks[place] = row; };
    bool whole;
    if (visible <= room) {
        keep_keys(all);
        whole = select<true>(all, top_k, put);
    } else {
        whole = select<false>(all, top_k, put);
    }
    if (!whole) pick_damaged(picks, top_k, threadIdx.x, THREADS);
}
