// The rotation; see mod.rs.

// frequencies [pairs], positions [rows] -> out [rows, pairs] of (cos, sin).
extern "C" __global__ void rope_angles(const float *frequencies, const u32 *positions, float2 *out,
                                       u32 pairs, u32 rows) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * pairs) return;
    out[i] = angle_of(positions[i / pairs], frequencies[i % pairs]);
}

// The last 2 * pairs channels of each head of x [rows, heads * dim], in place. A thread takes two pairs
// of x, or, if x has a rounded copy, four channels of all.
extern "C" __global__ void rotate(float4 *x, const float2 *angles, i8 *codes, float *steps,
                                  float2 *halves, u32 heads, u32 fours, u32 pairs, u32 rows,
                                  float direction) {
    begin();
    u32 plain = fours - pairs / 2, across = codes ? fours : pairs / 2;
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * heads * across) return;
    u32 head = i / across, four = i % across + (fours - across);
    u64 at = (u64)head * fours + four;
    float4 v = x[at];
    if (four >= plain)
        x[at] = v = turned(v, angles + (u64)(head / heads) * pairs + 2 * (four - plain), direction);
    if (codes) round_four(v, at, {codes, steps, halves});
}
