// The router; see mod.rs.

#define THREADS 128
#define EXPERTS_MAX 2048

// sqrt(ln(1 + e^x)), without overflow.
DEVICE float score(float logit) { return sqrtf(fmaxf(logit, 0.0f) + log1pf(expf(-fabsf(logit)))); }

// logits [rows, experts] -> picks, shares [rows, used]. `table` [V, used] or null; `bias` [experts].
// One block per token: every thread computes scores, the first warp chooses.
extern "C" __global__ void __launch_bounds__(THREADS)
    route(const float *logits, const u32 *tokens, const u32 *table, const float *bias, u32 *picks,
          float *shares, u32 experts, u32 used, float scale) {
    __shared__ float scores[EXPERTS_MAX], biased[EXPERTS_MAX];
    begin();
    u32 t = blockIdx.x, lane = threadIdx.x;
    logits += (u64)t * experts;
    picks += (u64)t * used;
    shares += (u64)t * used;
    for (u32 e = threadIdx.x; e < experts; e += THREADS) {
        float value = score(logits[e]);
        scores[e] = value;
        if (!table) biased[e] = value + bias[e];
    }
    __syncthreads();
    if (threadIdx.x >= WARP) return;
    // Lanes hold experts lane, lane + 32, ...; each round takes the largest that is left.
    u64 taken = 0;
    float sum = 0;
    for (u32 k = 0; k < used; k++) {
        u32 pick;
        if (table) {
            pick = table[(u64)tokens[t] * used + k];
        } else {
            float best = -INFINITE;
            pick = NO_PICK;
            for (u32 i = 0; i * WARP + lane < experts; i++) {
                u32 e = i * WARP + lane;
                float value = biased[e];
                // What is not a number loses against everything, but is taken rather than nothing.
                if (!(taken >> i & 1) && (pick == NO_PICK || value > best)) {
                    best = value == value ? value : -INFINITE;
                    pick = e;
                }
            }
            for (int distance = WARP / 2; distance > 0; distance /= 2) {
                float other = __shfl_xor_sync(0xffffffff, best, distance);
                u32 there = __shfl_xor_sync(0xffffffff, pick, distance);
                bool equal = other == best && there < pick;
                if (there != NO_PICK && (pick == NO_PICK || other > best || equal)) {
                    best = other;
                    pick = there;
                }
            }
            if (pick % WARP == lane) taken |= 1ull << (pick / WARP);
        }
        float share = scores[pick];
        sum += share;
        if (lane == 0) picks[k] = pick;
        if (lane == 0) shares[k] = share;
    }
    __syncwarp();
    for (u32 k = lane; k < used; k += WARP) shares[k] = shares[k] / sum * scale;
}
