// What both ways of reading four streams share.

// Sinkhorn for four streams, by sixteen lanes of a warp, and by the other sixteen as well: lane
// 4 j + k has c[j][k]. See `sinkhorn` in hyper.cu.
DEVICE float sinkhorn_of_four(float c, u32 iterations, float eps) {
    const u32 lanes = 0xffffffff;
    float max = fmaxf(c, __shfl_xor_sync(lanes, c, 1));
    max = fmaxf(max, __shfl_xor_sync(lanes, max, 2));
    c = expf(c - max);
    for (u32 i = 0; i <= iterations; i++) {
        // Rows; the first time without eps, which is added to the values instead.
        float row = c + __shfl_xor_sync(lanes, c, 1);
        row += __shfl_xor_sync(lanes, row, 2);
        if (i == 0) c = __fdividef(c, row) + eps;
        if (i > 1) c = __fdividef(c, row + eps);
        if (i == 0) continue;
        float column = c + __shfl_xor_sync(lanes, c, 4);
        column += __shfl_xor_sync(lanes, column, 8);
        c = __fdividef(c, column + eps);
    }
    return c;
}
