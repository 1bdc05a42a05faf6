// BF16, and the order of columns that products of many tokens take weights and activations in.
//
// A product sums over columns, in any order that both sides agree on. So of every 128 columns of a
// row, the four lanes that share the row in a fragment of a tensor core's operand take 32 each: a
// block of the weight's, with a scale of its own. A fragment is of sixteen columns, four of each
// lane: fragment s has columns 32 q + 4 s.. of lane q, where places 2 q, 2 q + 1, 2 q + 8 and
// 2 q + 9 are.

#define UNIT_COLS 128

// Where column `c` of 128 stands.
DEVICE u32 place_of(u32 c) { return c % 32 / 4 * 16 + c / 32 * 2 + c % 2 + c % 4 / 2 * 8; }

// Two floats as BF16, the first in the low half.
DEVICE u32 bf16_pair(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
