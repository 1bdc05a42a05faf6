// What several kernels of the experts share.

// silu(min(gate, clamp)) * clamp(up, clamp).
DEVICE float activate(float gate, float up, float clamp) {
    gate = gate > clamp ? clamp : gate;
    up = up > clamp ? clamp : up < -clamp ? -clamp : up;
    return gate / (1.0f + expf(-gate)) * up;
}

// Four channels at `i` of an activation, and of its rounded copy, if it has one.
DEVICE void activate_four(const float4 *gate, const float4 *up, float4 *out, const Rounded &to, u64 i,
                          float clamp) {
    float4 g = gate[i], u = up[i];
    float4 v = make_float4(activate(g.x, u.x, clamp), activate(g.y, u.y, clamp),
                           activate(g.z, u.z, clamp), activate(g.w, u.w, clamp));
    out[i] = v;
    if (to.codes) round_four(v, i, to);
}

// A stretch of ordered pairs with one expert: what a block of a product takes.
struct Tile {
    u32 expert, first, count, unused;
};
