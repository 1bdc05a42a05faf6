// Rows picked for many tokens, whose scores are never written: a block takes up to TOKENS tokens
// and walks the rows that they see; see tile.cuh.
//
// Each token has a list of candidates in shared memory, ascending by row, and the key that others
// must exceed. When the list is full, it is cut to those that may still be picked and the bar is
// raised: while rows come in no order, some hundred rows of every doubling are taken, so lists are
// cut rarely. Since rows are walked in order, one that equals the bar comes too late.

#define TOKENS 4
#define THREADS 256
#define WARPS (THREADS / WARP)
// Rows between barriers: each group has GROUPS times GROUP_ROWS.
#define GROUPS 2
#define ROWS (THREADS / GROUP * GROUPS * GROUP_ROWS)
// By how many candidates more than are wanted may be left when a list is cut.
#define SLACK 64

#if TOKENS != 4 || WARPS != 8
#error "the first two and the last two warps have a list"
#endif

#define NO_OWNER 0xffffffffu

// A token of the block. `visible` is 0 if it is not scored; `limit` rows may be read for it and for
// the other tokens of its segment.
struct Token {
    u32 owner, visible, limit;
};

// Candidates of a token, kept by one warp: `count` keys above `bar`, and their rows.
struct List {
    u32 *keys, *rows;
    u32 count, bar;
};

// Calls `f` with every key, and with zeros up to a multiple of FOURS.
#define FOURS (4 * WARP)
template <typename F>
DEVICE void each(const List &list, F f) {
#pragma unroll 4
    for (u32 i = threadIdx.x % WARP; i < (list.count + FOURS - 1) / FOURS * WARP; i += WARP) {
        uint4 four = ((const uint4 *)list.keys)[i];
        f(four.x);
        f(four.y);
        f(four.z);
        f(four.w);
    }
}

DEVICE u32 count_above(const List &list, u32 key) {
    u32 count = 0;
    each(list, [&](u32 other) { count += other > key; });
    return __reduce_add_sync(0xffffffff, count);
}

// Leaves the `wanted` largest, or up to `slack` more; of equal ones the first. There are more than
// `wanted`.
DEVICE void cut(List &list, u32 wanted, u32 slack) {
    u32 lane = threadIdx.x % WARP, low = 0xffffffff, high = 0;
    u32 end = (list.count + FOURS - 1) / FOURS * FOURS;
    for (u32 i = list.count + lane; i < end; i += WARP) list.keys[i] = 0;
    __syncwarp();
    // Less than the least: a zero becomes the largest of all.
    each(list, [&](u32 key) {
        low = min(low, key - 1);
        high = max(high, key);
    });
    low = __reduce_min_sync(0xffffffff, low);
    high = __reduce_max_sync(0xffffffff, high);
    // At least `wanted` keys, `above` of them, are above `low`, and fewer above `high`.
    u32 above = list.count;
    while (above > wanted + slack && high - low > 1) {
        u32 middle = low + (high - low) / 2, count = count_above(list, middle);
        if (count >= wanted) low = middle;
        if (count >= wanted) above = count;
        else high = middle;
    }
    // With nothing between, those that equal `high` are too many.
    bool many = above > wanted + slack;
    u32 bar = many ? high : low, equals = many ? wanted - count_above(list, high) : 0;
    u32 before = (1u << lane) - 1, left = 0;
    for (u32 i = lane; i < (list.count + WARP - 1) / WARP * WARP; i += WARP) {
        bool there = i < list.count;
        u32 key = there ? list.keys[i] : 0, row = there ? list.rows[i] : 0;
        u32 same = __ballot_sync(0xffffffff, there && key == bar);
        bool stays = there && (key > bar || (key == bar && __popc(same & before) < equals));
        equals -= min(equals, __popc(same));
        u32 stay = __ballot_sync(0xffffffff, stays), place = left + __popc(stay & before);
        if (stays) list.keys[place] = key;
        if (stays) list.rows[place] = row;
        left += __popc(stay);
    }
    __syncwarp();
    list.count = left;
    list.bar = bar;
}

// Takes the keys of rows `first` and on, up to `end`, that exceed the bar.
DEVICE void take(List &list, const u32 *keys, u32 first, u32 end) {
    u32 lane = threadIdx.x % WARP;
#pragma unroll
    for (u32 i = 0; i < ROWS; i += WARP) {
        u32 row = first + i + lane, key = row < end ? keys[i + lane] : 0;
        u32 taken = __ballot_sync(0xffffffff, key > list.bar);
        u32 place = list.count + __popc(taken & ((1u << lane) - 1));
        if (key > list.bar) list.keys[place] = key;
        if (key > list.bar) list.rows[place] = row;
        list.count += __popc(taken);
    }
    __syncwarp();
}

// What is left in the end, to `picks`: keys that are not numbers are the largest, and so among
// them.
DEVICE void put(List &list, u32 *picks, u32 top_k) {
    u32 lane = threadIdx.x % WARP;
    if (list.count > top_k) cut(list, top_k, 0);
    bool damaged = false;
    for (u32 i = lane; i < top_k; i += WARP) {
        damaged |= list.keys[i] == NAN_KEY;
        picks[i] = list.rows[i];
    }
    if (__any_sync(0xffffffff, damaged)) pick_damaged(picks, top_k, lane, WARP);
}

// The block's tokens, `here` of them from `first` on, and others that see nothing; the largest
// `visible`.
DEVICE u32 find_tokens(Token *tokens, const u32 *positions, const u32 *owners, u32 first, u32 here,
                       u32 ratio, u32 top_k) {
    u32 i = threadIdx.x, most = 0;
    if (i < TOKENS) {
        u32 visible = i < here ? (positions[first + i] + 1) / ratio : 0;
        tokens[i] = {i < here ? owners[first + i] : NO_OWNER, visible > top_k ? visible : 0, 0};
    }
    __syncthreads();
    for (u32 k = 0; k < here; k++) {
        most = max(most, tokens[k].visible);
        if (i < here && tokens[k].owner == tokens[i].owner)
            tokens[i].limit = max(tokens[i].limit, tokens[k].visible);
    }
    return most;
}

// Keys of a warp's rows for COUNT tokens from `i` on, to staged [TOKENS, ROWS]. Queries and weights
// are [TOKENS, HEADS].
template <int COUNT>
DEVICE void score_tokens(const Rows &rows, u32 i, u32 queries, const float *weights, u32 *staged) {
    const u32 lines = TOKENS * HEADS;
    Sums sums[COUNT] = {};
#pragma unroll
    for (u32 head = i * HEADS; head < (i + 1) * HEADS; head += AT_ONCE) {
        Products d[COUNT];
        begin_products(d[0], rows, queries, head, lines);
        if (COUNT == 2) begin_products(d[COUNT - 1], rows, queries, head + HEADS, lines);
        products_but<COUNT - 1>();
        add_weighed(sums[0], d[0], weights + head);
        products_but<0>();
        if (COUNT == 2) add_weighed(sums[COUNT - 1], d[COUNT - 1], weights + head + HEADS);
    }
#pragma unroll
    for (u32 k = 0; k < COUNT; k++)
        put_scores(sums[k], [&](u32 row, u32 key) { staged[(i + k) * ROWS + row] = key; });
}

// A group's rows from `row` on, 16 of each warp, for every token that sees some of them; keys as
// above. Warps of a group stay together.
DEVICE void score_rows(const Pages &pages, const Token *tokens, u32 row, u32 queries,
                       const float *weights, u32 *staged) {
    Rows rows;
    u32 loaded = NO_OWNER, own = threadIdx.x % GROUP / WARP * 16;
    auto load = [&](const Token &token) {
        if (token.owner == loaded) return;
        loaded = token.owner;
        decode_rows(rows, load_rows(pages, loaded, row + own, token.limit));
    };
#pragma unroll
    for (u32 i = 0; i < TOKENS; i += 2) {
        if (row < tokens[i].visible && row < tokens[i + 1].visible
            && tokens[i].owner == tokens[i + 1].owner) {
            load(tokens[i]);
            score_tokens<2>(rows, i, queries, weights, staged + own);
            continue;
        }
#pragma unroll 1
        for (u32 k = i; k < i + 2; k++) {
            if (row >= tokens[k].visible) continue;
            load(tokens[k]);
            score_tokens<1>(rows, k, queries, weights, staged + own);
        }
    }
}

// Blocks: `tokens_each` tokens, the last first, since they see most. q [T, heads * WIDTH], weights
// [T, heads] -> picks [T, top_k], for `count` tokens. Shared memory: queries [TOKENS, HEADS, WIDTH]
// BF16, weights [TOKENS, HEADS], two times keys [TOKENS, ROWS], and for each of a block's tokens
// `room` keys and rows, where `room` is a multiple of FOURS and at least top_k + SLACK + ROWS.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    pick_walk(const float *q, const float *weights, const u32 *positions, const u32 *owners,
              const u32 *page_table, u32 table_width, const u8 *pages, u64 page_bytes, u64 offset,
              u32 ratio, u32 heads, u32 top_k, float scale, u32 *picks, u32 count, u32 tokens_each,
              u32 room) {
    begin();
    extern __shared__ __align__(1024) u8 bytes[];
    __shared__ Token tokens[TOKENS];
    u32 first = (gridDim.x - 1 - blockIdx.x) * tokens_each, here = min(tokens_each, count - first);
    u32 most = find_tokens(tokens, positions, owners, first, here, ratio, top_k);
    float *own_weights = (float *)(bytes + TOKENS * HEADS * WIDTH * 2);
    u32 *staged = (u32 *)(own_weights + TOKENS * HEADS), *lists = staged + 2 * TOKENS * ROWS;
    if (most > 0)
        place_queries(bytes, own_weights, q + (u64)first * heads * WIDTH,
                      weights + (u64)first * heads, here, TOKENS * HEADS, heads, scale);
    let_products_read();
    __syncthreads();
    Pages place = {pages, page_bytes, offset, page_table, table_width, page_shift(ratio)};
    // Warps 0, 1, 6 and 7 have a list: two of each group, and all on different schedulers.
    u32 warp = threadIdx.x / WARP, group = threadIdx.x / GROUP;
    u32 listed = warp < 2 ? warp : warp >= 6 ? warp - 4 : here;
    u32 own = listed < here ? tokens[listed].visible : 0, *keys = lists + listed * 2 * room;
    List list = {keys, keys + room, 0, 0};
    for (u32 row = 0; row < most; row += ROWS) {
        u32 *now = staged + row / ROWS % 2 * TOKENS * ROWS;
#pragma unroll 1
        for (u32 at = group * GROUP_ROWS; at < ROWS; at += THREADS / GROUP * GROUP_ROWS)
            score_rows(place, tokens, row + at, shared_address(bytes) / 16, own_weights, now + at);
        __syncthreads();
        if (row >= own) continue;
        if (list.count + ROWS > room) cut(list, top_k, SLACK);
        take(list, now + listed * ROWS, row, own);
    }
    if (listed >= here) return;
    picks += (u64)(first + listed) * top_k;
    u32 visible = (positions[first + listed] + 1) / ratio;
    if (own) put(list, picks, top_k);
    else pick_all(picks, visible, top_k, threadIdx.x % WARP, WARP);
}
