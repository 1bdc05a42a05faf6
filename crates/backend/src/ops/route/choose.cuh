// The choice of experts for one token, by a block of threads. See mod.rs for what is chosen; of equal
// scores the lowest expert wins, and what is not a number is chosen rather than nothing.

#define EXPERTS_MAX 2048

// sqrt(ln(1 + e^x)), without overflow.
DEVICE float score(float logit) { return sqrtf(fmaxf(logit, 0.0f) + log1pf(expf(-fabsf(logit)))); }

// Numbers in the order of their values, above 1; 1 for what is not a number, so that it loses against
// everything but is chosen rather than nothing.
DEVICE u32 order_of(float value) {
    u32 bits = __float_as_uint(value);
    if (value != value) return 1;
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// The expert of the largest key, of equal ones the first; its key becomes 0. By one warp: lanes hold
// the keys of experts lane, lane + 32, ...
DEVICE u32 take_largest(u32 *keys, u32 experts) {
    u32 lane = threadIdx.x, best = 0, at = 0;
    for (u32 e = lane; e < experts; e += WARP)
        if (keys[e] > best) {
            best = keys[e];
            at = e;
        }
    u32 largest = __reduce_max_sync(0xffffffff, best);
    u32 first = __reduce_min_sync(0xffffffff, best == largest ? at : NO_PICK);
    if (first % WARP == lane) keys[first] = 0;
    return first;
}

// The choice for one token: every thread computes scores, the first warp chooses.
DEVICE void choose(const float *logits, const u32 *chosen, const float *bias, u32 *picks,
                   float *shares, u32 experts, u32 used, float scale) {
    __shared__ float scores[EXPERTS_MAX];
    __shared__ u32 keys[EXPERTS_MAX];
    u32 lane = threadIdx.x;
    for (u32 e = threadIdx.x; e < experts; e += blockDim.x) {
        float value = score(logits[e]);
        scores[e] = value;
        if (!chosen) keys[e] = order_of(value + bias[e]);
    }
    __syncthreads();
    if (threadIdx.x >= WARP) return;
    // Lane k has the k-th of up to 32 picks; more are taken in turn.
    float sum = 0;
    for (u32 first = 0; first < used; first += WARP) {
        u32 pick = NO_PICK;
        if (chosen && first + lane < used) pick = chosen[first + lane];
        for (u32 k = first; !chosen && k < min(used, first + WARP); k++) {
            u32 taken = take_largest(keys, experts);
            if (lane == k - first) pick = taken;
        }
        float share = pick == NO_PICK ? 0.0f : scores[pick];
        sum += warp_sum(share);
        if (first + lane < used) picks[first + lane] = pick;
        if (first + lane < used) shares[first + lane] = share;
    }
    for (u32 k = lane; k < used; k += WARP) shares[k] = shares[k] / sum * scale;
}
