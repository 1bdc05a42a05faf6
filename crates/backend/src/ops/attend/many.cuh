// What a block of many.cu has in shared memory, and how its warps meet; see there. Of architectures
// other than Hopper it has nothing. Comes after packed.cuh.

#define KEYS 64
#define GROUP (4 * WARP)
#define MULTIPLYING (2 * GROUP)
#define BRINGING (2 * GROUP)
#define THREADS (MULTIPLYING + BRINGING)
// Panels of all channels, those of a group, and bytes of one.
#define PANELS (WIDTH / 64)
#define HALF (PANELS / 2)
#define PANEL (64 * 128)
// Rows that a thread which brings them has a part of, and rows between two of them.
#define OWN (KEYS * FETCHERS / GROUP)
#define APART (GROUP / FETCHERS)
// Scores are taken to be powers of two.
#define BITS (1.44269504f)

#if HEADS != 64 || WIDTH != 512 || ROTARY != 64
#error "queries, rows and sums have their places for these"
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Where the parts of a row are, or, of all of them, that there is none, or that it is damaged.
struct Where {
    const u8 *codes, *rotary, *scales;
};
#define NOWHERE ((const u8 *)0)
#define WRONG ((const u8 *)1)

// Dynamic shared memory, the size of which many.rs knows as well.
struct Pool {
    u8 high[PANELS][PANEL], low[PANELS][PANEL];  // [64 heads][64 channels] BF16, swizzled
    u8 rows[PANELS][PANEL];                      // [64 keys][64 channels] BF16, swizzled
    uint4 given[2][4][GROUP];                    // what threads of the two groups give each other
    float factors[2][GROUP];                     // the same: what earlier sums are multiplied with
    Where where[2][KEYS];                        // rows of every other tile
    u32 there[4][KEYS / WARP];                   // which keys of a tile are there, of four tiles
    u32 more[4], last[4];                        // whether there is a tile, of four, and no other of
                                                 // its item after it
    u64 full[4], empty[4];                       // of two panels each
};

// Memory of a block is aligned to 1,024 bytes, which swizzles begin at.
DEVICE Pool &pool_of() {
    extern __shared__ __align__(1024) u8 bytes[];
    return *(Pool *)bytes;
}

// Barriers of warps: those that multiply, those that bring, and the two that have the same heads.
DEVICE void multiplying_meet() {
    asm volatile("bar.sync %0, %1;" :: "n"(1), "n"(MULTIPLYING) : "memory");
}
DEVICE void bringing_meet() {
    asm volatile("bar.sync %0, %1;" :: "n"(2), "n"(BRINGING) : "memory");
}
DEVICE void two_meet() {
    asm volatile("bar.sync %0, %1;" :: "r"(3 + threadIdx.x / WARP % 4), "n"(2 * WARP) : "memory");
}

// Tokens and groups of heads, one after the other, of a block.
struct Work {
    Call call;
    const float *q;
    u32 tokens, heads, groups;

    __device__ __forceinline__ u32 items() const { return tokens * groups; }
};
#endif
