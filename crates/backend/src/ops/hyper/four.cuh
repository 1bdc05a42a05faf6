// What both ways of reading four streams share.

// The sum of a number over the four lanes of a group.
DEVICE float sum_of_four(float value) {
    value += __shfl_xor_sync(0xffffffff, value, 1);
    return value + __shfl_xor_sync(0xffffffff, value, 2);
}

// Sinkhorn for four streams, by a whole warp: lane 4 j + k has c[j][k], and so has the lane sixteen
// further. Inside, every lane holds a row, so that only columns are summed over lanes: what is waited
// for is a chain of such sums. See `sinkhorn` in hyper.cu.
DEVICE float sinkhorn_of_four(float c, u32 iterations, float eps) {
    const u32 lanes = 0xffffffff;
    u32 lane = threadIdx.x % WARP, row = lane % 4;
    float v[4];
#pragma unroll
    for (u32 k = 0; k < 4; k++) v[k] = __shfl_sync(lanes, c, 4 * row + k);
    float max = fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3]));
#pragma unroll
    for (u32 k = 0; k < 4; k++) v[k] = expf(v[k] - max);
    for (u32 i = 0; i <= iterations; i++) {
        // Rows; the first time without eps, which is added to the values instead.
        float sum = (v[0] + v[1]) + (v[2] + v[3]);
        float inverse = __fdividef(1.0f, i == 0 ? sum : sum + eps);
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            if (i == 0) v[k] = v[k] * inverse + eps;
            if (i > 1) v[k] *= inverse;
        }
        if (i == 0) continue;
#pragma unroll
        for (u32 k = 0; k < 4; k++) v[k] = __fdividef(v[k], sum_of_four(v[k]) + eps);
    }
    float out = 0;
#pragma unroll
    for (u32 k = 0; k < 4; k++) {
        float value = __shfl_sync(lanes, v[k], lane / 4 % 4);
        if (lane % 4 == k) out = value;
    }
    return out;
}
