// The choice of experts for one token, by a block of threads. See mod.rs for what is chosen; of equal
// scores the lowest expert wins, and what is not a number is chosen rather than nothing.

#define EXPERTS_MAX 2048
// Keys that a lane holds.
#define HELD_KEYS 8

// sqrt(ln(1 + e^x)), without overflow.
DEVICE float score(float logit) { return sqrtf(fmaxf(logit, 0.0f) + log1pf(expf(-fabsf(logit)))); }

// Numbers in the order of their values, above 1; 1 for what is not a number, so that it loses against
// everything but is chosen rather than nothing.
DEVICE u32 order_of(float value) {
    u32 bits = __float_as_uint(value);
    if (value != value) return 1;
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// An expert and its key.
struct Candidate {
    u32 key, expert;
};

// Of equal keys the first, which has the lower number.
DEVICE Candidate larger(Candidate a, Candidate b) { return b.key > a.key ? b : a; }

// Which candidate of a warp's is the largest, of equal ones the one with the lowest number, if it is this
// lane's.
DEVICE bool is_largest(Candidate own) {
    bool mine = own.key == __reduce_max_sync(0xffffffff, own.key);
    u32 owners = __ballot_sync(0xffffffff, mine);
    if (owners & (owners - 1)) {
        u32 first = __reduce_min_sync(0xffffffff, mine ? own.expert : NO_PICK);
        mine = mine && own.expert == first;
    }
    return mine;
}

// The experts of the `count` largest keys in their order, each taken once, to `taken`. By one warp: a lane
// has the keys of experts lane, lane + 32, ..., and where there are few of them holds them.
DEVICE void take_largest(u32 *keys, u32 experts, u32 *taken, u32 count) {
    u32 lane = threadIdx.x;
    if (experts > WARP * HELD_KEYS) {
        for (u32 k = 0; k < count; k++) {
            Candidate best = {0, lane};
            for (u32 e = lane; e < experts; e += WARP) best = larger(best, {keys[e], e});
            if (is_largest(best)) {
                taken[k] = best.expert;
                keys[best.expert] = 0;
            }
        }
        return;
    }
    u32 held[HELD_KEYS];
#pragma unroll
    for (u32 i = 0; i < HELD_KEYS; i++)
        held[i] = lane + i * WARP < experts ? keys[lane + i * WARP] : 0;
#pragma unroll 1
    for (u32 k = 0; k < count; k++) {
        Candidate of[HELD_KEYS];
#pragma unroll
        for (u32 i = 0; i < HELD_KEYS; i++) of[i] = {held[i], lane + i * WARP};
#pragma unroll
        for (u32 apart = 1; apart < HELD_KEYS; apart *= 2)
#pragma unroll
            for (u32 i = 0; i < HELD_KEYS; i += 2 * apart) of[i] = larger(of[i], of[i + apart]);
        bool mine = is_largest(of[0]);
        if (mine) {
            taken[k] = of[0].expert;
            keys[of[0].expert] = 0;
        }
#pragma unroll
        for (u32 i = 0; i < HELD_KEYS; i++)
            if (mine && of[0].expert == lane + i * WARP) held[i] = 0;
    }
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
    __shared__ u32 taken[WARP];
    float sum = 0;
    for (u32 first = 0; first < used; first += WARP) {
        u32 count = min(used - first, WARP);
        if (!chosen) take_largest(keys, experts, taken, count);
        __syncwarp();
        u32 pick = lane >= count ? NO_PICK : chosen ? chosen[first + lane] : taken[lane];
        __syncwarp();
        float share = pick == NO_PICK ? 0.0f : scores[pick];
        sum += warp_sum(share);
        if (lane < count) {
            picks[first + lane] = pick;
            shares[first + lane] = share;
        }
    }
    for (u32 k = lane; k < used; k += WARP) shares[k] = shares[k] / sum * scale;
}
