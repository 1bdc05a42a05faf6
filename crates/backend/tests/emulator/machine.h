// What kernels ask of the machine that emulates them. Their prelude includes it, and so do the
// files of the library that answer: fibers.cpp, meetings.cpp, copies.cpp, products.cpp.
//
// Shared memory has addresses of 32 bits, as in CUDA: the offset in a block's memory, and in the
// upper byte one more than the rank of the block in its cluster, or 0 for that of the thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>

struct uint3 {
    unsigned x, y, z;
};
extern uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

constexpr unsigned LANES = 32, EVERY_LANE = 0xffffffff;
// Most bytes that a lane brings to a meeting of its warp.
constexpr size_t BROUGHT_BYTES_MAX = 64;

// A kernel as its shared object exports it. Arguments are pointers to values.
struct Kernel {
    const char *name;
    unsigned cluster_blocks;
    unsigned argument_count;
    const size_t *argument_bytes;
    void (*call)(void **arguments);
};

// The dynamic shared memory of the block whose thread is running.
extern unsigned char *dynamic_memory;
// Static shared memory: one place per block and key.
void *static_memory(const void *key, size_t bytes);

unsigned char *at(unsigned address);
unsigned address_of(const void *place);
unsigned address_in(unsigned address, unsigned rank);

// Lanes of a mask meet: each brings a value, each gets those of all.
void meet(unsigned mask, const void *brought, size_t bytes, void *all);
// Threads of the block meet at a numbered barrier: `threads` of them, or all with 0. True if one
// of them has voted.
bool meet_at_barrier(unsigned number, unsigned threads, bool vote);
void meet_cluster();

// A copy takes place no sooner than somebody waits for it. Of its bytes `present` are read, the
// others become zero.
void copy(unsigned to, const void *from, unsigned bytes, unsigned present);
void commit_copies();
void wait_for_copies(unsigned groups_left);
void wait_for_all_copies();

// Barriers in shared memory that count arrivals and bytes.
void begin_barrier(unsigned barrier, unsigned arrivals);
void arrive(unsigned barrier);
void arrive_expecting(unsigned barrier, unsigned bytes);
// Whether the phase of this parity is over; if not, others have had a turn.
bool phase_is_over(unsigned barrier, unsigned parity);
void store_and_count(unsigned to, std::initializer_list<float> values, unsigned barrier);

// Matrix fragments and products on tensor cores, by all lanes of a warp.
void load_matrices(unsigned *const *to, unsigned count, unsigned row, bool transposed);
void multiply_bf16(float *const *sums, const unsigned *a, const unsigned *b);
void multiply_f16(float *const *sums, const unsigned *a, const unsigned *b);
void multiply_tf32(float *const *sums, const unsigned *a, const unsigned *b);
void multiply_bytes(unsigned *const *sums, const unsigned *a, const unsigned *b, unsigned start);
// The second factor lies in shared memory, as the descriptor says.
void multiply_shared(unsigned columns, float *const *sums, const unsigned *a, uint64_t descriptor,
                     bool accumulate, bool transposed = false);
// Both factors do, in BF16 or in F16.
void multiply_both_shared(unsigned columns, float *const *sums, uint64_t left, uint64_t right,
                          bool accumulate, bool halves);

}  // namespace emulated
