// The router; see mod.rs.

#define THREADS 128
// logits [rows, experts] -> picks, shares [rows, used]. `table` [V, used] or null; `bias` [experts].
// And, if there is a gate, the activation of the shared expert, as `swiglu` in elements.cu computes it.
// Blocks: tokens (x); one that chooses, and then those of the activation (y).
extern "C" __global__ void __launch_bounds__(THREADS)
    route(const float *logits, const u32 *tokens, const u32 *table, const float *bias, u32 *picks,
          float *shares, u32 experts, u32 used, float scale, const float4 *gate, const float4 *up,
          float4 *out, i8 *codes, float *steps, float2 *halves, u32 fours, float clamp) {
    begin();
    u32 t = blockIdx.x;
    if (blockIdx.y == 0) {
        const u32 *chosen = table ? table + (u64)tokens[t] * used : 0;
        return choose(logits + (u64)t * experts, chosen, bias, picks + (u64)t * used,
                      shares + (u64)t * used, experts, used, scale);
    }
    u32 i = (blockIdx.y - 1) * THREADS + threadIdx.x;
    if (i < fours)
        activate_four(gate, up, out, {codes, steps, halves}, (u64)t * fours + i, clamp);
}
