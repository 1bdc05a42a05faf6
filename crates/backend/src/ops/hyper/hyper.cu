// Hyper-connections; see mod.rs. The coefficients' products with the raw streams come from the
// matrix kernels; here they are scaled by rms, since rms(h) . w = (h . w) * scale.

#define STREAMS_MAX 8

DEVICE float streams_scale(const float *h, u32 width, float eps) {
    float sum = 0;
    for (u32 i = threadIdx.x; i < width / 4; i += blockDim.x) {
        float4 v = ((const float4 *)h)[i];
        sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    return 1.0f / sqrtf(block_sum(sum) / width + eps);
}

// Softmax over rows, then columns and rows in turn, of the n by n matrix c. One thread.
DEVICE void sinkhorn(float *c, u32 n, u32 iterations, float eps) {
    for (u32 j = 0; j < n; j++) {
        float max = -INFINITE, sum = 0;
        for (u32 k = 0; k < n; k++) max = fmaxf(max, c[j * n + k]);
        for (u32 k = 0; k < n; k++) sum += c[j * n + k] = expf(c[j * n + k] - max);
        for (u32 k = 0; k < n; k++) c[j * n + k] = c[j * n + k] / sum + eps;
    }
    for (u32 i = 0; i < iterations; i++) {
        for (u32 j = 0; j < n && i > 0; j++) {
            float sum = 0;
            for (u32 k = 0; k < n; k++) sum += c[j * n + k];
            for (u32 k = 0; k < n; k++) c[j * n + k] /= sum + eps;
        }
        for (u32 k = 0; k < n; k++) {
            float sum = 0;
            for (u32 j = 0; j < n; j++) sum += c[j * n + k];
            for (u32 j = 0; j < n; j++) c[j * n + k] /= sum + eps;
        }
    }
}

// x = sum of weights[i] * h[i], four channels per thread at a time; the sum of its squares, of this
// thread's channels.
DEVICE double read_streams(const float *weights, const float4 *h, float4 *x, u32 n, u32 fours) {
    double squares = 0;
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 sum = {};
        for (u32 k = 0; k < n; k++) {
            float4 v = h[(u64)k * fours + i];
            float w = weights[k];
            sum = make_float4(sum.x + w * v.x, sum.y + w * v.y, sum.z + w * v.z, sum.w + w * v.w);
        }
        x[i] = sum;
        squares += (double)sum.x * sum.x + (double)sum.y * sum.y + (double)sum.z * sum.z
                 + (double)sum.w * sum.w;
    }
    return squares;
}

// One block per token, or two: the last makes the gates, the first all else. m [rows, (2 + n) n],
// h [rows, n d] -> gates [rows, n + n n], x [rows, d]; and if there is a `norm` [d], normed [rows, d],
// with its rounded copy, if it has one, at `codes` and so on.
extern "C" __global__ void __launch_bounds__(1024)
    hyper_mix(const float *m, const float *base, const float *scale, const float *h, float *gates,
              float *x, u32 n, u32 d, u32 iterations, float eps, float rms_eps, const float *norm,
              float norm_eps, float *normed, i8 *codes, float *steps, float2 *halves) {
    __shared__ float pre[STREAMS_MAX], c[STREAMS_MAX * STREAMS_MAX];
    begin();
    u32 t = blockIdx.x, i = threadIdx.x, fours = d / 4;
    m += (u64)t * (2 + n) * n;
    h += (u64)t * n * d;
    gates += (u64)t * (n + n * n);
    float rms = streams_scale(h, n * d, rms_eps);
    if (blockIdx.y == gridDim.y - 1) {
        if (i < n) gates[i] = 2.0f * sigmoid(m[n + i] * rms * scale[1] + base[n + i]);
        if (i < n * n) c[i] = m[2 * n + i] * rms * scale[2] + base[2 * n + i];
        __syncthreads();
        if (n == 4 && i < WARP) {
            float value = sinkhorn_of_four(c[i % 16], iterations, eps);
            if (i < 16) gates[n + i] = value;
        } else if (n != 4 && i == 0) {
            sinkhorn(c, n, iterations, eps);
            for (u32 j = 0; j < n * n; j++) gates[n + j] = c[j];
        }
    }
    if (blockIdx.y > 0) return;
    if (i < n) pre[i] = sigmoid(m[i] * rms * scale[0] + base[i]) + eps;
    __syncthreads();
    float4 *to = (float4 *)(x + (u64)t * d);
    double squares = read_streams(pre, (const float4 *)h, to, n, fours);
    if (!norm) return;
    float factor = (float)(1.0 / sqrt(block_sum(squares) / d + (double)norm_eps));
    for (u32 j = i; j < fours; j += blockDim.x) {
        float4 v = scaled(to[j], factor, fixed((const float4 *)norm + j));
        u64 at = (u64)t * fours + j;
        ((float4 *)normed)[at] = v;
        if (codes) round_four(v, at, {codes, steps, halves});
    }
}

// h'[k] = post[k] y + sum over j of C[j][k] h[j], in place. One thread per four channels and token.
extern "C" __global__ void hyper_spread(const float *gates, const float4 *y, float4 *h, u32 n,
                                        u32 fours) {
    begin();
    u32 t = blockIdx.y, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= fours) return;
    gates += (u64)t * (n + n * n);
    h += (u64)t * n * fours + i;
    float4 before[STREAMS_MAX], value = y[(u64)t * fours + i];
#pragma unroll
    for (u32 j = 0; j < STREAMS_MAX; j++)
        if (j < n) before[j] = h[(u64)j * fours];
    for (u32 k = 0; k < n; k++) {
        float post = gates[k];
        float4 sum = make_float4(post * value.x, post * value.y, post * value.z, post * value.w);
#pragma unroll
        for (u32 j = 0; j < STREAMS_MAX; j++) {
            if (j >= n) break;
            float c = gates[n + j * n + k];
            float4 v = before[j];
            sum = make_float4(sum.x + c * v.x, sum.y + c * v.y, sum.z + c * v.z, sum.w + c * v.w);
        }
        h[(u64)k * fours] = sum;
    }
}

// Rows of the streams that want logits, side by side. One block per row.
extern "C" __global__ void hyper_gather(const float *h, const u32 *rows, float *out, u32 width) {
    begin();
    for (u32 i = threadIdx.x; i < width; i += blockDim.x)
        out[(u64)blockIdx.x * width + i] = h[(u64)rows[blockIdx.x] * width + i];
}

// One block per row. m [rows, n], h [rows, n d] -> x [rows, d].
extern "C" __global__ void hyper_head(const float *m, const float *base, const float *scale,
                                      const float *h, float *x, u32 n, u32 d, float eps,
                                      float rms_eps) {
    begin();
    __shared__ float weights[STREAMS_MAX];
    u32 t = blockIdx.x, i = threadIdx.x;
    h += (u64)t * n * d;
    float rms = streams_scale(h, n * d, rms_eps);
    if (i < n) weights[i] = sigmoid(m[(u64)t * n + i] * rms * scale[0] + base[i]) + eps;
    __syncthreads();
    read_streams(weights, (const float4 *)h, (float4 *)(x + (u64)t * d), n, d / 4);
}
