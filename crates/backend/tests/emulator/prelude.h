// What every translated kernel begins with: CUDA's types and built-in functions on the host, and
// the instructions that kernels write in assembly, as far as they touch registers only. What
// touches other threads or shared memory is declared in machine.h.
#pragma once
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "machine.h"

// --- words of the language; translate.py looks for those that remain

#define __align__(bytes)
#define __launch_bounds__(...)
#define __cluster_dims__(x, y, z) EMULATED_CLUSTER(x)
#define __device__
#define __forceinline__ inline
#define __global__ EMULATED_KERNEL
#define __shared__ EMULATED_SHARED
// The C library has a function of this name, the kernels a namespace.
#define index emulated_index

// --- vectors

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

// --- warps and blocks

namespace emulated {

inline unsigned lane() { return threadIdx.x % LANES; }

template <class T>
struct Values {
    T of[LANES];
};
template <class T>
Values<T> values(unsigned mask, T own) {
    static_assert(sizeof(T) <= BROUGHT_BYTES_MAX);
    Values<T> all;
    meet(mask, &own, sizeof own, all.of);
    return all;
}

// Joins the values of the lanes in `mask`, the lowest lane first.
template <class T, class F>
T reduced(unsigned mask, T own, F join) {
    Values<T> all = values(mask, own);
    unsigned lowest = __builtin_ctz(mask);
    T result = all.of[lowest];
    for (unsigned i = lowest + 1; i < LANES; i++)
        if (mask >> i & 1) result = join(result, all.of[i]);
    return result;
}

}  // namespace emulated

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
    return emulated::values(mask, value).of[from & 31];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    return __shfl_sync(mask, value, emulated::lane() ^ distance);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance) {
    unsigned own = emulated::lane();
    return __shfl_sync(mask, value, own >= distance ? own - distance : own);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
    unsigned own = emulated::lane(), from = own + distance;
    return __shfl_sync(mask, value, from < emulated::LANES ? from : own);
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
    unsigned own = vote ? 1u << emulated::lane() : 0;
    return emulated::reduced(mask, own, [](unsigned a, unsigned b) { return a | b; });
}
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
template <class T>
T __reduce_add_sync(unsigned mask, T value) {
    return emulated::reduced(mask, value, [](T a, T b) { return a + b; });
}
template <class T>
T __reduce_max_sync(unsigned mask, T value) {
    return emulated::reduced(mask, value, [](T a, T b) { return a > b ? a : b; });
}
template <class T>
T __reduce_min_sync(unsigned mask, T value) {
    return emulated::reduced(mask, value, [](T a, T b) { return a < b ? a : b; });
}
inline void __syncwarp(unsigned mask = emulated::EVERY_LANE) { emulated::values(mask, 0); }
inline void __syncthreads() { emulated::meet_at_barrier(0, 0, false); }
inline int __syncthreads_or(int vote) { return emulated::meet_at_barrier(0, 0, vote != 0); }

// --- memory

inline void __threadfence() {}
template <class T>
T __ldg(const T *at) {
    return *at;
}
template <class T>
T __ldcg(const T *at) {
    return *at;
}
inline unsigned __cvta_generic_to_shared(const void *at) { return emulated::address_of(at); }

template <class T, class U>
T atomicAdd(T *at, U value) {
    T old = *at;
    *at = old + (T)value;
    return old;
}
template <class T, class U>
T atomicMax(T *at, U value) {
    T old = *at;
    if ((T)value > old) *at = (T)value;
    return old;
}
template <class T, class U>
T atomicMin(T *at, U value) {
    T old = *at;
    if ((T)value < old) *at = (T)value;
    return old;
}

// --- numbers

template <class A, class B>
std::common_type_t<A, B> min(A a, B b) {
    std::common_type_t<A, B> x = a, y = b;
    return x < y ? x : y;
}
template <class A, class B>
std::common_type_t<A, B> max(A a, B b) {
    std::common_type_t<A, B> x = a, y = b;
    return x > y ? x : y;
}

namespace emulated {

template <class To, class From>
To as_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// The bytes of a word, one after another.
inline uint8_t byte(unsigned word, int i) { return word >> 8 * i; }

// Selectors of four bits; with the upper one set, the sign of the byte eight times.
inline unsigned pick_bytes(unsigned a, unsigned b, unsigned selectors) {
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned selector = selectors >> 4 * i & 15;
        uint8_t picked = byte(selector & 4 ? b : a, selector & 3);
        if (selector & 8) picked = picked & 0x80 ? 0xff : 0;
        result |= (unsigned)picked << 8 * i;
    }
    return result;
}

}  // namespace emulated

inline unsigned __float_as_uint(float value) { return emulated::as_bits<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return emulated::as_bits<float>(bits); }
inline float __int_as_float(int bits) { return emulated::as_bits<float>(bits); }
inline int __float2int_rn(float value) { return (int)lrintf(value); }
inline unsigned __float2uint_rz(float value) {
    if (!(value > 0)) return 0;
    return value >= 4294967296.0f ? 0xffffffff : (unsigned)value;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdividef(float a, float b) { return a / b; }
inline int __clz(int value) { return value ? __builtin_clz((unsigned)value) : 32; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline double rsqrt(double value) { return 1.0 / sqrt(value); }
inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += (int8_t)emulated::byte(a, i) * (int8_t)emulated::byte(b, i);
    return sum;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selectors) {
    return emulated::pick_bytes(a, b, selectors & 0x7777);
}
inline unsigned __vsub4(unsigned a, unsigned b) {
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= (unsigned)(uint8_t)(emulated::byte(a, i) - emulated::byte(b, i)) << 8 * i;
    return result;
}

// --- instructions

namespace emulated {

inline int dot_unsigned(unsigned a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += byte(a, i) * (int8_t)byte(b, i);
    return sum;
}

inline float half_to_float(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float subnormal = (float)mantissa * 0x1p-24f;
    if (exponent == 0) return sign ? -subnormal : subnormal;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | mantissa << 13);
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

inline float bf16_to_float(unsigned bits) { return __uint_as_float(bits << 16); }

// Nearest, ties to even. The float between is rounded to odd, so that rounding twice does no harm.
inline unsigned to_bf16(double value) {
    float between = (float)value;
    if (between != between) return 0x7fff;
    unsigned bits = __float_as_uint(between);
    if (std::isinf(between)) return bits >> 16;
    if (between != value) {
        if (std::fabs((double)between) > std::fabs(value)) bits -= 1;
        bits |= 1;
    }
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline unsigned bf16_pair(double high, double low) { return to_bf16(high) << 16 | to_bf16(low); }

// Nearest, ties to even.
inline unsigned half_pair(float high, float low) {
    _Float16 both[2] = {(_Float16)low, (_Float16)high};
    unsigned pair;
    __builtin_memcpy(&pair, both, sizeof pair);
    return pair;
}

inline unsigned multiply_add_pairs(unsigned a, unsigned b, unsigned c) {
    auto half = [](unsigned pair, int shift) {
        return (double)bf16_to_float(pair >> shift & 0xffff);
    };
    return bf16_pair(half(a, 16) * half(b, 16) + half(c, 16), half(a, 0) * half(b, 0) + half(c, 0));
}

// NaN stays NaN.
inline float positive_part(float value) { return value <= 0 ? 0.0f : value; }

// --- kernels, and shared variables outside of functions

template <auto KERNEL>
struct Called;
template <class... A, void (*KERNEL)(A...)>
struct Called<KERNEL> {
    static constexpr unsigned count = sizeof...(A);
    static constexpr size_t bytes[] = {sizeof(A)..., 0};
    static void call(void **arguments) { call(arguments, std::index_sequence_for<A...>()); }
    template <size_t... I>
    static void call(void **arguments, std::index_sequence<I...>) {
        KERNEL(*(std::remove_const_t<A> *)arguments[I]...);
    }
};

template <class T>
struct SharedArray;
template <class T, size_t COUNT>
struct SharedArray<T[COUNT]> {
    char key;
    operator T *() const { return (T *)static_memory(&key, sizeof(T[COUNT])); }
};

}  // namespace emulated
