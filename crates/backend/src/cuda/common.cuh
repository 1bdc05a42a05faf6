// What every kernel file begins with: number types, sums over threads, the step tables.
//
// Compiled at run time by NVRTC, without headers of its own: what is needed is written here.

typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEVICE static __device__ __forceinline__
#define WARP 32
#define NO_PICK 0xffffffffu
#define DAMAGED 0xfffffffeu

#define INFINITE __int_as_float(0x7f800000)
#define NOT_A_NUMBER __int_as_float(0x7fc00000)

// One segment of the step; see step.rs.
struct Segment {
    u32 slot, start, first_row, len;
};

DEVICE float half_to_float(u16 bits) {
    float value;
    asm("{ .reg .b16 h; mov.b16 h, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "h"(bits));
    return value;
}

DEVICE float bf16_to_float(u16 bits) { return __uint_as_float((u32)bits << 16); }

// Nearest BF16, ties to even; NaN stays NaN.
DEVICE u16 float_to_bf16(float value) {
    u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (u16)(bits >> 16 | 0x40);
    return (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <typename T>
DEVICE T warp_sum(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(0xffffffff, value, distance);
    return value;
}

DEVICE float warp_max(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, distance));
    return value;
}

// The sum over a block of at most 1024 threads, in every thread.
template <typename T>
DEVICE T block_sum(T value) {
    __shared__ T parts[WARP];
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = value;
    __syncthreads();
    T sum = 0;
    for (u32 warp = 0; warp < (blockDim.x + WARP - 1) / WARP; warp++) sum += parts[warp];
    return sum;
}

// 2^(exponent - 127), and NaN for 255: the scale of an exponent byte.
DEVICE float exponent_scale(u32 exponent) {
    if (exponent == 255) return NOT_A_NUMBER;
    return exponent == 0 ? __uint_as_float(1u << 22) : __uint_as_float(exponent << 23);
}

// (cos, sin) of position times frequency. The product is rounded to a float; its sine and cosine are
// taken in double precision.
DEVICE float2 angle_of(u32 position, float frequency) {
    double sine, cosine;
    sincos((double)__fmul_rn((float)position, frequency), &sine, &cosine);
    return make_float2((float)cosine, (float)sine);
}

// A pair of channels, turned.
DEVICE float2 turned(float2 v, float2 angle) {
    return make_float2(v.x * angle.x - v.y * angle.y, v.x * angle.y + v.y * angle.x);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
