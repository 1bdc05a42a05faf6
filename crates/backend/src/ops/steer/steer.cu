// Steering; see mod.rs. A thread takes four channels at a time.

// y -= scale * v * (v . y), one block per row. directions [layers, width], scales [rows], y [rows, width].
// All threads of a block have one scale, and so leave together; a row of scale 0 is not written.
extern "C" __global__ void steer(const float4 *directions, const float *scales, float4 *y, u32 layer,
                                 u32 fours) {
    begin();
    float scale = scales[blockIdx.x];
    if (scale == 0.0f) return;
    const float4 *v = directions + (u64)layer * fours;
    y += (u64)blockIdx.x * fours;
    double sum = 0;
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 a = y[i], b = fixed(v + i);
        sum += (double)a.x * b.x + (double)a.y * b.y + (double)a.z * b.z + (double)a.w * b.w;
    }
    float added = (float)(-(double)scale * block_sum(sum));
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 a = y[i], b = fixed(v + i);
        y[i] = make_float4(fmaf(added, b.x, a.x), fmaf(added, b.y, a.y), fmaf(added, b.z, a.z),
                           fmaf(added, b.w, a.w));
    }
}

// out[r][layer] = y[rows[r]], one block per wanted row. y [T, width], out [R, layers * width].
extern "C" __global__ void tap(const float4 *y, const u32 *rows, float4 *out, u32 layer, u32 fours,
                               u32 all) {
    begin();
    y += (u64)rows[blockIdx.x] * fours;
    out += (u64)blockIdx.x * all + (u64)layer * fours;
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) out[i] = y[i];
}
