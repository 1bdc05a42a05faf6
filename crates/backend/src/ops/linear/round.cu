// Rounds activations to 8 bits in blocks of 32; see panel.rs. One warp per block.
//
// x [rows, cols] -> codes [rows, cols], steps [rows, cols/32], halves [rows, cols/32].

extern "C" __global__ void round_rows(const float *x, i8 *codes, float *steps, float2 *halves,
                                      u32 blocks) {
    u32 block = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (block >= blocks) return;
    float value = x[(u64)block * 32 + lane];
    bool finite = __all_sync(0xffffffff, fabsf(value) < INFINITE);
    float largest = warp_max(fabsf(value));
    // So small that its inverse could overflow.
    bool tiny = largest < __uint_as_float(1u << 23) * 256.0f;
    float step = !finite ? NOT_A_NUMBER : tiny ? 0.0f : largest / 127.0f;
    int code = finite && !tiny ? __float2int_rn(value * (127.0f / largest)) : 0;
    codes[(u64)block * 32 + lane] = (i8)code;
    int sum = code;
    for (int distance = 8; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, distance);
    int other = __shfl_xor_sync(0xffffffff, sum, 16);
    if (lane == 0) {
        steps[block] = step;
        halves[block] = make_float2(step * sum, step * other);
    }
}
