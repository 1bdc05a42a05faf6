// Rounds activations to 8 bits in blocks of 32. A thread takes four values of x [rows, cols]; `fours`
// counts all of them.

extern "C" __global__ void round_rows(const float4 *x, i8 *codes, float *steps, float2 *halves,
                                      u32 fours) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < fours) round_four(x[i], i, {codes, steps, halves});
}
