// Reads memory and adds it up: what a kernel that only reads can reach.

extern "C" __global__ void read(const uint4 *from, u32 count, u32 *out) {
    begin();
    uint4 sum = {};
    u32 step = gridDim.x * blockDim.x;
#pragma unroll 8
    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
        uint4 v = from[i];
        sum.x ^= v.x;
        sum.y ^= v.y;
        sum.z ^= v.z;
        sum.w ^= v.w;
    }
    // Memory is zero, which the compiler does not know.
    if (sum.x ^ sum.y ^ sum.z ^ sum.w) *out = 1;
}
