// The norms; see mod.rs. A thread takes four channels at a time.

// One block per row. x, out [rows, width], weight [width]; `codes` and so on are out's rounded copy, if
// it has one.
extern "C" __global__ void rms_norm(const float4 *x, const float4 *weight, float4 *out, i8 *codes,
                                    float *steps, float2 *halves, u32 fours, float eps) {
    begin();
    norm_row(x, weight, out, {codes, steps, halves}, fours, blockIdx.x, eps);
}

// One block per head, in place. x [rows * heads, dim].
extern "C" __global__ void unit_norm(float4 *x, u32 fours, float eps) {
    begin();
    x += (u64)blockIdx.x * fours;
    float scale = rms_scale(x, fours, eps);
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 v = x[i];
        x[i] = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
    }
}

// The same, and the rotation of the last 2 * pairs channels: see rope.cu. angles [rows, pairs].
extern "C" __global__ void rotate_unit(float4 *x, const float2 *angles, u32 fours, u32 heads,
                                       u32 pairs, float eps) {
    begin();
    x += (u64)blockIdx.x * fours;
    angles += (u64)(blockIdx.x / heads) * pairs;
    u32 plain = fours - pairs / 2;
    float scale = rms_scale(x, fours, eps);
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 v = x[i];
        v = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
        x[i] = i < plain ? v : turned(v, angles + 2 * (i - plain), 1.0f);
    }
}
