// The norms; see mod.rs. Squares are added in double precision: numbers may be very large or small.

DEVICE float rms_scale(const float *x, u32 width, float eps) {
    double sum = 0;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += (double)x[i] * x[i];
    return (float)(1.0 / sqrt(block_sum(sum) / width + (double)eps));
}

// One block per row. x, out [rows, width], weight [width].
extern "C" __global__ void rms_norm(const float *x, const float *weight, float *out, u32 width,
                                    float eps) {
    x += (u64)blockIdx.x * width;
    out += (u64)blockIdx.x * width;
    float scale = rms_scale(x, width, eps);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) out[i] = x[i] * scale * weight[i];
}

// One block per head, in place. x [rows * heads, dim].
extern "C" __global__ void unit_norm(float *x, u32 dim, float eps) {
    x += (u64)blockIdx.x * dim;
    float scale = rms_scale(x, dim, eps);
    for (u32 i = threadIdx.x; i < dim; i += blockDim.x) x[i] *= scale;
}
