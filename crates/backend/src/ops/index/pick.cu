// The rows with the largest scores, ascending; of equal ones the lowest. One block per token.
//
// Scores are read once, as whole numbers in the same order, and kept in shared memory if they are not
// too many. Loops are short: a block runs each of them once, and its code must be fetched, too.
//
// The last that is picked is found by counting: how many scores are in each of BINS equal stretches
// between the least and the largest, then by comparing those of one bin with each other. If too many
// of them are alike, bins are taken of bins until one key is left.

#define THREADS 512
#define WARPS (THREADS / WARP)
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

// The scores of a token: as they are, and as keys if they are kept.
struct Keys {
    const float *scores;
    u32 *kept;
    u32 visible;

    template <bool keep>
    __device__ __forceinline__ u32 at(u32 row) const {
        return keep ? kept[row] : key_of(scores[row]);
    }
};

// Calls `f` with each key; the block's threads together.
template <bool keep, typename F>
DEVICE void each(const Keys &keys, F f) {
#pragma unroll 4
    for (u32 row = threadIdx.x; row < keys.visible; row += THREADS) f(keys.at<keep>(row));
}

// Calls `f` with row and key, ascending among warps and lanes; a warp's lanes together. Rows that are
// not there have key 0.
template <bool keep, typename F>
DEVICE void each_in_order(const Keys &keys, F f) {
    u32 count = (keys.visible + THREADS - 1) / THREADS, warp = threadIdx.x / WARP;
    u32 first = warp * WARP * count + threadIdx.x % WARP;
#pragma unroll 4
    for (u32 i = 0; i < count; i++) {
        u32 row = first + WARP * i;
        f(row, row < keys.visible ? keys.at<keep>(row) : 0);
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
template <bool keep, typename Bin>
DEVICE u32 last_bin(const Keys &keys, Bin bin_of, u32 &wanted) {
    // Bin BINS is of no interest.
    __shared__ u32 counts[BIN_PLACES + 1], found[2];
    __syncthreads();
    for (u32 i = threadIdx.x; i < BIN_PLACES; i += THREADS) counts[i] = 0;
    __syncthreads();
    each<keep>(keys, [&](u32 key) { atomicAdd(&counts[bin_place(bin_of(key))], 1); });
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
template <bool keep>
DEVICE uint2 bounds_of(const Keys &keys) {
    __shared__ u32 bounds[2];
    u32 least = 0xffffffff, largest = 0;
    each<keep>(keys, [&](u32 key) {
        least = min(least, key);
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
template <bool keep>
DEVICE u32 last_key(const Keys &keys, u32 &wanted) {
    __shared__ u32 list[LISTED], listed, last[2];
    uint2 bounds = bounds_of<keep>(keys);
    u32 low = bounds.x, high = bounds.y;
    // Whatever rounding does, a larger score is in no lower bin. Infinities share one.
    float least = value_of(low), scale = (float)BINS / (value_of(high) - least);
    auto bin_of = [&](u32 key) {
        return min(__float2uint_rz((value_of(key) - least) * scale), BINS - 1);
    };
    u32 in_bin = wanted, bin = last_bin<keep>(keys, bin_of, in_bin);
    if (threadIdx.x == 0) listed = 0;
    __syncthreads();
    each<keep>(keys, [&](u32 key) {
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
        bin = last_bin<keep>(keys, [&](u32 key) {
            return low <= key && key <= high ? (key - low) >> shift : BINS;
        }, wanted);
        low += bin << shift;
        high = min(high, low + ((1u << shift) - 1));
    }
    return low;
}

// Writes the rows above `last`, and the first `wanted` that equal it.
template <bool keep>
DEVICE void write(const Keys &keys, u32 last, u32 wanted, u32 *picks) {
    __shared__ u32 larger_of[WARPS], equal_of[WARPS];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, below = (1u << lane) - 1;
    u32 larger = 0, equal = 0;
    each_in_order<keep>(keys, [&](u32, u32 key) {
        larger += __popc(__ballot_sync(0xffffffff, key > last));
        equal += __popc(__ballot_sync(0xffffffff, key == last));
    });
    if (lane == 0) larger_of[warp] = larger;
    if (lane == 0) equal_of[warp] = equal;
    __syncthreads();
    larger = warp_sum(lane < warp ? larger_of[lane] : 0);
    equal = warp_sum(lane < warp ? equal_of[lane] : 0);
    each_in_order<keep>(keys, [&](u32 row, u32 key) {
        u32 above = __ballot_sync(0xffffffff, key > last);
        u32 same = __ballot_sync(0xffffffff, key == last);
        u32 equals = equal + __popc(same & below);
        if (key > last || (key == last && equals < wanted))
            picks[larger + __popc(above & below) + min(equals, wanted)] = row;
        larger += __popc(above);
        equal += __popc(same);
    });
}

template <bool keep>
DEVICE void pick_of(const Keys &keys, u32 top_k, u32 *picks) {
    bool damaged = false;
#pragma unroll 8
    for (u32 i = threadIdx.x; i < (keys.visible + 3) / 4; i += THREADS) {
        // The last may read beyond what is visible, but not beyond its token's scores.
        float4 four = ((const float4 *)keys.scores)[i];
        float scores[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (u32 k = 0; k < 4; k++)
            damaged |= 4 * i + k < keys.visible && scores[k] != scores[k];
        if (keep)
            ((uint4 *)keys.kept)[i] = make_uint4(key_of(four.x), key_of(four.y), key_of(four.z),
                                                 key_of(four.w));
    }
    if (__syncthreads_or(damaged)) {
        for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i == 0 ? DAMAGED : NO_PICK;
        return;
    }
    u32 wanted = top_k, last = last_key<keep>(keys, wanted);
    write<keep>(keys, last, wanted, picks);
}

// scores [T, stride] -> picks [T, top_k], for tokens from `first` on. `stride` is a multiple of 4.
// Shared memory: `room` keys.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    pick(const float *scores, const u32 *positions, u32 ratio, u32 top_k, u32 *picks, u32 stride,
         u32 first, u32 room) {
    begin();
    extern __shared__ __align__(16) u32 kept[];
    u32 t = first + blockIdx.x, visible = (positions[t] + 1) / ratio;
    scores += (u64)blockIdx.x * stride;
    picks += (u64)t * top_k;
    if (visible <= top_k) {
        for (u32 i = threadIdx.x; i < top_k; i += THREADS) picks[i] = i < visible ? i : NO_PICK;
        return;
    }
    Keys keys = {scores, kept, visible};
    if (visible <= room) pick_of<true>(keys, top_k, picks);
    else pick_of<false>(keys, top_k, picks);
}
