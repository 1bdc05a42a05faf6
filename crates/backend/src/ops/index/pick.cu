// The rows with the largest scores, ascending; of equal ones the lowest. One block per token.
//
// Scores are read once, as whole numbers in the same order, and kept in registers if they are not too
// many. A warp has neighbouring rows, so that ranks among warps and lanes are ranks among rows.
//
// The last that is picked is found by counting: how many scores are in each of BINS equal stretches
// between the least and the largest, then by comparing those of one bin with each other. If too many
// of them are alike, bins are taken of bins until one key is left.

#define THREADS 512
#define WARPS (THREADS / WARP)
// Keys of a thread that are kept.
#define KEPT 32
#define BINS 1024
// Keys of one bin that are compared with each other.
#define LISTED 512

// Scores as numbers from 1 on; the two zeros are equal.
DEVICE u32 key_of(float score) {
    u32 bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

DEVICE float value_of(u32 key) {
    return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
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

// Counts of bins lie so that 32 bins that are 32 apart are in different banks.
DEVICE u32 bin_place(u32 bin) { return bin + bin / WARP; }
#define BIN_PLACES (BINS + BINS / WARP)

// Which lane, counted from the first, makes the sum of `count` reach `wanted`; `wanted` becomes what
// that lane must add.
DEVICE u32 lane_reaching(u32 count, u32 &wanted) {
    u32 through = count, lane = threadIdx.x % WARP;
    for (u32 distance = 1; distance < WARP; distance *= 2) {
        u32 before = __shfl_up_sync(0xffffffff, through, distance);
        if (lane >= distance) through += before;
    }
    u32 reaching = __ffs(__ballot_sync(0xffffffff, through >= wanted)) - 1;
    wanted -= __shfl_sync(0xffffffff, through - count, reaching);
    return reaching;
}

// The bin of the last key that is picked, `bin_of` its key being the bin of each (BINS: none); `wanted`
// becomes how many of that bin are.
template <bool kept, typename Bin>
DEVICE u32 last_bin(const Keys &keys, const u32 (&own)[KEPT], Bin bin_of, u32 &wanted) {
    __shared__ u32 counts[BIN_PLACES + 1], found[2];
    __syncthreads();
    for (u32 i = threadIdx.x; i < BIN_PLACES; i += THREADS) counts[i] = 0;
    __syncthreads();
    each<kept>(keys, own, [&](u32, u32 key) {
        u32 bin = bin_of(key);
        if (bin < BINS) atomicAdd(&counts[bin_place(bin)], 1);
    });
    __syncthreads();
    if (threadIdx.x < WARP) {
        u32 top = BINS - 1 - WARP * threadIdx.x, sum = 0, left = wanted;
        for (u32 i = 0; i < WARP; i++) sum += counts[bin_place(top - i)];
        top = BINS - 1 - WARP * lane_reaching(sum, left);
        u32 bin = top - lane_reaching(counts[bin_place(top - threadIdx.x)], left);
        if (threadIdx.x == 0) found[0] = bin;
        if (threadIdx.x == 0) found[1] = left;
    }
    __syncthreads();
    wanted = found[1];
    return found[0];
}

// Least and largest key.
template <bool kept>
DEVICE uint2 bounds_of(const Keys &keys, const u32 (&own)[KEPT]) {
    __shared__ u32 bounds[2];
    u32 least = 0xffffffff, largest = 0;
    each<kept>(keys, own, [&](u32, u32 key) {
        if (key) least = min(least, key);
        largest = max(largest, key);
    });
    if (threadIdx.x == 0) bounds[0] = 0xffffffff;
    if (threadIdx.x == 0) bounds[1] = 0;
    least = __reduce_min_sync(0xffffffff, least);
    largest = __reduce_max_sync(0xffffffff, largest);
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        atomicMin(&bounds[0], least);
        atomicMax(&bounds[1], largest);
    }
    __syncthreads();
    return make_uint2(bounds[0], bounds[1]);
}

// The key of the last row that is picked; of its equals `wanted` are.
template <bool kept>
DEVICE u32 last_key(const Keys &keys, const u32 (&own)[KEPT], u32 &wanted) {
    __shared__ u32 list[LISTED], listed, last[2];
    uint2 bounds = bounds_of<kept>(keys, own);
    u32 low = bounds.x, high = bounds.y;
    // Whatever rounding does, a larger score is in no lower bin. Infinities share one.
    float least = value_of(low), scale = (float)BINS / (value_of(high) - least);
    auto bin_of = [&](u32 key) {
        u32 bin = __float2uint_rz((value_of(key) - least) * scale);
        return key ? min(bin, BINS - 1) : BINS;
    };
    u32 in_bin = wanted, bin = last_bin<kept>(keys, own, bin_of, in_bin);
    if (threadIdx.x == 0) listed = 0;
    __syncthreads();
    each<kept>(keys, own, [&](u32, u32 key) {
        if (bin_of(key) != bin) return;
        u32 place = atomicAdd(&listed, 1);
        if (place < LISTED) list[place] = key;
    });
    __syncthreads();
    if (listed <= LISTED) {
        u32 key = threadIdx.x < listed ? list[threadIdx.x] : 0, larger = 0, equal = 0;
        for (u32 i = 0; i < listed; i++) {
            larger += list[i] > key;
            equal += list[i] == key;
        }
        // All that write write the same.
        if (larger < in_bin && in_bin <= larger + equal) {
            last[0] = key;
            last[1] = in_bin - larger;
        }
        __syncthreads();
        wanted = last[1];
        return last[0];
    }
    while (low < high) {
        int shift = max(0, 32 - __clz(high - low) - 10);
        bin = last_bin<kept>(keys, own, [&](u32 key) {
            return low <= key && key <= high ? (key - low) >> shift : BINS;
        }, wanted);
        low += bin << shift;
        high = min(high, low + ((1u << shift) - 1));
    }
    return low;
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
