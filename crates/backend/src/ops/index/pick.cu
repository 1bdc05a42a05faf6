// The rows with the largest scores, ascending; of equal ones the lowest. One block per token.
//
// Scores are read once, as whole numbers in the same order, and kept in registers if they are not too
// many. A warp has neighbouring rows, so that ranks among warps and lanes are ranks among rows.

#define THREADS 512
#define WARPS (THREADS / WARP)
// Keys of a thread that are kept.
#define KEPT 32
#define DIGITS 256

// Scores as numbers from 1 on; the two zeros are equal.
DEVICE u32 key_of(float score) {
    u32 bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The scores of a token. Rows that are not there have key 0.
struct Keys {
    const float *scores;
    // Rows there are, and those of a lane: the first, how many, all 32 apart.
    u32 visible, first, count;
};

// Calls `f` with row and key of each of this lane's rows; the warp's lanes together.
template <bool kept, typename F>
DEVICE void each(const Keys &keys, const u32 (&own)[KEPT], F f) {
    if constexpr (kept) {
#pragma unroll
        for (u32 i = 0; i < KEPT; i++)
            if (i < keys.count) f(keys.first + WARP * i, own[i]);
    } else {
        for (u32 i = 0; i < keys.count; i++) {
            u32 row = keys.first + WARP * i;
            f(row, row < keys.visible ? key_of(keys.scores[row]) : 0);
        }
    }
}

// The largest digit with at least `wanted` entries in it or above, and how many are wanted of its own.
// A warp does it.
DEVICE void find_digit(const u32 *histogram, u32 wanted, u32 (&found)[2]) {
    const u32 own = DIGITS / WARP;
    u32 lane = threadIdx.x, top = DIGITS - 1 - own * lane, sum = 0;
    for (u32 i = 0; i < own; i++) sum += histogram[top - i];
    u32 through = sum;
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        u32 before = __shfl_up_sync(0xffffffff, through, distance);
        if (lane >= distance) through += before;
    }
    u32 reached = __ballot_sync(0xffffffff, through >= wanted);
    if (lane != __ffs(reached) - 1) return;
    u32 left = wanted - (through - sum);
    while (histogram[top] < left) left -= histogram[top--];
    found[0] = top;
    found[1] = left;
}

// The key of the last row that is picked; of its equals `wanted` are.
template <bool kept>
DEVICE u32 last_key(const Keys &keys, const u32 (&own)[KEPT], u32 &wanted) {
    __shared__ u32 histogram[DIGITS], found[2];
    u32 prefix = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (u32 i = threadIdx.x; i < DIGITS; i += THREADS) histogram[i] = 0;
        __syncthreads();
        each<kept>(keys, own, [&](u32, u32 key) {
            if (key && (shift == 24 || key >> (shift + 8) == prefix))
                atomicAdd(&histogram[key >> shift & 255], 1);
        });
        __syncthreads();
        if (threadIdx.x < WARP) find_digit(histogram, wanted, found);
        __syncthreads();
        prefix = prefix << 8 | found[0];
        wanted = found[1];
    }
    return prefix;
}

// Writes the rows above `last`, and the first `wanted` that equal it.
template <bool kept>
DEVICE void write(const Keys &keys, const u32 (&own)[KEPT], u32 last, u32 wanted, u32 *picks) {
    __shared__ u32 larger_of[WARPS], equal_of[WARPS];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, below = (1u << lane) - 1;
    u32 larger = 0, equal = 0;
    each<kept>(keys, own, [&](u32, u32 key) {
        larger += __popc(__ballot_sync(0xffffffff, key > last));
        equal += __popc(__ballot_sync(0xffffffff, key == last));
    });
    if (lane == 0) larger_of[warp] = larger;
    if (lane == 0) equal_of[warp] = equal;
    __syncthreads();
    larger = warp_sum(lane < warp ? larger_of[lane] : 0);
    equal = warp_sum(lane < warp ? equal_of[lane] : 0);
    each<kept>(keys, own, [&](u32 row, u32 key) {
        u32 above = __ballot_sync(0xffffffff, key > last);
        u32 same = __ballot_sync(0xffffffff, key == last);
        u32 equals = equal + __popc(same & below);
        if (key > last || (key == last && equals < wanted))
            picks[larger + __popc(above & below) + min(equals, wanted)] = row;
        larger += __popc(above);
        equal += __popc(same);
    });
}

template <bool kept>
DEVICE void pick_of(const Keys &keys, u32 top_k, u32 *picks) {
    u32 own[KEPT];
    bool damaged = false;
    if constexpr (kept) {
#pragma unroll
        for (u32 i = 0; i < KEPT; i++) {
            u32 row = keys.first + WARP * i;
            float score = i < keys.count && row < keys.visible ? keys.scores[row] : 0.0f;
            damaged |= score != score;
            own[i] = row < keys.visible ? key_of(score) : 0;
        }
    } else {
        for (u32 row = threadIdx.x; row < keys.visible; row += THREADS)
            damaged |= keys.scores[row] != keys.scores[row];
    }
    if (__syncthreads_or(damaged)) {
        for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i == 0 ? DAMAGED : NO_PICK;
        return;
    }
    u32 wanted = top_k, last = last_key<kept>(keys, own, wanted);
    write<kept>(keys, own, last, wanted, picks);
}

// scores [T, stride] -> picks [T, top_k], for tokens from `first` on.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    pick(const float *scores, const u32 *positions, u32 ratio, u32 top_k, u32 *picks, u32 stride,
         u32 first) {
    u32 t = first + blockIdx.x, visible = (positions[t] + 1) / ratio;
    scores += (u64)blockIdx.x * stride;
    picks += (u64)t * top_k;
    if (visible <= top_k) {
        for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i < visible ? i : NO_PICK;
        return;
    }
    u32 count = (visible + THREADS - 1) / THREADS;
    Keys keys = {scores, visible, threadIdx.x / WARP * WARP * count + threadIdx.x % WARP, count};
    if (count <= KEPT) pick_of<true>(keys, top_k, picks);
    else pick_of<false>(keys, top_k, picks);
}
