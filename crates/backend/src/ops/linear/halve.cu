// Activations as two F16; see twofold.cuh. One block per row.

extern "C" __global__ void twofold_rows(const float4 *x, uint4 *to, float *factors, u32 cols) {
    __shared__ float parts[WARP];
    begin();
    u32 chunks = cols / 8, i = threadIdx.x;
    x += (u64)blockIdx.x * (cols / 4);
    to += (u64)blockIdx.x * (cols / 4);
    float largest = 0;
    for (u32 c = i; c < chunks; c += blockDim.x) {
        float4 a = x[2 * c], b = x[2 * c + 1];
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(a.x), fabsf(a.y)), fmaxf(fabsf(a.z), fabsf(a.w))));
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(b.x), fabsf(b.y)), fmaxf(fabsf(b.z), fabsf(b.w))));
    }
    largest = warp_max(largest);
    if (i % WARP == 0) parts[i / WARP] = largest;
    __syncthreads();
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) largest = fmaxf(largest, parts[warp]);
    int exponent = exponent_for(largest);
    if (i == 0) factors[blockIdx.x] = power_of_two(-exponent);
    for (u32 c = i; c < chunks; c += blockDim.x)
        store_twofold(to, c, x[2 * c], x[2 * c + 1], power_of_two(exponent));
}
