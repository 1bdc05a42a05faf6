// What several kernels of the experts share.

// silu(min(gate, clamp)) * clamp(up, clamp).
DEVICE float activate(float gate, float up, float clamp) {
    gate = gate > clamp ? clamp : gate;
    up = up > clamp ? clamp : up < -clamp ? -clamp : up;
    return gate / (1.0f + expf(-gate)) * up;
}

DEVICE float4 activated(float4 gate, float4 up, float clamp) {
    return make_float4(activate(gate.x, up.x, clamp), activate(gate.y, up.y, clamp),
                       activate(gate.z, up.z, clamp), activate(gate.w, up.w, clamp));
}

// Four channels at `i` of an activation, and of its rounded copy, if it has one.
DEVICE void activate_four(const float4 *gate, const float4 *up, float4 *out, const Rounded &to, u64 i,
                          float clamp) {
    float4 v = activated(gate[i], up[i], clamp);
    out[i] = v;
    if (to.codes) round_four(v, i, to);
}

// A stretch of ordered pairs with one expert: what a block of a product takes.
struct Tile {
    u32 expert, first, count, unused;
};
