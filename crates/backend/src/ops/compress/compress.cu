// The compressors; see mod.rs. Rows are all computed before the frontier is overwritten: two kernels.

// Value and gate of the token at `position`, for a column: from the step's tokens, or the frontier.
struct Entries {
    const float *values, *gates, *ape, *frontier;
    u32 start, first_row, width, ratio, ring;
};

DEVICE void entry(const Entries &e, u32 position, u32 column, float &v, float &z) {
    if (position >= e.start) {
        u64 at = (u64)(e.first_row + position - e.start) * e.width + column;
        v = e.values[at];
        z = e.gates[at] + e.ape[position % e.ratio * e.width + column];
    } else {
        const float *token = e.frontier + (u64)(position % e.ring) * 2 * e.width;
        v = token[column];
        z = token[e.width + column];
    }
}

// One block per window that closes: blockIdx.x counts them within segment blockIdx.y.
extern "C" __global__ void compress(const float *values, const float *gates, const float *ape,
                                    const float *norm, const float *frequencies, float rms_eps,
                                    const Segment *segments, const u32 *page_table, u32 table_width,
                                    const u8 *slots, u64 slot_bytes, u8 *pages, u64 page_bytes,
                                    u64 frontier, u64 rows, u32 ratio, u32 overlap, u32 pairs) {
    __shared__ __align__(8) float row[WIDTH];
    Segment s = segments[blockIdx.y];
    u32 window = s.start / ratio + blockIdx.x;
    if (window >= (s.start + s.len) / ratio) return;
    Entries e = {values, gates, ape, (const float *)(slots + s.slot * slot_bytes + frontier),
                 s.start, s.first_row, WIDTH * overlap, ratio, ratio * overlap};
    // Entries of the window before, if windows overlap, then of this one.
    u32 before = overlap == 2 && window > 0 ? ratio : 0, first = window * ratio - before;
    u32 own = (overlap - 1) * WIDTH;
    float squares = 0;
    for (u32 j = threadIdx.x; j < WIDTH; j += blockDim.x) {
        float max = -INFINITE, total = 0, weighted = 0, v, z;
        for (u32 i = 0; i < before + ratio; i++) {
            entry(e, first + i, j + (i < before ? 0 : own), v, z);
            if (z > max) {
                float less = expf(max - z);
                total *= less;
                weighted *= less;
                max = z;
            }
            float weight = expf(z - max);
            total += weight;
            weighted += weight * v;
        }
        row[j] = weighted / total;
        squares += row[j] * row[j];
    }
    float scale = 1.0f / sqrtf(block_sum(squares) / WIDTH + rms_eps);
    for (u32 j = threadIdx.x; j < WIDTH; j += blockDim.x) row[j] *= scale * norm[j];
    __syncthreads();
    for (u32 i = threadIdx.x; i < pairs; i += blockDim.x) {
        float2 *pair = (float2 *)(row + WIDTH - 2 * pairs) + i;
        *pair = turned(*pair, angle_of(window * ratio, frequencies[i]));
    }
    __syncthreads();
    u32 per_page = 128 / ratio, page = page_table[blockIdx.y * table_width + window / per_page];
    round_row(row, pages + page * page_bytes + rows, per_page, window % per_page);
}

// The last min(len, ring) tokens of segment blockIdx.y, to its session's frontier.
extern "C" __global__ void keep_frontier(const float *values, const float *gates, const float *ape,
                                         const Segment *segments, u8 *slots, u64 slot_bytes,
                                         u64 frontier, u32 ratio, u32 overlap) {
    Segment s = segments[blockIdx.y];
    u32 ring = ratio * overlap, width = WIDTH * overlap;
    u32 i = (s.len > ring ? s.len - ring : 0) + blockIdx.x;
    if (i >= s.len) return;
    u32 position = s.start + i;
    float *token = (float *)(slots + s.slot * slot_bytes + frontier) + (u64)(position % ring) * 2 * width;
    u64 at = (u64)(s.first_row + i) * width;
    for (u32 j = threadIdx.x; j < width; j += blockDim.x) {
        token[j] = values[at + j];
        token[width + j] = gates[at + j] + ape[position % ratio * width + j];
    }
}
