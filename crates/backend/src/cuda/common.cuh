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

// Kernels overlap where the architecture can: one is started as soon as all blocks of the one in front
// of it have begun. So every kernel begins with `begin`; or, if there are weights to load first, which
// depend on nothing, with `let_next_begin`, and `wait_for_inputs` before anything else is read or
// written. The wait is over when all kernels in front have ended and what they wrote can be seen.
#if STAMPS
// A count, and then the times in nanoseconds at which kernels had what they read; see trace.rs.
__device__ u64 *stamps;
DEVICE void stamp_time() {
    if (blockIdx.x | blockIdx.y | blockIdx.z | threadIdx.x) return;
    u64 now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    u64 at = atomicAdd(stamps, 1ull);
    if (at < STAMPS) stamps[1 + at] = now;
}
#else
DEVICE void stamp_time() {}
#endif

#if __CUDA_ARCH__ >= 900
DEVICE void let_next_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
DEVICE void wait_for_inputs() {
    asm volatile("griddepcontrol.wait;" ::: "memory");
    stamp_time();
}
#else
DEVICE void let_next_begin() {}
DEVICE void wait_for_inputs() { stamp_time(); }
#endif
// The same by a kernel that has waited: so whoever begins behind it may read, even before its own wait,
// what kernels in front of this one wrote, as `inherited`. What this one writes is read after the wait alone.
DEVICE void let_next_inherit() { let_next_begin(); }

DEVICE void begin() {
    let_next_begin();
    wait_for_inputs();
}

// What the next kernel loads before it waits may be more than a memory's queue empties in microseconds,
// and whoever loads behind it waits for all of that. So a kernel that has little to load lets the next
// begin only when it has it.

// A value that no kernel changes, which alone may be read like this: at any time, early, and through
// caches that do not see what kernels in front write.
template <typename T>
DEVICE T fixed(const T *at) { return __ldg(at); }

// A value that kernels in front of the one in front wrote, if that lets this one inherit it. It is not
// asked of caches that may hold what was there before.
template <typename T>
DEVICE T inherited(const T *at) { return __ldcg(at); }

// Asks for bytes that no kernel changes and that are needed soon after inputs are there: since the last
// token they have left the caches, and memory takes its time. By all threads of a block.
DEVICE void bring_near(const void *first, u32 bytes) {
    for (u32 at = threadIdx.x * 128; at < bytes; at += blockDim.x * 128)
        asm volatile("prefetch.global.L2 [%0];" :: "l"((const u8 *)first + at));
}

// Bytes of `a` (0 to 3) and `b` (4 to 7), as four selectors of four bits say, the lowest first. Unlike
// `__byte_perm`, it does not clear the fourth bit of a selector, which must be 0.
DEVICE u32 picked_bytes(u32 a, u32 b, u32 selectors) {
    u32 picked;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(picked) : "r"(a), "r"(b), "r"(selectors));
    return picked;
}

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

// 1 / rms of a row of `fours` groups of four values, in every thread of the block. Squares are added in
// double precision: numbers may be very large or small.
DEVICE float rms_scale(const float4 *x, u32 fours, float eps) {
    double sum = 0;
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 v = x[i];
        sum += (double)v.x * v.x + (double)v.y * v.y + (double)v.z * v.z + (double)v.w * v.w;
    }
    return (float)(1.0 / sqrt(block_sum(sum) / (4 * fours) + (double)eps));
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

// Two pairs, by the two angles at `angles`, or against them for a direction of -1.
DEVICE float4 turned(float4 v, const float2 *angles, float direction) {
    float2 a = turned(make_float2(v.x, v.y), make_float2(angles[0].x, direction * angles[0].y));
    float2 b = turned(make_float2(v.z, v.w), make_float2(angles[1].x, direction * angles[1].y));
    return make_float4(a.x, a.y, b.x, b.y);
}

// Four channels times a scale and their weights.
DEVICE float4 scaled(float4 v, float scale, float4 w) {
    return make_float4(v.x * scale * w.x, v.y * scale * w.y, v.z * scale * w.z, v.w * scale * w.w);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Activations rounded to 8 bits in blocks of 32, see panel.rs: codes, and for each block its step, and
// the step times the sum of codes of each half.
struct Rounded {
    i8 *codes;
    float *steps;
    float2 *halves;
};

// Four rounded values: their codes, and what is one number for their block: the step, and the step times
// the sum of codes of each half, the first of which lanes 0 to 3 of the block's eight have.
struct RoundedFour {
    u32 codes;
    float step;
    float2 halves;
};

// Rounds four values, and those of the seven lanes beside: all eight lanes of a block call this together.
DEVICE RoundedFour rounded(float4 v) {
    u32 lane = threadIdx.x % WARP, lanes = 0xffu << (lane & ~7u);
    float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    bool finite = fabsf(v.x) < INFINITE && fabsf(v.y) < INFINITE && fabsf(v.z) < INFINITE
               && fabsf(v.w) < INFINITE;
    finite = __all_sync(lanes, finite);
    for (int distance = 4; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(lanes, largest, distance));
    // So small that its inverse could overflow.
    bool tiny = largest < __uint_as_float(1u << 23) * 256.0f, none = !finite || tiny;
    float step = !finite ? NOT_A_NUMBER : tiny ? 0.0f : largest / 127.0f;
    float inverse = none ? 0.0f : 127.0f / largest;
    int x = none ? 0 : __float2int_rn(v.x * inverse), y = none ? 0 : __float2int_rn(v.y * inverse);
    int z = none ? 0 : __float2int_rn(v.z * inverse), w = none ? 0 : __float2int_rn(v.w * inverse);
    int sum = x + y + z + w;
    sum += __shfl_xor_sync(lanes, sum, 1);
    sum += __shfl_xor_sync(lanes, sum, 2);
    int other = __shfl_xor_sync(lanes, sum, 4);
    u32 codes = (x & 0xff) | (y & 0xff) << 8 | (z & 0xff) << 16 | (u32)w << 24;
    return {codes, step, make_float2(step * sum, step * other)};
}

// Rounds the four values that stand at 4 `at`, and stores them.
DEVICE void round_four(float4 v, u64 at, const Rounded &to) {
    RoundedFour four = rounded(v);
    ((u32 *)to.codes)[at] = four.codes;
    if (at % 8 == 0) {
        to.steps[at / 8] = four.step;
        to.halves[at / 8] = four.halves;
    }
}

// A row of `fours` groups of four values, normed and weighed, to row `row` of `out` and of its rounded
// copy, if it has one. By one block of threads.
DEVICE void norm_row(const float4 *x, const float4 *weight, float4 *out, const Rounded &to, u32 fours,
                     u64 row, float eps) {
    u64 first = row * fours;
    float scale = rms_scale(x + first, fours, eps);
    for (u32 i = threadIdx.x; i < fours; i += blockDim.x) {
        float4 v = scaled(x[first + i], scale, fixed(weight + i));
        out[first + i] = v;
        if (to.codes) round_four(v, first + i, to);
    }
}
