// Attention of many tokens on tensor cores of Hopper, for packed rows; see mod.rs, seen.cuh and
// packed.cuh. A block stays on its processor and takes HEADS heads of one token after the other, 64
// keys at a time. Queries, normed and rotated here, lie in shared memory as two BF16 each, and so do,
// as one, the rows of 64 keys, both in panels of 64 channels. Two groups of four warps multiply:
//
//   scores   a group has all heads and keys, half of the channels; so each has half of every sum
//   weights  a group gets the other half of sums of every other eight heads, and gives it its own
//   sums     a group has all heads, half of the channels, in registers
//
// Two more groups bring rows, for one of the others each. They have those of the next 64 keys in
// registers, and put them where rows have been added, while others are still multiplied.
//
// Comes after bring.cuh.

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// A panel as a factor, from its address on: lines of 128 bytes, swizzled, eight of them together; in
// the direction of lines, the next panel follows.
DEVICE u64 panel_at(u32 address) {
    return (u64)1 << 62 | (u64)(8 * 128 / 16) << 32 | (u64)(PANEL / 16) << 16 | address >> 4;
}

#define FOUR(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define FOURS(i) FOUR(i), FOUR(i + 1), FOUR(i + 2), FOUR(i + 3)
#define NAMES                                                                                      \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"

// Scores of a thread: of every eight keys two, of heads lane / 4, and lane / 4 + 8, of its warp's 16.
typedef float Scores[KEYS / 8][4];
// Sums of a thread: of the same heads, of every eight channels two; and half of a group's channels.
typedef float Sums[2][16][4];

// d (+)= a b, over 16 channels of a panel of queries and one of rows.
DEVICE void multiply(Scores &d, u64 a, u64 b, bool add) {
    asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0;"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES "}, %32, %33, p, 1, "
                 "1, 0, 0; }"
                 : FOURS(0), FOURS(4) : "l"(a), "l"(b), "r"((u32)add));
}
// d += a b, over 16 keys, for the channels of two panels.
DEVICE void multiply(float (&d)[16][4], const u32 (&a)[4], u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES ", %32, %33, %34, "
                 "%35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, "
                 "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, "
                 "%67}, %68, 1, 1, 1, 1;"
                 : FOURS(0), FOURS(4), FOURS(8), FOURS(12)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

DEVICE float power_of_two(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// What is done to queries before, and to heads after: angles [tokens, ROTARY / 2] of (cos, sin), or 0
// if nothing is.
struct Around {
    const float2 *angles;
    float eps;
};

// The same of a head by a warp, squares added in double precision: of very large or small numbers.
DEVICE float exact_scale(const float4 *head, float eps) {
    double sum = 0;
#pragma unroll 1
    for (u32 i = threadIdx.x % WARP; i < WIDTH / 4; i += WARP) {
        float4 v = head[i];
        sum += ((double)v.x * v.x + (double)v.y * v.y) + ((double)v.z * v.z + (double)v.w * v.w);
    }
    return (float)(1.0 / sqrt(warp_sum(sum) / WIDTH + (double)eps));
}

// A warp's eight heads, sixteen values of each in a lane: 128 `j` channels further, the next four.
typedef float4 Queries[8][4];

// 1 / rms of each head, in the lane of its number; `there` of them are no padding.
DEVICE float scales_of(const Queries &v, const float4 *q, u32 there, float eps) {
    u32 lane = threadIdx.x % WARP;
    float squares = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        float sum = 0;
#pragma unroll
        for (u32 j = 0; j < 4; j++)
            sum += (v[i][j].x * v[i][j].x + v[i][j].y * v[i][j].y)
                 + (v[i][j].z * v[i][j].z + v[i][j].w * v[i][j].w);
        sum = warp_sum(sum);
        if (lane == i) squares = sum;
    }
    float scale = 1.0f / sqrtf(squares / WIDTH + eps);
    u32 others = __ballot_sync(0xffffffff, lane < there && !(squares > 1e-25f && squares < 1e35f));
    for (; others; others &= others - 1) {
        u32 i = __ffs(others) - 1;
        float exact = exact_scale(q + i * (WIDTH / 4), eps);
        if (lane == i) scale = exact;
    }
    return scale;
}

// Queries of a token, `count` heads of q, normed and rotated, as two BF16 each; heads beyond are zero.
// A warp asks for all of its heads at once: its registers are free.
DEVICE void place_queries(Pool &pool, const float4 *q, u32 count, const Around &around, u32 t) {
    u32 first = threadIdx.x / WARP * 8, lane = threadIdx.x % WARP;
    u32 there = min(max(count, first) - first, 8);
    Queries v;
    q += first * (WIDTH / 4);
#pragma unroll
    for (u32 i = 0; i < 8; i++)
#pragma unroll
        for (u32 j = 0; j < 4; j++)
            v[i][j] = i < there ? q[i * (WIDTH / 4) + WARP * j + lane] : float4{};
    // Nobody multiplies with the queries in front of these any more.
    multiplying_meet();
    bool turns = around.angles && lane >= 16;
    float4 angles = {};
    if (turns) angles = ((const float4 *)around.angles)[(u64)t * (ROTARY / 4) + lane - 16];
    float scales = around.angles ? scales_of(v, q, there, around.eps) : 1.0f;
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        float scale = __shfl_sync(0xffffffff, scales, i);
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            float4 w = v[i][j];
            w = make_float4(w.x * scale, w.y * scale, w.z * scale, w.w * scale);
            if (j == 3 && turns) w = turned(w, (const float2 *)&angles, 1.0f);
            u32 a = pair_of(w.x, w.y), b = pair_of(w.z, w.w);
            // Lines of eight heads are swizzled one by one.
            u32 at = (first + i) * 128 + (lane % 16 / 2 ^ i) * 16 + lane % 2 * 8;
            *(uint2 *)(pool.high[2 * j + lane / 16] + at) = make_uint2(a, b);
            *(uint2 *)(pool.low[2 * j + lane / 16] + at) =
                make_uint2(rest_of(w.x, w.y, a), rest_of(w.z, w.w, b));
        }
    }
}

// Sums over a group's channels.
DEVICE void scores_of(Pool &pool, Scores &scores, u32 group, u32 parity) {
    u64 high = panel_at(shared_address(pool.high[group * HALF]));
    u64 low = panel_at(shared_address(pool.low[group * HALF]));
    u64 rows = panel_at(shared_address(pool.rows[group * HALF]));
#pragma unroll
    for (u32 j = 0; j < HALF; j++) {
        if (j % 2 == 0) wait(pool.full + group * 2 + j / 2, parity);
        products_begin();
        // The small ones first.
#pragma unroll
        for (u32 k = 0; k < 8; k++) {
            u32 at = j * (PANEL / 16) + k % 4 * 2;
            multiply(scores, (k < 4 ? low : high) + at, rows + at, j + k);
        }
        products_end();
    }
    products_but<0>();
}

// A head's maximum so far in each of its four threads, and what each has of the sum.
struct Running {
    float max, sum;
};

// Scores to weights, and by what earlier sums shrink, of the heads of group G: the first or the
// second eight of every sixteen. What the threads with the same place in both groups have of the same
// heads, they give each other.
template <int G>
DEVICE void weights_of(Pool &pool, const Scores &scores, Running &running, const u32 *there) {
    u32 thread = threadIdx.x % GROUP, lane = threadIdx.x % WARP;
    float own[KEYS / 8][2];
    // The other one has taken what it was given before: its own products may have begun later.
    two_meet();
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        const float *a = scores[2 * j] + 2 - 2 * G, *b = scores[2 * j + 1] + 2 - 2 * G;
        ((float4 *)pool.given[1 - G][j])[thread] = make_float4(a[0], a[1], b[0], b[1]);
    }
    two_meet();
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
        float4 other = ((const float4 *)pool.given[G][j])[thread];
        own[2 * j][0] = scores[2 * j][2 * G] + other.x;
        own[2 * j][1] = scores[2 * j][2 * G + 1] + other.y;
        own[2 * j + 1][0] = scores[2 * j + 1][2 * G] + other.z;
        own[2 * j + 1][1] = scores[2 * j + 1][2 * G + 1] + other.w;
    }
    u32 first = there[0], second = there[1];
    if ((first & second) != 0xffffffff)
#pragma unroll
        for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (u32 i = 0; i < 2; i++)
                if (!((n < 4 ? first : second) >> (n % 4 * 8 + lane % 4 * 2 + i) & 1))
                    own[n][i] = -INFINITE;
    const float scale = BITS * rsqrtf((float)WIDTH);
    float higher = -INFINITE, sum = 0;
    // NaN is no maximum, but makes its weight NaN.
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; n++) higher = fmaxf(higher, fmaxf(own[n][0], own[n][1]));
    higher = fmaxf(higher, __shfl_xor_sync(0xffffffff, higher, 1));
    higher = fmaxf(higher, __shfl_xor_sync(0xffffffff, higher, 2));
    higher = fmaxf(running.max, higher * scale);
    u32 high[KEYS / 8], low[KEYS / 8];
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; n++) {
        float a = power_of_two(fmaf(own[n][0], scale, -higher));
        float b = power_of_two(fmaf(own[n][1], scale, -higher));
        sum += a + b;
        high[n] = pair_of(a, b);
        low[n] = rest_of(a, b, high[n]);
    }
    float less = power_of_two(running.max - higher);
    running.max = higher;
    running.sum = running.sum * less + sum;
#pragma unroll
    for (u32 j = 0; j < 2; j++) {
        pool.given[G][j][thread] =
            make_uint4(high[4 * j], high[4 * j + 1], high[4 * j + 2], high[4 * j + 3]);
        pool.given[G][2 + j][thread] =
            make_uint4(low[4 * j], low[4 * j + 1], low[4 * j + 2], low[4 * j + 3]);
    }
    pool.factors[G][thread] = less;
    two_meet();
}

// Weights of 64 keys, as factors of four steps of 16: high parts and low parts.
struct Weights {
    u32 of[2][4][4];
};

DEVICE void take_weights(const Pool &pool, Weights &weights) {
    u32 thread = threadIdx.x % GROUP;
#pragma unroll
    for (u32 g = 0; g < 2; g++)
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            uint4 v = pool.given[g][j][thread];
            u32 (&two)[4][4] = weights.of[j / 2], k = j % 2 * 2;
            two[k][g] = v.x, two[k][g + 2] = v.y, two[k + 1][g] = v.z, two[k + 1][g + 2] = v.w;
        }
}

// sums *= factors of both heads.
DEVICE void shrink(const Pool &pool, Sums &sums) {
    u32 thread = threadIdx.x % GROUP;
    float upper = pool.factors[0][thread], lower = pool.factors[1][thread];
    // Maxima seldom rise after the first tiles.
    if (__all_sync(0xffffffff, upper == 1 && lower == 1)) return;
#pragma unroll
    for (u32 h = 0; h < 2; h++)
#pragma unroll
        for (u32 n = 0; n < 16; n++) {
            sums[h][n][0] *= upper;
            sums[h][n][1] *= upper;
            sums[h][n][2] *= lower;
            sums[h][n][3] *= lower;
        }
}

// sums += weights rows, in a group's channels; rows that were added may be overwritten.
DEVICE void add_rows(Pool &pool, const Weights &weights, Sums &sums, u32 group) {
    u64 rows = panel_at(shared_address(pool.rows[group * HALF]));
    products_begin();
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
#pragma unroll
        for (u32 k = 0; k < 4; k++) {
            // Sixteen lines further.
            u64 at = rows + h * (2 * PANEL / 16) + k * 128;
            multiply(sums[h], weights.of[1][k], at);
            multiply(sums[h], weights.of[0][k], at);
        }
        products_end();
    }
    products_but<1>();
    arrive(pool.empty + group * 2);
    products_but<0>();
    arrive(pool.empty + group * 2 + 1);
}

// The sink of the head of which a thread has the weights.
DEVICE float sink_of(const float *sinks, u32 group, u32 count) {
    u32 head = threadIdx.x % GROUP / WARP * 16 + 8 * group + threadIdx.x % WARP / 4;
    return head < count ? fixed(sinks + head) * BITS : 0.0f;
}

// By what sums of a group's heads become results.
DEVICE void finish_factors(Pool &pool, const Running &running, float sink, u32 group) {
    float max = fmaxf(running.max, sink);
    float sum = running.sum, weight = power_of_two(running.max - max);
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    // The other one has taken the factors before.
    two_meet();
    pool.factors[group][threadIdx.x % GROUP] = weight / (sum * weight + power_of_two(sink - max));
    two_meet();
}

// Where results go, or 0: rows of WIDTH floats, and of as many BF16 in the order of columns that
// bf16.cuh says.
struct Results {
    float *floats;
    u16 *bf16;
};

// A thread's results of one head: two of every eight channels from 128 `h` of a group's on.
DEVICE void write_head(const Results &to, u64 head, u32 first, const float2 (&v)[16]) {
    u32 two = threadIdx.x % 4;
    if (to.floats) {
        float *floats = to.floats + head * WIDTH + first + 2 * two;
#pragma unroll
        for (u32 n = 0; n < 16; n++) *(float2 *)(floats + 8 * n) = v[n];
    }
    if (!to.bf16) return;
    uint4 *bf16 = (uint4 *)(to.bf16 + head * WIDTH + first) + two;
#pragma unroll
    for (u32 n = 0; n < 4; n++)
        bf16[4 * n] = make_uint4(pair_of(v[n].x, v[n].y), pair_of(v[n + 4].x, v[n + 4].y),
                                 pair_of(v[n + 8].x, v[n + 8].y), pair_of(v[n + 12].x, v[n + 12].y));
}

// Writes heads below `count` of a token, from head `row` on, rotated back.
DEVICE void write(const Pool &pool, const Sums &sums, const Results &to, const Around &around, u64 row,
                  u32 t, u32 count, u32 group) {
    u32 thread = threadIdx.x % GROUP, lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        u32 head = thread / WARP * 16 + 8 * i + lane / 4;
        float factor = pool.factors[i][thread];
        if (head >= count) continue;
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            float2 v[16];
#pragma unroll
            for (u32 n = 0; n < 16; n++)
                v[n] = make_float2(sums[h][n][2 * i] * factor, sums[h][n][2 * i + 1] * factor);
            if (h == 1 && group == 1 && around.angles)
#pragma unroll
                for (u32 n = 8; n < 16; n++) {
                    float2 angle = around.angles[(u64)t * (ROTARY / 2) + 4 * (n - 8) + lane % 4];
                    v[n] = turned(v[n], make_float2(angle.x, -angle.y));
                }
            write_head(to, row + head, (2 * group + h) * 128, v);
        }
    }
}

// What the first two groups do.
DEVICE void multiply_all(Pool &pool, const Work &work, const float *sinks, const Around &around,
                         const Results &to) {
    // A shuffle tells the compiler that it is the same in a warp.
    u32 group = __shfl_sync(0xffffffff, threadIdx.x / GROUP, 0), tile = 0;
    for (u32 item = blockIdx.x; item < work.items(); item += gridDim.x) {
        u32 t = item / work.groups, first = item % work.groups * HEADS;
        u32 count = min(HEADS, work.heads - first);
        u64 row = (u64)t * work.heads + first;
        place_queries(pool, (const float4 *)(work.q + row * WIDTH), count, around, t);
        float sink = sink_of(sinks + first, group, count);
        let_products_read();
        multiplying_meet();
        Running running = {LOWEST, 0};
        Sums sums = {};
        bool last = false;
        for (; !last; tile++) {
            Weights weights;
            {
                Scores scores;
                scores_of(pool, scores, group, tile & 1);
                const u32 *there = pool.there[tile % 4];
                if (group == 0) weights_of<0>(pool, scores, running, there);
                else weights_of<1>(pool, scores, running, there);
            }
            last = pool.last[tile % 4];
            take_weights(pool, weights);
            shrink(pool, sums);
            add_rows(pool, weights, sums, group);
        }
        finish_factors(pool, running, sink, group);
        write(pool, sums, to, around, row, t, count, group);
    }
}
#endif

// Queries [tokens, heads, WIDTH]: as `angles` are 0, ready to attend; else as their product left them,
// and heads are rotated back. Results [tokens, heads, WIDTH]; see Results.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    attend_many(const float *q, CALL_ARGUMENTS, u32 tokens, u32 heads, const float *sinks, float *out,
                u16 *bf16, const float2 *angles, float eps) {
    begin();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    Pool &pool = pool_of();
    if (threadIdx.x < 8) barrier_begin(pool.full + threadIdx.x, GROUP / WARP);
    __syncthreads();
    Work work = {CALL, q, tokens, heads, (heads + HEADS - 1) / HEADS};
    if (threadIdx.x < MULTIPLYING) {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 192;");
        multiply_all(pool, work, sinks, {angles, eps}, {out, bf16});
    } else {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 64;");
        if (threadIdx.x < MULTIPLYING + GROUP) bring_all<0>(pool, work);
        else bring_all<1>(pool, work);
    }
#endif
}
