// The rotation; see mod.rs.

// frequencies [pairs], positions [rows] -> out [rows, pairs] of (cos, sin).
extern "C" __global__ void rope_angles(const float *frequencies, const u32 *positions, float2 *out,
                                       u32 pairs, u32 rows) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * pairs) return;
    out[i] = angle_of(positions[i / pairs], frequencies[i % pairs]);
}

// The last 2 * pairs channels of each head of x [rows, heads * dim], in place.
extern "C" __global__ void rotate(float *x, const float2 *angles, u32 heads, u32 dim, u32 pairs,
                                  u32 rows, float direction) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * heads * pairs) return;
    u32 pair = i % pairs, head = i / pairs;
    float2 angle = angles[(u64)(head / heads) * pairs + pair];
    float2 *at = (float2 *)(x + (u64)head * dim + dim - 2 * pairs) + pair;
    *at = turned(*at, make_float2(angle.x, direction * angle.y));
}
