// Attention by plain sums, for rows of floats, and the union of parts; see mod.rs and seen.cuh.
//
// A block takes one token, eight heads (a warp each) and one part of the keys.

#define HEADS 8
#define TILE 16
#define LANE (WIDTH / WARP)

extern "C" __global__ void __launch_bounds__(HEADS *WARP)
    attend(const float *q, CALL_ARGUMENTS, u32 heads, u32 parts, float *partial) {
    begin();
    __shared__ float tile[TILE][WIDTH];
    Call call = CALL;
    u32 t = blockIdx.x, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 head = blockIdx.y * HEADS + warp, part = blockIdx.z;
    Seen s = seen(call, t);
    u32 keys = part_keys(s.total, parts), first = part * keys, last = min(s.total, first + keys);
    if (first >= last) return;
    float query[LANE] = {}, sums[LANE] = {}, max = LOWEST, sum = 0;
    if (head < heads)
        for (u32 i = 0; i < LANE; i++) query[i] = q[((u64)t * heads + head) * WIDTH + lane + WARP * i];
    const float scale = rsqrtf((float)WIDTH);
    for (u32 base = first; base < last; base += TILE) {
        __syncthreads();
        // A warp decodes two rows.
        for (u32 r = warp; r < TILE && base + r < last; r += HEADS) {
            u32 key = base + r, row = row_of(call, s, key);
            bool damaged = row == DAMAGED;
            RowPlace place = place_of(call, s, key, row >= DAMAGED ? 0 : row);
            for (u32 i = lane; i < WIDTH; i += WARP)
                tile[r][i] = damaged ? NOT_A_NUMBER : row_value(place, i);
        }
        __syncthreads();
        for (u32 r = 0; r < TILE && base + r < last; r++) {
            if (row_of(call, s, base + r) == NO_PICK) break;
            float product = 0;
            for (u32 i = 0; i < LANE; i++) product += query[i] * tile[r][lane + WARP * i];
            float score = warp_sum(product) * scale;
            // NaN must reach the result.
            float higher = score > max ? score : max, less = expf(max - higher);
            float weight = expf(score - higher);
            sum = sum * less + weight;
            for (u32 i = 0; i < LANE; i++)
                sums[i] = sums[i] * less + weight * tile[r][lane + WARP * i];
            max = higher;
        }
    }
    if (head >= heads) return;
    float *out = partial + (((u64)t * heads + head) * parts + part) * PARTIAL;
    for (u32 i = 0; i < LANE; i++) out[lane + WARP * i] = sums[i];
    if (lane == 0) out[WIDTH] = max;
    if (lane == 0) out[WIDTH + 1] = sum;
}

// What happens to heads after attention: they are rotated back by angles [rows, pairs] and rounded,
// `codes` and so on being their rounded copy; each is left out if it is null.
struct After {
    const float2 *angles;
    u32 pairs;
    Rounded to;
};

// Four channels of a head that is row `head` of all.
DEVICE void write_four(float4 v, float *out, u64 head, u64 t, const After &after) {
    u32 i = threadIdx.x, plain = (WIDTH - 2 * after.pairs) / 4;
    if (after.angles && i >= plain)
        v = turned(v, after.angles + t * after.pairs + 2 * (i - plain), -1.0f);
    u64 at = head * (WIDTH / 4) + i;
    ((float4 *)out)[at] = v;
    if (after.to.codes) round_four(v, at, after.to);
}

// One block per token (x) and head (y): joins parts and the sink. If `slots` are said, one more block
// per token keeps its row. Blocks of WIDTH / 4 threads, and `parts` floats of shared memory.
extern "C" __global__ void merge(const float *partial, const float *sinks, const u32 *positions,
                                 const u32 *picks, u32 ratio, u32 ring, u32 top_k, u32 beyond,
                                 u32 heads, u32 parts, float *out, const float2 *angles, u32 pairs,
                                 i8 *codes, float *steps, float2 *halves, const u32 *owners,
                                 const Segment *segments, const u8 *fresh, u32 capacity, u8 *slots,
                                 u64 slot_bytes, u64 ring_offset) {
    begin();
    extern __shared__ float weights[];
    u32 t = blockIdx.x, head = blockIdx.y;
    if (head == heads) {
        Segment s = segments[owners[t]];
        return keep_row(fresh, capacity, s, t - s.first_row, slots, slot_bytes, ring_offset, ring);
    }
    u32 position = positions[t];
    u32 compressed = compressed_of(position, picks + (u64)t * top_k, top_k, beyond, ratio);
    u32 total = min(position + 1, ring) + compressed, keys = part_keys(total, parts);
    u32 used = (total + keys - 1) / keys;
    u64 row = (u64)t * heads + head;
    partial += row * parts * PARTIAL;
    for (u32 p = threadIdx.x; p < used; p += blockDim.x) weights[p] = partial[p * PARTIAL + WIDTH];
    __syncthreads();
    float max = sinks[head], sum;
    for (u32 p = 0; p < used; p++) max = fmaxf(max, weights[p]);
    sum = expf(sinks[head] - max);
    float4 value = {};
#pragma unroll 8
    for (u32 p = 0; p < used; p++) {
        const float *part = partial + p * PARTIAL;
        float4 row = *(const float4 *)(part + 4 * threadIdx.x);
        float weight = expf(weights[p] - max);
        sum += part[WIDTH + 1] * weight;
        value.x += row.x * weight;
        value.y += row.y * weight;
        value.z += row.z * weight;
        value.w += row.w * weight;
    }
    float4 result = {value.x / sum, value.y / sum, value.z / sum, value.w / sum};
    write_four(result, out, row, t, {angles, pairs, {codes, steps, halves}});
}
