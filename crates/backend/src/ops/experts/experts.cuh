// What several kernels of the experts share.

// silu(min(gate, clamp)) * clamp(up, clamp).
DEVICE float activate(float gate, float up, float clamp) {
    gate = gate > clamp ? clamp : gate;
    up = up > clamp ? clamp : up < -clamp ? -clamp : up;
    return gate / (1.0f + expf(-gate)) * up;
}

// A stretch of ordered pairs with one expert: what a block of a product takes.
struct Tile {
    u32 expert, first, count, unused;
};
