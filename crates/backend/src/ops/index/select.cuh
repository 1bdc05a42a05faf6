// The largest of many keys, of equal ones the first, by one block of threads. Comes after keys.cuh.
//
// Keys are read once and kept in shared memory if they are not too many. Loops are short: a block
// runs each of them once, and its code must be fetched, too.
//
// The last that is chosen is found by counting: how many scores are in each of BINS equal stretches
// between the least and the largest, then by comparing those of one bin with each other. If too
// many of them are alike, bins are taken of bins until one key is left.

#define THREADS 512
#define WARPS (THREADS / WARP)
#define BINS 1024
// Keys of one bin that are compared with each other.
#define LISTED 512

// Keys in memory, which other blocks may have written, and in shared memory, if they are kept.
struct Keys {
    const u32 *from;
    u32 *kept;
    u32 count;

    template <bool keep>
    __device__ __forceinline__ u32 at(u32 i) const {
        return keep ? kept[i] : __ldcg(from + i);
    }
};

// Keeps keys. `from` is at a multiple of 16 bytes, and four may be read where one is.
DEVICE void keep_keys(const Keys &keys) {
#pragma unroll 8
    for (u32 i = threadIdx.x; i < (keys.count + 3) / 4; i += THREADS)
        ((uint4 *)keys.kept)[i] = __ldcg((const uint4 *)keys.from + i);
    __syncthreads();
}

// Calls `f` with each key; the block's threads together.
template <bool keep, typename F>
DEVICE void each(const Keys &keys, F f) {
#pragma unroll 4
    for (u32 i = threadIdx.x; i < keys.count; i += THREADS) f(keys.at<keep>(i));
}

// Keys in order among warps, their steps and lanes.
template <bool keep>
struct InOrder {
    const Keys &keys;

    // Calls `f` with place and key, a warp's lanes together. Those that are not there have key 0.
    template <typename F>
    __device__ __forceinline__ void each(F f) const {
        u32 count = (keys.count + THREADS - 1) / THREADS, warp = threadIdx.x / WARP;
        u32 first = warp * WARP * count + threadIdx.x % WARP;
#pragma unroll 4
        for (u32 i = 0; i < count; i++) {
            u32 at = first + WARP * i;
            f(at, at < keys.count ? keys.at<keep>(at) : 0);
        }
    }
};

// Counts of bins lie so that 32 bins that are 32 apart are in different banks.
DEVICE u32 bin_place(u32 bin) { return bin + bin / WARP; }
#define BIN_PLACES (BINS + BINS / WARP)

// Counts, of which the last, of bin BINS, is of no interest; keys of one bin. Here, since functions
// for several kinds of keys have them together.
__shared__ u32 counts[BIN_PLACES + 1], list[LISTED];

// Which lane, counted from the first, makes the sum of `count` reach `wanted`; `wanted` becomes
// what that lane must add.
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

// The bin of the last key that is chosen, `bin_of` its key being the bin of each (BINS: none);
// `wanted` becomes how many of that bin are.
template <bool keep, typename Bin>
DEVICE u32 last_bin(const Keys &keys, Bin bin_of, u32 &wanted) {
    __shared__ u32 found[2];
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

// The key of `count` at `list` that is the `wanted`th largest, and how many of its equals are
// wanted.
DEVICE uint2 compared(const u32 *list, u32 count, u32 wanted) {
    __shared__ uint2 last;
    u32 key = threadIdx.x < count ? list[threadIdx.x] : 0, larger = 0, equal = 0;
#pragma unroll 4
    for (u32 i = 0; i < count; i++) {
        larger += list[i] > key;
        equal += list[i] == key;
    }
    // All that write write the same.
    if (larger < wanted && wanted <= larger + equal) last = make_uint2(key, wanted - larger);
    __syncthreads();
    return last;
}

// The last key that is chosen, of which all are between `low` and `high`; of its equals `wanted`
// are.
template <bool keep>
DEVICE u32 last_key(const Keys &keys, u32 low, u32 high, u32 &wanted) {
    __shared__ u32 listed;
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
        uint2 last = compared(list, listed, in_bin);
        wanted = last.y;
        return last.x;
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

// Calls `f` with a number from 0 on, place and key, for keys above `last` and the first `wanted`
// that equal it, of keys that are in order as above.
template <typename Ordered, typename F>
DEVICE void each_chosen(const Ordered &keys, u32 last, u32 wanted, F f) {
    __shared__ u32 larger_of[WARPS], equal_of[WARPS];
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, below = (1u << lane) - 1;
    u32 larger = 0, equal = 0;
    keys.each([&](u32, u32 key) {
        larger += __popc(__ballot_sync(0xffffffff, key > last));
        equal += __popc(__ballot_sync(0xffffffff, key == last));
    });
    if (lane == 0) larger_of[warp] = larger;
    if (lane == 0) equal_of[warp] = equal;
    __syncthreads();
    larger = warp_sum(lane < warp ? larger_of[lane] : 0);
    equal = warp_sum(lane < warp ? equal_of[lane] : 0);
    keys.each([&](u32 at, u32 key) {
        u32 above = __ballot_sync(0xffffffff, key > last);
        u32 same = __ballot_sync(0xffffffff, key == last);
        u32 equals = equal + __popc(same & below);
        if (key > last || (key == last && equals < wanted))
            f(larger + __popc(above & below) + min(equals, wanted), at, key);
        larger += __popc(above);
        equal += __popc(same);
    });
}

// Calls `f` as above for the `count` largest keys, or for none, and says so, if some score is not a
// number.
template <bool keep, typename F>
DEVICE bool select(const Keys &keys, u32 count, F f) {
    uint2 bounds = bounds_of<keep>(keys);
    if (bounds.y == NAN_KEY) return false;
    u32 wanted = count, last = last_key<keep>(keys, bounds.x, bounds.y, wanted);
    each_chosen(InOrder<keep>{keys}, last, wanted, f);
    return true;
}
