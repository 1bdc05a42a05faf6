// The rows with the largest scores, ascending; of equal ones the lowest. One block per token.

#define THREADS 512

// Scores as whole numbers in the same order; the two zeros are equal.
DEVICE u32 key_of(float score) {
    u32 bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// How many threads before this one say yes, and how many in all.
DEVICE u32 rank_of(bool yes, u32 &all) {
    __shared__ u32 counts[THREADS / WARP];
    u32 votes = __ballot_sync(0xffffffff, yes), warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    __syncthreads();
    if (lane == 0) counts[warp] = __popc(votes);
    __syncthreads();
    u32 before = __popc(votes & ((1u << lane) - 1));
    all = 0;
    for (u32 w = 0; w < THREADS / WARP; w++) {
        if (w < warp) before += counts[w];
        all += counts[w];
    }
    return before;
}

// scores [T, stride] -> picks [T, top_k], for tokens from `first` on.
extern "C" __global__ void __launch_bounds__(THREADS)
    pick(const float *scores, const u32 *positions, u32 ratio, u32 top_k, u32 *picks, u32 stride,
         u32 first) {
    begin();
    __shared__ u32 histogram[256], found[2], damaged;
    u32 t = first + blockIdx.x, visible = (positions[t] + 1) / ratio;
    scores += (u64)blockIdx.x * stride;
    picks += (u64)t * top_k;
    for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i < visible ? i : NO_PICK;
    if (visible <= top_k) return;
    if (threadIdx.x == 0) damaged = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < visible; i += THREADS)
        if (scores[i] != scores[i]) damaged = 1;
    __syncthreads();
    if (damaged) {
        for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i == 0 ? DAMAGED : NO_PICK;
        return;
    }
    // The key of the last that is picked, eight bits at a time; `wanted` of its equals are picked.
    u32 prefix = 0, wanted = top_k;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (u32 i = threadIdx.x; i < 256; i += THREADS) histogram[i] = 0;
        __syncthreads();
        for (u32 i = threadIdx.x; i < visible; i += THREADS) {
            u32 key = key_of(scores[i]);
            if (shift == 24 || key >> (shift + 8) == prefix) atomicAdd(&histogram[key >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u32 digit = 255, left = wanted;
            while (histogram[digit] < left) left -= histogram[digit--];
            found[0] = digit;
            found[1] = left;
        }
        __syncthreads();
        prefix = prefix << 8 | found[0];
        wanted = found[1];
        __syncthreads();
    }
    u32 done = 0, equals = 0;
    for (u32 base = 0; base < visible && done < top_k; base += THREADS) {
        u32 i = base + threadIdx.x, all;
        u32 key = i < visible ? key_of(scores[i]) : 0;
        bool equal = i < visible && key == prefix;
        u32 before = equals + rank_of(equal, all);
        equals += all;
        bool chosen = i < visible && (key > prefix || (equal && before < wanted));
        u32 place = done + rank_of(chosen, all);
        done += all;
        if (chosen) picks[place] = i;
    }
}
