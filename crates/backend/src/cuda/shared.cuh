// Shared memory: addresses in it, copies to it, and loads of matrices from it.

DEVICE u32 shared_address(const void *at) { return (u32)__cvta_generic_to_shared(at); }

// Where chunk `c` (16 bytes) of row `r` of a tile of `chunks` chunks per row lies, in chunks: where chunk
// c ^ (r mod 8) would, so that eight rows' chunks `c` are in different banks.
DEVICE u32 swizzled(u32 r, u32 c, u32 chunks) { return r * chunks + (c ^ (r & 7)); }

// Four matrices of eight rows of 16 bytes; lane i names a row of matrix i / 8.
DEVICE void load4(u32 (&to)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(address) : "memory");
}

// Asynchronous copies; zeros if the source is not `there`.
DEVICE void copy16_to(u32 address, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(address), "l"(from), "r"(there ? 16 : 0) : "memory");
}
DEVICE void copy16(void *to, const void *from, bool there) {
    copy16_to(shared_address(to), from, there);
}
DEVICE void copy8(void *to, const void *from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(there ? 8 : 0) : "memory");
}
DEVICE void copy4(void *to, const void *from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(there ? 4 : 0) : "memory");
}
// Copies since the last end belong together; waits until only the last COUNT of such are under way.
DEVICE void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int COUNT>
DEVICE void copies_but() {
    asm volatile("cp.async.wait_group %0;" :: "n"(COUNT) : "memory");
}
DEVICE void copies_done() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}
