// Attention: softmax over what a query sees, with a sink; see mod.rs.
//
// Keys are numbered: first those of the window, then compressed rows. A block takes one token, eight
// heads (a warp each) and KEYS keys, and leaves a maximum, a sum and a weighted row per head; `merge`
// joins the parts of a token. So a decoding step has enough blocks, and a long context only more.

#define HEADS 8
#define TILE 16
#define LANE (WIDTH / WARP)

struct Step {
    const u32 *positions, *owners;
    const Segment *segments;
    const u32 *page_table;
    u32 table_width;
};

// What a query sees, in the order of key numbers.
struct Seen {
    u32 position, window_first, window, compressed;
    Segment segment;
    const u32 *table, *picks;
};

// How many compressed rows a query sees; `picks` are its own. `beyond`: 0 nothing, 1 every closed row,
// 2 the picks.
DEVICE u32 compressed_of(u32 position, const u32 *picks, u32 top_k, u32 beyond, u32 ratio) {
    u32 closed = beyond ? (position + 1) / ratio : 0;
    if (beyond != 2) return closed;
    // Scores that are not numbers leave one pick, which says so.
    return closed && picks[0] == DAMAGED ? 1 : min(closed, top_k);
}

DEVICE Seen seen(const Step &step, const u32 *picks, u32 top_k, u32 beyond, u32 ratio, u32 ring, u32 t) {
    Seen s;
    u32 owner = step.owners[t];
    s.position = step.positions[t];
    s.segment = step.segments[owner];
    s.table = step.page_table + (u64)owner * step.table_width;
    s.window_first = s.position + 1 > ring ? s.position + 1 - ring : 0;
    s.window = s.position + 1 - s.window_first;
    s.picks = picks + (u64)t * top_k;
    s.compressed = compressed_of(s.position, s.picks, top_k, beyond, ratio);
    return s;
}

extern "C" __global__ void __launch_bounds__(HEADS *WARP)
    attend(const float *q, const u32 *positions, const u32 *owners, const Segment *segments,
           const u32 *page_table, u32 table_width, const u8 *fresh, u32 capacity, const u8 *slots,
           u64 slot_bytes, u64 ring_offset, u32 ring, const u8 *pages, u64 page_bytes, u64 offset,
           u32 ratio, const u32 *picks, u32 top_k, u32 beyond, u32 heads, u32 keys, u32 parts,
           float *partial) {
    begin();
    __shared__ float tile[TILE][WIDTH];
    u32 t = blockIdx.x, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 head = blockIdx.y * HEADS + warp, part = blockIdx.z;
    Step step = {positions, owners, segments, page_table, table_width};
    Seen s = seen(step, picks, top_k, beyond, ratio, ring, t);
    u32 total = s.window + s.compressed, first = part * keys, last = min(total, first + keys);
    if (first >= total) return;
    float query[LANE] = {}, row[LANE] = {}, max = -INFINITE, sum = 0;
    if (head < heads)
        for (u32 i = 0; i < LANE; i++) query[i] = q[((u64)t * heads + head) * WIDTH + lane + WARP * i];
    const float scale = rsqrtf((float)WIDTH);
    u32 per_page = beyond ? 128 / ratio : 1;
    for (u32 base = first; base < last; base += TILE) {
        __syncthreads();
        // A warp decodes two rows.
        for (u32 r = warp; r < TILE && base + r < last; r += HEADS) {
            u32 key = base + r;
            RowPlace place;
            bool damaged = false;
            if (key < s.window) {
                u32 p = s.window_first + key;
                place = p >= s.segment.start
                    ? row_place(fresh, capacity, s.segment.first_row + p - s.segment.start)
                    : row_place(slots + s.segment.slot * slot_bytes + ring_offset, ring, p % ring);
            } else {
                u32 w = beyond == 2 ? s.picks[key - s.window] : key - s.window;
                damaged = w == DAMAGED;
                if (w >= DAMAGED) w = 0;
                place = row_place(pages + s.table[w / per_page] * page_bytes + offset, per_page, w % per_page);
            }
            for (u32 i = lane; i < WIDTH; i += WARP) tile[r][i] = damaged ? NOT_A_NUMBER : row_value(place, i);
        }
        __syncthreads();
        for (u32 r = 0; r < TILE && base + r < last; r++) {
            u32 key = base + r;
            if (beyond == 2 && key >= s.window && s.picks[key - s.window] == NO_PICK) break;
            float product = 0;
            for (u32 i = 0; i < LANE; i++) product += query[i] * tile[r][lane + WARP * i];
            float score = warp_sum(product) * scale;
            // NaN must reach the result.
            float higher = score > max ? score : max, less = expf(max - higher);
            float weight = expf(score - higher);
            sum = sum * less + weight;
            for (u32 i = 0; i < LANE; i++) row[i] = row[i] * less + weight * tile[r][lane + WARP * i];
            max = higher;
        }
    }
    if (head >= heads) return;
    float *out = partial + (((u64)t * heads + head) * parts + part) * (WIDTH + 2);
    for (u32 i = 0; i < LANE; i++) out[lane + WARP * i] = row[i];
    if (lane == 0) out[WIDTH] = max;
    if (lane == 0) out[WIDTH + 1] = sum;
}

// One block per token and head: joins parts and the sink.
extern "C" __global__ void merge(const float *partial, const float *sinks, const u32 *positions,
                                 const u32 *picks, u32 ratio, u32 ring, u32 top_k, u32 beyond,
                                 u32 heads, u32 keys, u32 parts, float *out) {
    begin();
    u32 t = blockIdx.x, head = blockIdx.y, position = positions[t];
    u32 compressed = compressed_of(position, picks + (u64)t * top_k, top_k, beyond, ratio);
    u32 used = (min(position + 1, ring) + compressed + keys - 1) / keys;
    partial += ((u64)t * heads + head) * parts * (WIDTH + 2);
    float max = sinks[head], sum;
    for (u32 p = 0; p < used; p++) max = fmaxf(max, partial[p * (WIDTH + 2) + WIDTH]);
    sum = expf(sinks[head] - max);
    for (u32 p = 0; p < used; p++) {
        const float *part = partial + p * (WIDTH + 2);
        sum += part[WIDTH + 1] * expf(part[WIDTH] - max);
    }
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) {
        float value = 0;
        for (u32 p = 0; p < used; p++) {
            const float *part = partial + p * (WIDTH + 2);
            value += part[i] * expf(part[WIDTH] - max);
        }
        out[((u64)t * heads + head) * WIDTH + i] = value / sum;
    }
}
