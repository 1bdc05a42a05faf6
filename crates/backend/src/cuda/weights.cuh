// Weights as cuda/weights.rs takes them apart. A unit that includes this is compiled for one FORMAT.
//
// A *chunk* is what one thread takes of a row at a time: 16 bytes of codes, or the like. `load` brings
// it to registers, `dot` multiplies it with a token's activations, which are rounded to 8 bits in
// blocks of 32 for quantized formats (see linear/panel.rs: the same arithmetic) and floats otherwise.

struct Planes {
    const u8 *a, *b, *c;
};

// A token's activations: codes [K], steps [K/32], step times sum of codes of each half [K/32].
struct Token {
    const i8 *codes;
    const float *steps;
    const float2 *halves;
    const float *floats;
};

// Row `at` of the activations that all of `x` are.
DEVICE Token token_at(const Token &x, u64 at, u32 cols) {
    return {x.codes + at * cols, x.steps + at * (cols / 32), x.halves + at * (cols / 32),
            x.floats + at * cols};
}

DEVICE int dot16(int4 w, int4 x, int sum) {
    sum = __dp4a(w.x, x.x, sum);
    sum = __dp4a(w.y, x.y, sum);
    sum = __dp4a(w.z, x.z, sum);
    return __dp4a(w.w, x.w, sum);
}

DEVICE int4 codes16(const Token &x, u32 column) { return *(const int4 *)(x.codes + column); }

// Bits `shift`.. of every byte, as many as `mask` says.
DEVICE int4 field16(int4 v, int shift, int mask) {
    return make_int4(v.x >> shift & mask, v.y >> shift & mask, v.z >> shift & mask,
                     v.w >> shift & mask);
}

#if FORMAT == 0
#define CHUNK 4
struct Chunk { float4 w; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    k.w = fixed((const float4 *)p.a + row * (cols / CHUNK) + c);
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    float4 v = ((const float4 *)x.floats)[c];
    return k.w.x * v.x + k.w.y * v.y + k.w.z * v.z + k.w.w * v.w;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    return ((const float *)p.a)[row * cols + col];
}

#elif FORMAT == 1 || FORMAT == 30
#define CHUNK 8
struct Chunk { uint4 w; };
DEVICE float value_of(u32 bits) {
    return FORMAT == 1 ? half_to_float((u16)bits) : bf16_to_float((u16)bits);
}
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    k.w = fixed((const uint4 *)p.a + row * (cols / CHUNK) + c);
}
DEVICE float two(u32 w, float a, float b) { return value_of(w & 0xffff) * a + value_of(w >> 16) * b; }
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    const float4 *v = (const float4 *)x.floats + 2 * c;
    float4 a = v[0], b = v[1];
    return two(k.w.x, a.x, a.y) + two(k.w.y, a.z, a.w) + two(k.w.z, b.x, b.y) + two(k.w.w, b.z, b.w);
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    return value_of(((const u16 *)p.a)[row * cols + col]);
}

#elif FORMAT == 8
#define CHUNK 16
struct Chunk { int4 w; u16 scale; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    k.w = fixed((const int4 *)p.a + row * (cols / CHUNK) + c);
    k.scale = fixed((const u16 *)p.b + row * (cols / 32) + c / 2);
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    int sum = dot16(k.w, codes16(x, c * CHUNK), 0);
    return half_to_float(k.scale) * x.steps[c / 2] * sum;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    float scale = half_to_float(((const u16 *)p.b)[row * (cols / 32) + col / 32]);
    return scale * ((const i8 *)p.a)[row * cols + col];
}

#elif FORMAT == 10
// Q2_K: bytes 32 h + l hold columns 128 h + 32 k + l at bits 2 k; a chunk is sixteen of them.
#define CHUNK 64
struct Chunk { int4 w; u32 scales, d; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    u64 block = row * (cols / 256) + c / 4;
    k.w = fixed((const int4 *)p.a + block * 4 + c % 4);
    // Scales of columns 16 s..: s = 8 h + 2 k + half.
    uint2 eight = fixed((const uint2 *)p.b + block * 2 + c % 4 / 2);
    k.scales = picked_bytes(eight.x, eight.y, c & 1 ? 0x7531 : 0x6420);
    k.d = fixed((const u32 *)p.c + block);
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    float d = half_to_float((u16)k.d), dmin = half_to_float((u16)(k.d >> 16)), sum = 0;
    u32 column = c / 4 * 256 + c % 4 / 2 * 128 + (c & 1) * 16;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        // Neighbours begin with different columns, and so in different banks.
        u32 i = (j + c / 2) & 3, at = column + 32 * i, scale = k.scales >> (8 * i) & 0xff;
        int product = dot16(field16(k.w, 2 * i, 0x03030303), codes16(x, at), 0);
        float2 halves = x.halves[at / 32];
        sum += d * x.steps[at / 32] * (float)(product * (int)(scale & 15));
        sum -= dmin * (float)(scale >> 4) * (c & 1 ? halves.y : halves.x);
    }
    return sum;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    u64 block = row * (cols / 256) + col / 256;
    u32 at = col % 256, byte = p.a[block * 64 + at / 128 * 32 + at % 32];
    u32 scale = p.b[block * 16 + at / 16], d = ((const u32 *)p.c)[block];
    float code = byte >> (at % 128 / 32 * 2) & 3;
    return half_to_float((u16)d) * (scale & 15) * code - half_to_float((u16)(d >> 16)) * (scale >> 4);
}

#elif FORMAT == 12
// Q4_K: byte 32 g + l holds columns 64 g + l (low) and 64 g + 32 + l (high).
#define CHUNK 32
struct Chunk { int4 w; uint4 head; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    u64 block = row * (cols / 256) + c / 8;
    k.w = fixed((const int4 *)p.a + block * 8 + c % 8);
    k.head = fixed((const uint4 *)p.b + block);
}
// Scale and minimum of group `j` of 32 columns; `s` holds the twelve bytes.
DEVICE void scale_of(const u32 *s, u32 j, u32 &scale, u32 &minimum) {
    u32 shift = 8 * (j & 3);
    if (j < 4) {
        scale = s[0] >> shift & 63;
        minimum = s[1] >> shift & 63;
    } else {
        u32 low = s[2] >> shift & 0xff;
        scale = (low & 15) | (s[0] >> shift >> 6 & 3) << 4;
        minimum = low >> 4 | (s[1] >> shift >> 6 & 3) << 4;
    }
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    u32 words[3] = {k.head.y, k.head.z, k.head.w};
    float d = half_to_float((u16)k.head.x), dmin = half_to_float((u16)(k.head.x >> 16)), sum = 0;
    u32 column = c / 8 * 256 + c % 8 / 2 * 64 + (c & 1) * 16;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        u32 at = column + 32 * i, scale, minimum;
        scale_of(words, c % 8 / 2 * 2 + i, scale, minimum);
        int product = dot16(field16(k.w, 4 * i, 0x0f0f0f0f), codes16(x, at), 0);
        float2 halves = x.halves[at / 32];
        sum += d * (float)scale * x.steps[at / 32] * product;
        sum -= dmin * (float)minimum * (c & 1 ? halves.y : halves.x);
    }
    return sum;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    u64 block = row * (cols / 256) + col / 256;
    const u32 *head = (const u32 *)p.b + block * 4;
    u32 at = col % 256, scale, minimum;
    scale_of(head + 1, at / 32, scale, minimum);
    u32 code = p.a[block * 128 + at / 64 * 32 + at % 32] >> (at % 64 / 32 * 4) & 15;
    return half_to_float((u16)head[0]) * scale * code
         - half_to_float((u16)(head[0] >> 16)) * minimum;
}

#elif FORMAT == 16
// IQ2_XXS: eight bytes for 32 columns: four points of a lattice, then for each point a byte with seven
// signs and a bit of the scale. A value is one of three magnitudes or its negative: a byte of eight that
// `picked_bytes` picks by a selector. LEVELS has the selectors of every point's magnitudes.
#define CHUNK 32
struct Chunk { uint2 w; u16 d; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    u64 block = row * (cols / 256) + c / 8;
    k.w = fixed((const uint2 *)p.a + block * 8 + c % 8);
    k.d = fixed((const u16 *)p.b + block);
}
// Selectors that negate: seven signs are kept, their number is even with the eighth.
DEVICE u32 sign_selectors(u32 byte) {
    u32 s = byte & 127;
    s |= (__popc(s) & 1) << 7;
    s = (s | s << 12) & 0x000f000f;
    s = (s | s << 6) & 0x03030303;
    return ((s | s << 3) & 0x11111111) << 2;
}
// The four values of the low selectors, as signed bytes.
DEVICE int four_values(u32 selectors) { return picked_bytes(0x002b1908, 0x00d5e7f8, selectors); }
// The scale is d times (2 `scale_bits` + 1) / 8.
DEVICE u32 scale_bits(const Chunk &k) {
    return (k.w.y >> 7 & 0x01010101u) * 0x01020408u >> 24 & 15;
}
DEVICE float lattice_scale(const Chunk &k) {
    return half_to_float(k.d) * (0.5f + (float)scale_bits(k)) * 0.25f;
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    const int4 *codes = (const int4 *)(x.codes + c * CHUNK);
    int4 low = codes[0], high = codes[1];
    int v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}, sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        u32 of = LEVELS[k.w.x >> (8 * i) & 0xff] | sign_selectors(k.w.y >> (8 * i));
        sum = __dp4a(four_values(of), v[2 * i], sum);
        sum = __dp4a(four_values(of >> 16), v[2 * i + 1], sum);
    }
    return lattice_scale(k) * x.steps[c] * (float)sum;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    Chunk k;
    load(k, p, row, cols, col / 32);
    u32 i = col % 32 / 8, at = col % 8;
    u32 of = LEVELS[k.w.x >> (8 * i) & 0xff] | sign_selectors(k.w.y >> (8 * i));
    return lattice_scale(k) * (float)(i8)four_values(of >> (4 * at));
}

#elif FORMAT == 39
// MXFP4: byte i holds columns i (low) and 16 + i (high).
#define CHUNK 32
struct Chunk { int4 w; u8 exponent; };
DEVICE void load(Chunk &k, Planes p, u64 row, u32 cols, u32 c) {
    u64 block = row * (cols / 32) + c;
    k.w = fixed((const int4 *)p.a + block);
    k.exponent = fixed(p.b + block);
}
// Twice the values of eight codes in the nibbles of `v`: those of the low halves, of the high ones.
DEVICE void twice(u32 v, int &low, int &high) {
    // Codes 0 to 7 are 0, 1, 2, 3, 4, 6, 8, 12; the others the same, negative.
    u32 l = v & 0x07070707, h = v >> 4 & 0x07070707;
    u32 ls = (l | l >> 4) & 0x00ff00ff, hs = (h | h >> 4) & 0x00ff00ff;
    ls = (ls | ls >> 8) & 0xffff;
    hs = (hs | hs >> 8) & 0xffff;
    u32 lm = __byte_perm(0x03020100u, 0x0c080604u, ls), hm = __byte_perm(0x03020100u, 0x0c080604u, hs);
    u32 ln = (v >> 3 & 0x01010101u) * 0xffu, hn = (v >> 7 & 0x01010101u) * 0xffu;
    low = (int)__vsub4(lm ^ ln, ln);
    high = (int)__vsub4(hm ^ hn, hn);
}
// 2^(exponent - 128).
DEVICE float half_factor(u32 e) {
    return e < 2 ? __uint_as_float(0x00200000u << e) : __uint_as_float((e - 1) << 23);
}
DEVICE float dot(const Chunk &k, const Token &x, u32 c) {
    int4 l, h;
    twice(k.w.x, l.x, h.x);
    twice(k.w.y, l.y, h.y);
    twice(k.w.z, l.z, h.z);
    twice(k.w.w, l.w, h.w);
    int sum = dot16(h, codes16(x, c * CHUNK + 16), dot16(l, codes16(x, c * CHUNK), 0));
    return half_factor(k.exponent) * x.steps[c] * sum;
}
DEVICE float weight_at(Planes p, u64 row, u32 cols, u32 col) {
    u64 block = row * (cols / 32) + col / 32;
    u32 code = p.a[block * 16 + col % 16] >> (col % 32 / 16 * 4) & 15;
    const float magnitudes[8] = {0, 1, 2, 3, 4, 6, 8, 12};
    float value = magnitudes[code & 7] * half_factor(p.b[block]);
    return code & 8 ? -value : value;
}
#endif
