// streams[t] = table[tokens[t]], n times side by side. One block per token; FORMAT is the table's.

extern "C" __global__ void embed(const u8 *a, const u8 *b, const u8 *c, const u32 *tokens,
                                 float *streams, u32 cols, u32 n) {
    begin();
    streams += (u64)blockIdx.x * n * cols;
    u64 row = tokens[blockIdx.x];
    for (u32 i = threadIdx.x; i < cols; i += blockDim.x) {
        float value = weight_at({a, b, c}, row, cols, i);
        for (u32 k = 0; k < n; k++) streams[(u64)k * cols + i] = value;
    }
}
