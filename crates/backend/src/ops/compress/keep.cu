// What a few tokens leave once the products of a layer's input are there: their key-value rows, the
// latents of their queries, and what one or two compressors make of their values and gates. All of it
// waits for the same launch, and takes about as long; so it is one launch, whose blocks differ.
//
// PACKED and ROUNDED are those of all rows. Namespace `own` has those of attention, PLAIN and ROTARY
// channels wide, `index` those of the indexer, DIM wide; see cuda.rs.

// The second is all zeros where there is one compressor.
struct Compressors {
    own::Places own;
    index::Places index;
};

// Blocks: segments of the compressor of attention's rows; those of the indexer's, if there are two
// `compressors`; tokens, whose rows are stored; tokens, whose queries are normed. See latents in kv.cu.
extern "C" __global__ void keep(Compressors places, const Segment *segments, u32 segment_count,
                                u32 compressors, u32 tokens, const float *row,
                                const float *row_weight, float *row_out, float row_eps,
                                const float2 *angles, u8 *fresh, u32 capacity, u32 pairs,
                                const float4 *query, const float4 *query_weight, float4 *query_out,
                                float query_eps, i8 *codes, float *steps, float2 *halves, u32 fours) {
    __shared__ __align__(16) float held[WIDEST];
    let_next_begin();
    u32 block = blockIdx.x, of_segments = compressors * segment_count;
    if (block >= of_segments + tokens) bring_near(query_weight, fours * 16);
    else if (block >= of_segments) own::bring_norm_near(row_weight);
    wait_for_inputs();
    if (block < of_segments) {
        u32 owner = block % segment_count;
        Segment s = segments[owner];
        if (block < segment_count)
            own::compress_segment(places.own, s, owner, held);
        else
            index::compress_segment(places.index, s, owner, held);
        return;
    }
    block -= of_segments;
    if (block < tokens)
        own::store_normed({row, row_weight, row_out, row_eps}, angles, fresh, capacity, pairs, block,
                          held);
    else
        norm_row(query, query_weight, query_out, {codes, steps, halves}, fours, block - tokens,
                 query_eps);
}
