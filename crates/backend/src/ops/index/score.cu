// Scores of the indexer by plain sums, as keys: for each token and each row that it sees,
// sum over heads of weight * scale * max(0, q . row). NaN stays NaN.

#define ROWS 32
#define QUERIES 32

// Blocks: 32 rows (x) of one token (y). q [T, heads * WIDTH], weights [T, heads] -> keys
// [T, stride], for tokens from `first` on. 256 threads.
extern "C" __global__ void __launch_bounds__(256)
    score(const float *q, const float *weights, const u32 *positions, const u32 *owners,
          const u32 *page_table, u32 table_width, const u8 *pages, u64 page_bytes, u64 offset,
          u32 ratio, u32 heads, u32 top_k, float scale, u32 *keys, u32 stride, u32 first) {
    begin();
    __shared__ float rows[ROWS][WIDTH + 4];
    __shared__ float queries[QUERIES][WIDTH + 4];
    u32 t = first + blockIdx.y, visible = (positions[t] + 1) / ratio, row = blockIdx.x * ROWS;
    if (visible <= top_k || row >= visible) return;
    const u32 *table = page_table + (u64)owners[t] * table_width;
    u32 per_page = 128 / ratio, count = min(ROWS, visible - row);
    for (u32 i = threadIdx.x; i < ROWS * WIDTH; i += blockDim.x) {
        u32 r = i / WIDTH, at = row + r;
        float value = 0;
        if (r < count) {
            const u8 *block = pages + table[at / per_page] * page_bytes + offset;
            value = row_value(row_place(block, per_page, at % per_page), i % WIDTH);
        }
        rows[r][i % WIDTH] = value;
    }
    // A thread has one row and every eighth query of a tile.
    u32 r = threadIdx.x % ROWS, lane = threadIdx.x / ROWS;
    float sum = 0;
    for (u32 head = 0; head < heads; head += QUERIES) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < QUERIES * WIDTH; i += blockDim.x) {
            u32 h = head + i / WIDTH;
            queries[i / WIDTH][i % WIDTH] = h < heads ? q[((u64)t * heads + h) * WIDTH + i % WIDTH] : 0;
        }
        __syncthreads();
        float products[QUERIES / 8] = {};
        for (u32 i = 0; i < WIDTH; i += 4) {
            float4 a = *(const float4 *)&rows[r][i];
#pragma unroll
            for (u32 k = 0; k < QUERIES / 8; k++) {
                float4 b = *(const float4 *)&queries[lane + 8 * k][i];
                products[k] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
            }
        }
        for (u32 k = 0; k < QUERIES / 8; k++) {
            u32 h = head + lane + 8 * k;
            float relu = products[k] < 0 ? 0 : products[k];
            if (h < heads) sum += weights[(u64)t * heads + h] * scale * relu;
        }
    }
    __syncthreads();
    queries[lane][r] = sum;
    __syncthreads();
    if (threadIdx.x < count) {
        float total = 0;
        for (u32 k = 0; k < 8; k++) total += queries[k][threadIdx.x];
        keys[(u64)blockIdx.y * stride + row + threadIdx.x] = key_of(total);
    }
}
