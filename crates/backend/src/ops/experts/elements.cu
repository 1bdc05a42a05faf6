// What is done number by number: the activation, the sum. A thread takes four.

// `codes` and so on are out's rounded copy, if it has one.
extern "C" __global__ void swiglu(const float4 *gate, const float4 *up, float4 *out, i8 *codes,
                                  float *steps, float2 *halves, u32 fours, float clamp) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= fours) return;
    activate_four(gate, up, out, {codes, steps, halves}, i, clamp);
}

extern "C" __global__ void add(const float4 *x, float4 *y, u32 fours) {
    begin();
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= fours) return;
    float4 a = x[i], b = y[i];
    y[i] = make_float4(b.x + a.x, b.y + a.y, b.z + a.z, b.w + a.w);
}
