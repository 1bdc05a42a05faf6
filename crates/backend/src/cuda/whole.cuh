// Products of whole numbers of 8 bits on tensor cores: sums over 32 columns, exact, and turned into
// floats by how they are started. It does not matter in which order the columns come, if it is the same
// for both sides.

// 1.5 * 2^23 as float bits: a whole number below 2^22 added to them is added to the float.
#define SHIFTED 0x4b400000

// Sixteen rows times eight tokens over 32 columns, as floats that are larger by SHIFTED's.
DEVICE void multiply(u32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%10, %10, %10, %10};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(SHIFTED));
}
DEVICE float unshifted(u32 bits) { return __uint_as_float(bits) - __uint_as_float(SHIFTED); }
