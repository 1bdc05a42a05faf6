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
#else
#define CLUSTER
#endif
