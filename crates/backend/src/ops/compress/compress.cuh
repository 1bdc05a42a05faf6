// What the compressors do for a window and for a token, by one block of threads; see mod.rs. Rows are
// all computed before the frontier is overwritten: by two kernels, or by one block that has a segment
// to itself. A unit includes this once for each of its row layouts, in a namespace.

// Entries of a window whose values and gates are on their way at once.
#define ENTRIES_AHEAD 8

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

// Where a compressor reads and writes; see cuda.rs.
struct Places {
    const float *values, *gates, *ape, *norm, *frequencies;
    const u32 *page_table;
    u8 *slots, *pages;
    u64 slot_bytes, page_bytes, frontier, rows;
    u32 table_width, ratio, overlap, pairs;
    float rms_eps;
};

DEVICE u8 *frontier_of(const Places &p, const Segment &s) {
    return p.slots + s.slot * p.slot_bytes + p.frontier;
}

// Computes and stores the row of a window of segment `s`, which is number `owner` of the step's, in
// `row` of shared memory. The whole block takes part.
DEVICE void compress_window(const Places &p, const Segment &s, u32 owner, u32 window, float *row) {
    u32 ratio = p.ratio;
    Entries e = {p.values, p.gates, p.ape, (const float *)frontier_of(p, s),
                 s.start, s.first_row, WIDTH * p.overlap, ratio, ratio * p.overlap};
    // Entries of the window before, if windows overlap, then of this one.
    u32 before = p.overlap == 2 && window > 0 ? ratio : 0, first = window * ratio - before;
    u32 own = (p.overlap - 1) * WIDTH;
    float squares = 0;
    for (u32 j = threadIdx.x; j < WIDTH; j += blockDim.x) {
        float max = -INFINITE, total = 0, weighted = 0;
        for (u32 i = 0; i < before + ratio; i += ENTRIES_AHEAD) {
            float v[ENTRIES_AHEAD], z[ENTRIES_AHEAD];
#pragma unroll
            for (u32 k = 0; k < ENTRIES_AHEAD; k++)
                if (i + k < before + ratio)
                    entry(e, first + i + k, j + (i + k < before ? 0 : own), v[k], z[k]);
#pragma unroll
            for (u32 k = 0; k < ENTRIES_AHEAD; k++) {
                if (i + k >= before + ratio) break;
                if (z[k] > max) {
                    float less = expf(max - z[k]);
                    total *= less;
                    weighted *= less;
                    max = z[k];
                }
                float weight = expf(z[k] - max);
                total += weight;
                weighted += weight * v[k];
            }
        }
        row[j] = weighted / total;
        squares += row[j] * row[j];
    }
    float scale = 1.0f / sqrtf(block_sum(squares) / WIDTH + p.rms_eps);
    for (u32 j = threadIdx.x; j < WIDTH; j += blockDim.x) row[j] *= scale * p.norm[j];
    __syncthreads();
    for (u32 i = threadIdx.x; i < p.pairs; i += blockDim.x) {
        float2 *pair = (float2 *)(row + WIDTH - 2 * p.pairs) + i;
        *pair = turned(*pair, angle_of(window * ratio, p.frequencies[i]));
    }
    __syncthreads();
    u32 per_page = 128 / ratio, page = p.page_table[owner * p.table_width + window / per_page];
    round_row(row, p.pages + page * p.page_bytes + p.rows, per_page, window % per_page);
}

// Keeps token `i` of a segment in its session's frontier.
DEVICE void keep_token(const Places &p, const Segment &s, u32 i) {
    u32 ring = p.ratio * p.overlap, width = WIDTH * p.overlap, position = s.start + i;
    float *token = (float *)frontier_of(p, s) + (u64)(position % ring) * 2 * width;
    u64 at = (u64)(s.first_row + i) * width;
    for (u32 j = threadIdx.x; j < width; j += blockDim.x) {
        token[j] = p.values[at + j];
        token[width + j] = p.gates[at + j] + p.ape[position % p.ratio * width + j];
    }
}

// The first token of a segment that its session keeps: the last min(len, ring) are.
DEVICE u32 first_kept(const Places &p, const Segment &s) {
    u32 ring = p.ratio * p.overlap;
    return s.len > ring ? s.len - ring : 0;
}

// A segment of a few tokens: the rows that close, then the tokens that are kept.
DEVICE void compress_segment(const Places &p, const Segment &s, u32 owner, float *row) {
    for (u32 w = s.start / p.ratio; w < (s.start + s.len) / p.ratio; w++) {
        compress_window(p, s, owner, w, row);
        __syncthreads();
    }
    for (u32 i = first_kept(p, s); i < s.len; i++) keep_token(p, s, i);
}
