// Slots of shared memory that go to and fro between warps that fill them and warps that use them: their
// barriers. And what orders products by four warps together, which end later, and read shared memory
// on a way of their own. Comes after shared.cuh.

// A barrier of so many warps. By one thread, before the block meets.
DEVICE void barrier_begin(u64 *barrier, u32 warps) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;"
                 :: "r"(shared_address(barrier)), "r"(warps) : "memory");
}
// A warp has arrived at a barrier: by one lane, for all that the others did before.
DEVICE void arrive(u64 *barrier) {
    __syncwarp();
    if (threadIdx.x % WARP == 0)
        asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }"
                     :: "r"(shared_address(barrier)) : "memory");
}
#if __CUDA_ARCH__ >= 900
#define WAITING "try_wait"
#else
#define WAITING "test_wait"
#endif
// Waits until all warps have, after `parity`; what was never passed was passed with an odd one.
DEVICE void wait(u64 *barrier, u32 parity) {
    u32 done;
    do {
        asm volatile("{ .reg .pred p; mbarrier." WAITING ".parity.shared.b64 p, [%1], %2;"
                     " selp.u32 %0, 1, 0, p; }"
                     : "=r"(done) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    } while (!done);
}

// One of COUNT slots, and whether its barriers were passed an even or an odd number of times.
template <u32 COUNT>
struct SlotTurn {
    u32 slot, parity;

    __device__ __forceinline__ void next() {
        slot++;
        if (slot == COUNT) slot = 0, parity ^= 1;
    }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
// Registers are as the products that follow find them; those before are one lot; all but so many lots
// are done.
DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_end() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int COUNT>
DEVICE void products_but() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(COUNT) : "memory");
}
// What a thread wrote to shared memory can be read by products after the next barrier.
DEVICE void let_products_read() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#else
DEVICE void products_begin() {}
DEVICE void products_end() {}
template <int COUNT>
DEVICE void products_but() {}
DEVICE void let_products_read() {}
#endif

// Who copies to COUNT slots, asynchronously, so that LAG stages are on their way beside the newest one:
// a slot is waited for, the copies to it begin, and it is shown to be full when they have come.
template <u32 COUNT, u32 LAG>
struct Filler {
    u64 *full, *empty;
    SlotTurn<COUNT> turn = {0, 1}, shown = {0, 0};
    u32 under_way = 0;

    __device__ __forceinline__ Filler(u64 *full, u64 *empty) : full(full), empty(empty) {}
    // The slot that is filled next, once it is empty.
    __device__ __forceinline__ u32 slot() const {
        wait(empty + turn.slot, turn.parity);
        return turn.slot;
    }
    // All copies to it have begun.
    __device__ __forceinline__ void next() {
        copies_end();
        turn.next();
        if (++under_way > LAG) {
            copies_but<LAG>();
            let_products_read();
            show();
            under_way--;
        }
    }
    // Nothing else is copied.
    __device__ __forceinline__ void end() {
        copies_done();
        let_products_read();
        for (; under_way; under_way--) show();
    }

private:
    __device__ __forceinline__ void show() {
        arrive(full + shown.slot);
        shown.next();
    }
};
