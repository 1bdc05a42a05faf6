// Activations in BF16 for the products of many tokens, in the order of columns that bf16.cuh
// says: of every 128, four of each 32 stand together. A value that is not finite stays what it is.

// Sixteen places of `to`, from the four stretches of 32 columns that they come from.
extern "C" __global__ void bf16_rows(const float *x, uint4 *to, u32 sixteens) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= sixteens) return;
    u32 pairs[8];
#pragma unroll
    for (int q = 0; q < 4; q++) {
        float4 v = *(const float4 *)(x + (u64)(i / 8) * 128 + q * 32 + i % 8 * 4);
        pairs[q] = bf16_pair(v.x, v.y);
        pairs[q + 4] = bf16_pair(v.z, v.w);
    }
    to[2 * (u64)i] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    to[2 * (u64)i + 1] = make_uint4(pairs[4], pairs[5], pairs[6], pairs[7]);
}
