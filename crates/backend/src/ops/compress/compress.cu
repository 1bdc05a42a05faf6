// The compressors; see mod.rs and compress.cuh.

// One block per window that closes: blockIdx.x counts them within segment blockIdx.y.
extern "C" __global__ void compress(Places p, const Segment *segments) {
    __shared__ __align__(8) float row[WIDTH];
    begin();
    Segment s = segments[blockIdx.y];
    u32 window = s.start / p.ratio + blockIdx.x;
    if (window < (s.start + s.len) / p.ratio) compress_window(p, s, blockIdx.y, window, row);
}

// One block per token that is kept, of segment blockIdx.y.
extern "C" __global__ void keep_frontier(Places p, const Segment *segments) {
    begin();
    Segment s = segments[blockIdx.y];
    u32 i = first_kept(p, s) + blockIdx.x;
    if (i < s.len) keep_token(p, s, i);
}

// Both, for segments of a few tokens: one block each.
extern "C" __global__ void compress_few(Places p, const Segment *segments) {
    __shared__ __align__(8) float row[WIDTH];
    begin();
    compress_segment(p, segments[blockIdx.y], blockIdx.y, row);
}
