// Clusters: blocks that run at the same time and reach each other's shared memory. A unit that includes
// this comes after shared.cuh and defines RANKS, the blocks of a cluster; architectures without clusters
// have none of it but an empty CLUSTER.

#if __CUDA_ARCH__ >= 900
#define CLUSTER __cluster_dims__(RANKS, 1, 1)

// All threads of a cluster meet in two halves. What a thread stored before it arrived is seen by those
// that have waited; not so after `cluster_begin`, which only tells that a block has begun.
DEVICE void cluster_begin() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.aligned;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }

// Where `at` is in the shared memory of another block of the cluster.
DEVICE u32 address_in(const void *at, u32 rank) {
    u32 there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
                 : "=r"(there) : "r"(shared_address(at)), "r"(rank));
    return there;
}

// A count of bytes that are still to come from the blocks of the cluster: it begins, before the cluster
// meets; is told how many there will be; and is waited for. Then it can be told again: of the times
// that it is waited for, every other one has an odd `parity`, 1.
DEVICE void coming_begin(u64 *coming) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n"
                 "fence.mbarrier_init.release.cluster;" :: "r"(shared_address(coming)) : "memory");
}
DEVICE void coming_expect(u64 *coming, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(shared_address(coming)), "r"(bytes) : "memory");
}
DEVICE void coming_wait(u64 *coming, u32 parity) {
    u32 done;
    do
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done) : "r"(shared_address(coming)), "r"(parity) : "memory");
    while (!done);
}

// Sends one value, or two, to where `at` is in the shared memory of a block of the cluster, and counts
// them there.
DEVICE void send_to(const void *at, const u64 *coming, u32 rank, float a) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];"
                 :: "r"(address_in(at, rank)), "f"(a), "r"(address_in(coming, rank)) : "memory");
}
DEVICE void send_to(const void *at, const u64 *coming, u32 rank, float a, float b) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, "
                 "[%3];"
                 :: "r"(address_in(at, rank)), "f"(a), "f"(b), "r"(address_in(coming, rank))
                 : "memory");
}
#else
#define CLUSTER
#endif
