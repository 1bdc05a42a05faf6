// What both ways of reading four streams share.

// The sum of a number over the four lanes of a group, and the largest.
DEVICE float sum_of_four(float value) {
    value += __shfl_xor_sync(0xffffffff, value, 1);
    return value + __shfl_xor_sync(0xffffffff, value, 2);
}
DEVICE float largest_of_four(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffff, value, 2));
}

// One over each of four numbers, with one division: what is waited for is a chain of those.
DEVICE void inverses(float (&to)[4], const float (&of)[4]) {
    float low = of[0] * of[1], high = of[2] * of[3], inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(low * high));
    low *= inverse;
    high *= inverse;
    to[0] = of[1] * high;
    to[1] = of[0] * high;
    to[2] = of[3] * low;
    to[3] = of[2] * low;
}

// Sinkhorn for four streams, by a whole warp: lane 4 j + k has c[j][k], and so has the lane sixteen
// further; see `sinkhorn` in hyper.cu. Rows and columns are scaled, so the matrix is
//
//   c[j][k] = rows[j] m[j][k] columns[k]    with m the softmax of rows, and eps
//
// where dividing a row by its sum, and eps, makes rows[j] one over the sum of m[j][k] columns[k], and
// eps over rows[j]. Every lane has all of m, and sums without asking others. Numbers of m are from eps
// to one and a little more, which keeps products of four sums far from the ends of what floats can be.
// Once a round changes nothing that a float can tell from rounding, neither would the rest: they are left
// out, all but the columns that come last.
DEVICE float sinkhorn_of_four(float c, u32 iterations, float eps) {
    float power = expf(c - largest_of_four(c)), m[4][4];
    float own = __fdividef(power, sum_of_four(power)) + eps;
#pragma unroll
    for (u32 i = 0; i < 16; i++) m[i / 4][i % 4] = __shfl_sync(0xffffffff, own, i);
    float rows[4] = {1, 1, 1, 1}, over_rows[4] = {1, 1, 1, 1};
    float columns[4], over_columns[4] = {1, 1, 1, 1};
#pragma unroll 1
    for (u32 i = 0;; i++) {
        bool settled = true;
#pragma unroll
        for (u32 k = 0; k < 4; k++)
            over_columns[k] = (eps * over_columns[k] + rows[0] * m[0][k] + rows[1] * m[1][k])
                            + (rows[2] * m[2][k] + rows[3] * m[3][k]);
        inverses(columns, over_columns);
        if (i + 1 >= iterations) break;
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            float sum = (eps * over_rows[j] + m[j][0] * columns[0] + m[j][1] * columns[1])
                      + (m[j][2] * columns[2] + m[j][3] * columns[3]);
            settled = settled && fabsf(sum - over_rows[j]) <= 0x1p-22f * sum;
            over_rows[j] = sum;
        }
        inverses(rows, over_rows);
        if (settled) iterations = 0;
    }
    u32 j = threadIdx.x / 4 % 4, k = threadIdx.x % 4;
    float row = j < 2 ? (j ? rows[1] : rows[0]) : j == 2 ? rows[2] : rows[3];
    float column = k < 2 ? (k ? columns[1] : columns[0]) : k == 2 ? columns[2] : columns[3];
    return row * own * column;
}
