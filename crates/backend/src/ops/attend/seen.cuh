// What a query sees, how it is cut into parts, and how parts are joined; for all kernels.
//
// Keys are numbered: first those of the window, then compressed rows. The keys of a token are divided
// among `parts` blocks. How many parts there are is the host's choice; how long they are follows from
// what the token sees, so that every part has work and the launch is the same at every position. A
// part leaves, per head, a weighted row, then the maximum of its scores and the sum of its weights.

#define PARTIAL (WIDTH + 4)
// Keys of a part are a multiple of this.
#define PART_STEP 32
// A maximum that nothing is below, and yet no infinity: differences of two are no NaN.
#define LOWEST -3e38f

// How attention is called, beside the query, as the kernels' arguments.
struct Call {
    const u32 *positions, *owners;
    const Segment *segments;
    const u32 *page_table;
    u32 table_width;
    const u8 *fresh;
    u32 capacity;
    const u8 *slots;
    u64 slot_bytes, ring_offset;
    u32 ring;
    const u8 *pages;
    u64 page_bytes, offset;
    u32 ratio;
    const u32 *picks;
    u32 top_k, beyond;
};

// The kernels' arguments that make a Call.
#define CALL_ARGUMENTS                                                                               \
    const u32 *positions, const u32 *owners, const Segment *segments, const u32 *page_table,         \
        u32 table_width, const u8 *fresh, u32 capacity, const u8 *slots, u64 slot_bytes,             \
        u64 ring_offset, u32 ring, const u8 *pages, u64 page_bytes, u64 offset, u32 ratio,           \
        const u32 *picks, u32 top_k, u32 beyond
#define CALL                                                                                         \
    {positions, owners, segments, page_table, table_width, fresh, capacity, slots, slot_bytes,       \
     ring_offset, ring, pages, page_bytes, offset, ratio, picks, top_k, beyond}

// What a token sees, in the order of key numbers.
struct Seen {
    u32 window_first, window, total;
    // Compressed rows of a page: two to this power.
    u32 page_shift;
    Segment segment;
    const u32 *table, *picks;
};

// How many compressed rows a query sees; `picks` are its own. `beyond`: 0 nothing, 1 every closed row,
// 2 the picks.
DEVICE u32 compressed_of(u32 position, const u32 *picks, u32 top_k, u32 beyond, u32 ratio) {
    u32 closed = beyond ? (position + 1) / ratio : 0;
    if (beyond != 2) return closed;
    // Scores that are not numbers leave one pick, which says so.
    return closed && picks[0] == DAMAGED ? 1 : min(closed, top_k);
}

// What the tables of the step say, which no kernel writes: it may be asked before the kernels in front
// have ended. Loads go past the first-level cache, which may not know of the last step's end.
DEVICE Seen told(const Call &call, u32 t) {
    Seen s;
    u32 owner = __ldcg(call.owners + t), position = __ldcg(call.positions + t);
    uint4 segment = __ldcg((const uint4 *)call.segments + owner);
    s.segment = {segment.x, segment.y, segment.z, segment.w};
    s.table = call.page_table + (u64)owner * call.table_width;
    s.window_first = position + 1 > call.ring ? position + 1 - call.ring : 0;
    s.window = position + 1 - s.window_first;
    s.page_shift = __ffs(128 / call.ratio) - 1;
    s.picks = call.picks + (u64)t * call.top_k;
    u32 closed = call.beyond ? (position + 1) / call.ratio : 0;
    s.total = s.window + (call.beyond == 2 ? min(closed, call.top_k) : closed);
    return s;
}

DEVICE Seen seen(const Call &call, u32 t) {
    Seen s = told(call, t);
    s.total = s.window
            + compressed_of(call.positions[t], s.picks, call.top_k, call.beyond, call.ratio);
    return s;
}

// Keys of each part but the last.
DEVICE u32 part_keys(u32 total, u32 parts) {
    u32 keys = (total + parts - 1) / parts;
    return (keys + PART_STEP - 1) / PART_STEP * PART_STEP;
}

// The compressed row that a key stands for; NO_PICK if there is none, 0 for a key of the window.
DEVICE u32 row_of(const Call &call, const Seen &s, u32 key) {
    if (key >= s.total) return NO_PICK;
    if (key < s.window) return 0;
    return call.beyond == 2 ? s.picks[key - s.window] : key - s.window;
}

// Where the row of a key lies; `row` as row_of says, and below DAMAGED.
DEVICE RowPlace place_of(const Call &call, const Seen &s, u32 key, u32 row) {
    if (key >= s.window) {
        u32 per_page = 1u << s.page_shift;
        const u8 *page = call.pages + s.table[row >> s.page_shift] * call.page_bytes;
        return row_place(page + call.offset, per_page, row & (per_page - 1));
    }
    u32 p = s.window_first + key;
    if (p >= s.segment.start)
        return row_place(call.fresh, call.capacity, s.segment.first_row + p - s.segment.start);
    const u8 *slot = call.slots + s.segment.slot * call.slot_bytes;
    return row_place(slot + call.ring_offset, call.ring, p % call.ring);
}
