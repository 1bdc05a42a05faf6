// Scores as whole numbers in the same order: what selections compare.
//
// Keys are from 1 on; the two zeros have the same. Whatever is not a number has the largest of all,
// so that a selection that meets it knows.

#define NAN_KEY 0xffffffffu

DEVICE u32 key_of(float score) {
    u32 bits = __float_as_uint(score + 0.0f);
    u32 key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return score != score ? NAN_KEY : key;
}

DEVICE float value_of(u32 key) {
    return __uint_as_float(key & 0x80000000u ? key ^ 0x80000000u : ~key);
}

// What is picked where nothing is scored: all `visible` rows. By the threads `thread` of `threads`.
DEVICE void pick_all(u32 *picks, u32 visible, u32 top_k, u32 thread, u32 threads) {
    for (u32 i = thread; i < top_k; i += threads) picks[i] = i < visible ? i : NO_PICK;
}

// What is picked where some score is not a number.
DEVICE void pick_damaged(u32 *picks, u32 top_k, u32 thread, u32 threads) {
    for (u32 i = thread; i < top_k; i += threads) picks[i] = i == 0 ? DAMAGED : NO_PICK;
}
