//! The levels against each other, operation by operation. The fast backend as a whole is held
//! against the reference, and each level against the others, by the integration tests
//! (tests/it/fast.rs).
//!
//! A probe is a kernel that returns what it computed as bits. [`Portable`](super::Portable) says
//! what is right; that it is right itself is tested where the arithmetic is known on paper.

use super::*;
use crate::Level;

type Lanes = [f32; LANES];

/// Runs a probe on every level, and returns what plain Rust found.
fn probe<K: Kernel<Out = Vec<u32>> + Copy>(name: &str, kernel: K) -> Vec<u32> {
    let want = Level::Portable.run(kernel);
    for level in Level::available() {
        let got = level.run(kernel);
        assert_eq!(got.len(), want.len(), "{name}: {}", level.name());
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got, want, "{name}: {}, {i}: {got:08x}, not {want:08x}", level.name());
        }
    }
    want
}

/// Bits, with one NaN for all: which one arithmetic returns is nobody's contract.
#[inline(always)]
fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

#[inline(always)]
fn push<S: Simd>(x: S::F, out: &mut Vec<u32>) {
    let mut lanes = [0.0; LANES];
    S::store(x, &mut lanes);
    out.extend(lanes.iter().map(|x| bits(*x)));
}

/// For what copies: each bit of a NaN counts.
#[inline(always)]
fn push_exact<S: Simd>(x: S::F, out: &mut Vec<u32>) {
    let mut lanes = [0.0; LANES];
    S::store(x, &mut lanes);
    out.extend(lanes.map(f32::to_bits));
}

#[inline(always)]
fn push_bytes(bytes: &[u8], out: &mut Vec<u32>) {
    out.extend(bytes.iter().map(|byte| u32::from(*byte)));
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Between −1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() as i64 >> 40) as f32 / (1 << 23) as f32
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    /// Sixteen numbers of any size, NaN among them.
    fn any(&mut self) -> Lanes {
        std::array::from_fn(|_| f32::from_bits(self.next() as u32))
    }
}

const SPECIAL: Lanes = [
    0.0,
    -0.0,
    f32::from_bits(1),           // the smallest subnormal number
    f32::from_bits(0x807f_ffff), // the largest, negative
    f32::MIN_POSITIVE,
    -1.5e-30,
    1.0,
    -1.0,
    0.333_333_34,
    -2.5,
    16_777_217.0,
    f32::MAX,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::from_bits(0xffa0_1234), // a signalling NaN
];

/// Every three of the special values, in some lane, and random ones.
fn triples() -> Vec<[Lanes; 3]> {
    let mut triples = Vec::new();
    for i in 0..LANES {
        for j in 0..LANES {
            let (mut b, mut c) = (SPECIAL, SPECIAL);
            b.rotate_left(i);
            c.rotate_left(j);
            triples.push([SPECIAL, b, c]);
        }
    }
    let mut random = Random(1);
    for _ in 0..200 {
        triples.push([random.any(), random.any(), random.any()]);
        triples.push(std::array::from_fn(|_| std::array::from_fn(|_| random.number())));
    }
    triples
}

#[derive(Clone, Copy)]
struct Arithmetic<'a>(&'a [[Lanes; 3]]);

impl Kernel for Arithmetic<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for [a, b, c] in self.0 {
            push_exact::<S>(S::splat(a[3]), &mut out);
            let (a, b, c) = (S::load(a), S::load(b), S::load(c));
            push_exact::<S>(a, &mut out);
            push_exact::<S>(S::max(a, b), &mut out);
            push_exact::<S>(S::min(a, b), &mut out);
            push::<S>(S::add(a, b), &mut out);
            push::<S>(S::sub(a, b), &mut out);
            push::<S>(S::mul(a, b), &mut out);
            push::<S>(S::div(a, b), &mut out);
            push::<S>(S::fma(a, b, c), &mut out);
            out.push(bits(S::sum(a)));
        }
        out
    }
}

#[test]
fn arithmetic_is_the_same() {
    let triples = triples();
    let out = probe("arithmetic", Arithmetic(&triples));
    // The first triple is the special values against themselves: NaN is in lanes 14 and 15.
    assert_eq!(out[2 * LANES + 15], 0xffa0_1234, "max, a copy of the second");
    assert_eq!(out[4 * LANES + 11], f32::INFINITY.to_bits(), "MAX + MAX");
    assert_eq!(out[8 * LANES + 6], 2.0f32.to_bits(), "1 · 1 + 1");
    // The order of summation decides: 1 is added to −2^60 or not.
    let mut x = [0.0; LANES];
    (x[0], x[1], x[8]) = ((1u64 << 60) as f32, 1.0, -((1u64 << 60) as f32));
    let out = probe("sum", Arithmetic(&[[x; 3]]));
    assert_eq!(*out.last().unwrap(), 1.0f32.to_bits());
    (x[1], x[8]) = (x[8], x[1]);
    let out = probe("sum", Arithmetic(&[[x; 3]]));
    assert_eq!(*out.last().unwrap(), 0);
}

#[derive(Clone, Copy)]
struct Integers<'a>(&'a [Lanes], &'a [i32]);

impl Kernel for Integers<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for x in self.0 {
            let x = S::nearest(S::load(x));
            push_exact::<S>(S::to_f(x), &mut out);
        }
        for x in self.1 {
            let [x] = S::block::<1, false>(&[[0; 64]; 8], [&[0; BLOCK]], [*x]);
            push_exact::<S>(S::to_f(x), &mut out);
        }
        for first in (-128..128).step_by(LANES) {
            let mut x = [0.0; LANES];
            for (i, x) in x.iter_mut().enumerate() {
                *x = (first + i as i32) as f32;
            }
            let (x, mut bytes) = (S::nearest(S::load(&x)), [0; LANES]);
            S::store_bytes(x, &mut bytes);
            push_bytes(&bytes.map(|byte| byte as u8), &mut out);
            let small = S::nearest(S::max(S::to_f(x), S::splat(-126.0)));
            push_exact::<S>(S::power_of_two(small), &mut out);
        }
        out
    }
}

#[test]
fn integers_are_the_same() {
    let mut random = Random(2);
    let mut floats = vec![[0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.499_999_97, -0.499_999_97]];
    floats.push([
        8_388_607.5,
        -8_388_606.5,
        -0.0,
        1e-45,
        2_147_483_520.0,
        -2_147_483_648.0,
        3.,
        0.,
    ]);
    let mut floats: Vec<Lanes> = floats.iter().map(|x| std::array::from_fn(|i| x[i % 8])).collect();
    for size in [1.0, 200.0, 1e6, 2e9] {
        for _ in 0..50 {
            floats.push(std::array::from_fn(|_| random.number() * size));
        }
    }
    let mut integers = vec![i32::MIN, i32::MAX, 16_777_217, 16_777_219, -16_777_217, 0];
    integers.extend((0..100).map(|_| random.next() as i32));
    let out = probe("integers", Integers(&floats, &integers));
    let nearest = [0.0f32, 0.0, 2.0, -2.0, 2.0, -2.0, 0.0, 0.0].map(f32::to_bits);
    assert_eq!(out[..8], nearest, "ties to even");
    let bytes: Vec<u32> = (0..LANES as u32).map(|i| 128 + i).collect();
    let last = (floats.len() + integers.len()) * LANES;
    assert_eq!(out[last..last + LANES], bytes, "−128 up");
    assert_eq!(out[out.len() - 1], 2.0f32.powi(127).to_bits());
}

#[derive(Clone, Copy)]
struct Conversions;

impl Kernel for Conversions {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for first in (0..=u16::MAX).step_by(LANES) {
            let mut bytes = [0; 2 * LANES];
            for (i, bytes) in bytes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                *bytes = (first + i as u16).to_le_bytes();
            }
            push::<S>(S::f16(&bytes), &mut out);
            push::<S>(S::bf16(&bytes), &mut out);
        }
        for first in (0..=u8::MAX).step_by(LANES) {
            let mut codes = [0; LANES];
            for (i, code) in codes.iter_mut().enumerate() {
                *code = first + i as u8;
            }
            push::<S>(S::u8(&codes), &mut out);
            for code in &mut codes {
                // What is not a number may be anything.
                *code = if *code & 0x7f == 0x7f { 0 } else { *code };
            }
            push::<S>(S::e4m3(&codes), &mut out);
        }
        out
    }
}

#[test]
fn conversions_are_the_same() {
    let out = probe("conversions", Conversions);
    let at =
        |code: usize, which: usize| f32::from_bits(out[code / 16 * 32 + 16 * which + code % 16]);
    assert_eq!((at(0x3c00, 0), at(0x7bff, 0), at(1, 0)), (1.0, 65504.0, 2.0f32.powi(-24)), "F16");
    assert_eq!((at(0x3f80, 1), at(0xc040, 1)), (1.0, -3.0), "BF16");
    let at = |code: usize, which: usize| at(0x1_0000 + code, which);
    assert_eq!((at(0, 0), at(255, 0)), (0.0, 255.0), "bytes");
    for code in (0..256usize).filter(|code| code & 0x7f != 0x7f) {
        let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f32 / 8.0);
        let size = match exponent {
            0 => mantissa * 2.0f32.powi(-6),
            _ => (1.0 + mantissa) * 2.0f32.powi(exponent - 7),
        };
        let want = if code < 128 { size } else { -size };
        assert_eq!(at(code, 1).to_bits(), want.to_bits(), "E4M3 {code:02x}");
    }
}

/// A block of codes, eight tokens, and where their sums start. Codes with a sign are bytes in two's
/// complement.
struct Product {
    codes: Codes,
    x: [[i8; BLOCK]; 8],
    start: [i32; 8],
}

#[derive(Clone, Copy)]
struct Products<'a, const T: usize, const SIGNED: bool>(&'a [Product]);

impl<const T: usize, const SIGNED: bool> Kernel for Products<'_, T, SIGNED> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for product in self.0 {
            let (mut x, mut start): ([&[i8; BLOCK]; T], _) = ([&[0; BLOCK]; T], [0; T]);
            let flip = if SIGNED { S::SIGN_FLIP } else { 0 };
            for t in 0..T {
                let sum: i32 = product.x[t].iter().map(|x| i32::from(*x)).sum();
                (x[t], start[t]) = (&product.x[t], product.start[t] - i32::from(flip) * sum);
            }
            let codes = product.codes.map(|step| step.map(|code| code ^ flip));
            // Sums are below 2^24: exact as floats.
            for sums in S::block::<T, SIGNED>(&codes, x, start) {
                push_exact::<S>(S::to_f(sums), &mut out);
            }
        }
        out
    }
}

fn products(largest: u8) -> Vec<Product> {
    let mut random = Random(3);
    let mut products = Vec::new();
    for codes in [0, 1, 128 & largest, 127, largest] {
        for x in [-127, -1, 0, 1, 127] {
            let x = std::array::from_fn(|t| [if t % 2 == 0 { x } else { -x }; BLOCK]);
            products.push(Product { codes: [[codes; 64]; 8], x, start: [0; 8] });
        }
    }
    for _ in 0..100 {
        let codes = std::array::from_fn(|_| random.bytes().map(|byte| byte & largest));
        let x = std::array::from_fn(|_| random.bytes().map(|byte| (byte as i8).max(-127)));
        let start = std::array::from_fn(|_| (random.next() as i32) >> 12);
        products.push(Product { codes, x, start });
        // Extreme and nothing, in any order.
        let codes = std::array::from_fn(|_| random.bytes().map(|byte| (byte & 1) * largest));
        let x = std::array::from_fn(|_| {
            random.bytes().map(|byte| if byte & 1 == 0 { -127 } else { 127 })
        });
        products.push(Product { codes, x, start });
    }
    products
}

#[test]
fn products_are_the_same() {
    let narrow = products(127);
    probe("block, one token", Products::<1, false>(&narrow));
    probe("block, two tokens", Products::<2, false>(&narrow));
    probe("block, four tokens", Products::<4, false>(&narrow));
    let out = probe("block, eight tokens", Products::<8, false>(&narrow));
    // The last of the five times five: codes 127, activations 127 and −127 in turn.
    let extreme = (32 * 127 * 127) as f32;
    assert_eq!(out[24 * 8 * LANES], extreme.to_bits());
    assert_eq!(out[24 * 8 * LANES + LANES], (-extreme).to_bits());
    let signed = products(255);
    probe("signed block, one token", Products::<1, true>(&signed));
    probe("signed block, two tokens", Products::<2, true>(&signed));
    probe("signed block, four tokens", Products::<4, true>(&signed));
    let out = probe("signed block, eight tokens", Products::<8, true>(&signed));
    // Codes −128 with activations −127; the last: codes −1, activations 127.
    assert_eq!(out[10 * 8 * LANES], ((32 * 128 * 127) as f32).to_bits());
    assert_eq!(out[24 * 8 * LANES], ((-32 * 127) as f32).to_bits());
}

/// Bytes of a superblock of sixteen rows, and the activations of its blocks.
struct Superblock {
    rows: [[u8; 80]; PANEL_ROWS],
    x: [[i8; BLOCK]; 8],
}

#[derive(Clone, Copy)]
struct RowSums<'a>(&'a [Superblock]);

impl Kernel for RowSums<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for Superblock { rows, x } in self.0 {
            let (mut heads, mut tails) = ([&[0; 16]; PANEL_ROWS], [&[0; 64]; PANEL_ROWS]);
            for ((head, tail), row) in heads.iter_mut().zip(&mut tails).zip(rows) {
                *head = row[..16].as_array().expect("sixteen bytes");
                *tail = row[16..].as_array().expect("64 bytes");
            }
            let mut blocks: [&[i8; BLOCK]; 8] = [&[0; BLOCK]; 8];
            for (block, x) in blocks.iter_mut().zip(x) {
                *block = x;
            }
            let mut scales = [[0; 16]; PANEL_ROWS];
            // Sums are below 2^24: exact as floats.
            for sums in S::sums_iq2_xxs(tails, &mut scales, blocks) {
                push_exact::<S>(S::to_f(sums), &mut out);
            }
            for sums in S::sums_q2_k(heads, tails, blocks) {
                push_exact::<S>(S::to_f(sums), &mut out);
            }
            for scales in scales {
                push_bytes(&scales[..8], &mut out);
            }
        }
        out
    }
}

/// What plain Rust finds is the product of interleaved codes, so this is also one token against
/// many.
#[test]
fn row_sums_are_the_same() {
    let mut random = Random(7);
    let mut superblocks = Vec::new();
    for i in 0..200 {
        let mut rows: [[u8; 80]; PANEL_ROWS] = std::array::from_fn(|_| random.bytes());
        let mut x = [[0; BLOCK]; 8];
        for x in x.as_flattened_mut() {
            *x = (random.byte() as i8).max(-127);
        }
        if i % 4 == 0 {
            // The largest sums: scales of 15 and codes of 3, and whole rows of one sign.
            rows.as_flattened_mut().fill([255, 0, 127, 128][i / 4 % 4]);
            x.as_flattened_mut().fill(if i % 8 == 0 { 127 } else { -127 });
        }
        superblocks.push(Superblock { rows, x });
    }
    let out = probe("row sums", RowSums(&superblocks));
    // Q2_K of the first, which has all bits set: 32 · 3 · 15 · 127.
    assert_eq!(out[8 * LANES], ((32 * 45 * 127) as f32).to_bits());
}

#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [[u8; 512]]);

impl Kernel for Bytes<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for bytes in self.0 {
            S::prefetch(bytes);
            let mut rows = [&[0; BLOCK]; PANEL_ROWS];
            for (row, bytes) in rows.iter_mut().zip(bytes.as_chunks().0) {
                *row = bytes;
            }
            let mut codes = [[0; 64]; 8];
            S::interleave::<false>(rows, &mut codes);
            push_bytes(codes.as_flattened(), &mut out);
            S::interleave::<true>(rows, &mut codes);
            push_bytes(
                codes.map(|step| step.map(|code| code ^ S::SIGN_FLIP)).as_flattened(),
                &mut out,
            );

            let mut transposed = [[0; 16]; 16];
            let square = bytes.as_chunks().0[..16].as_array().expect("sixteen");
            S::transpose(square, &mut transposed);
            push_bytes(transposed.as_flattened(), &mut out);

            let table = bytes[..16].as_array().expect("sixteen bytes");
            let mut below = [0; BLOCK];
            for (below, byte) in below.iter_mut().zip(&bytes[16..]) {
                *below = byte & 15;
            }
            S::translate(table, &mut below);
            push_bytes(&below, &mut out);

            let (mut scales, mut codes) = ([0; 16], [0; 256]);
            let groups = bytes[64..128].as_array().expect("64 bytes");
            S::unpack_iq2_xxs(groups, &mut scales, &mut codes);
            // There are eight; what becomes of the other bytes is open.
            push_bytes(&scales[..8], &mut out);
            push_bytes(&codes, &mut out);
            S::unpack_q2_k(table, groups, &mut codes);
            push_bytes(&codes, &mut out);
        }
        out
    }
}

#[test]
fn bytes_are_moved_the_same() {
    let mut random = Random(4);
    let mut bytes: Vec<[u8; 512]> = (0..200).map(|_| random.bytes()).collect();
    bytes.push([0; 512]);
    bytes.push([255; 512]);
    // Places of their own, for the low and the high byte of a place.
    bytes.push(std::array::from_fn(|i| i as u8));
    let out = probe("bytes", Bytes(&bytes));
    // In the last: row 3, columns 8 to 11, and the same columns of row 4.
    let last = &out[out.len() / bytes.len() * (bytes.len() - 1)..];
    assert_eq!(last[2 * 64 + 12..][..5], [104, 105, 106, 107, 136]);
    assert_eq!(last[512 + 2 * 64 + 12..][..5], [104, 105, 106, 107, 136], "its sign taken back");
    assert_eq!(last[1024 + 16 * 5 + 2], 16 * 2 + 5);
}

/// `a` and `b`, and their length.
#[derive(Clone, Copy)]
struct Vectors<'a>([&'a [f32]; 3], [&'a [f32]; 2], usize);

impl Kernel for Vectors<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let (mut a, mut b) = (self.0, self.1);
        for row in a.iter_mut().chain(&mut b) {
            *row = &row[..self.2];
        }
        let mut out = Vec::new();
        for products in dots::<S, 3, 2>(a, b) {
            out.extend(products.map(f32::to_bits));
        }
        for a in a {
            for b in b {
                out.push(dot::<S>(a, b).to_bits());
            }
        }
        let mut y = a[0].to_vec();
        add_scaled::<S>(-1.7, b[0], &mut y);
        out.extend(y.iter().map(|y| y.to_bits()));
        out
    }
}

#[test]
fn vectors_are_the_same() {
    let mut random = Random(5);
    let rows: Vec<Vec<f32>> = (0..5).map(|_| random.numbers(130)).collect();
    let (a, b) = ([&*rows[0], &rows[1], &rows[2]], [&*rows[3], &rows[4]]);
    for len in (0..70).chain([128, 130]) {
        let out = probe(&format!("vectors of {len}"), Vectors(a, b, len));
        assert_eq!(out[..6], out[6..12], "`dots` and `dot` of {len} values");
        let exact: f64 = (0..len).map(|i| f64::from(a[0][i]) * f64::from(b[0][i])).sum();
        let dot = f64::from(f32::from_bits(out[0]));
        // At most 12 roundings, of numbers below 130.
        assert!((dot - exact).abs() < 1e-4, "{len}: {dot}, not {exact}");
        for i in 0..len {
            let want = (-1.7f32).mul_add(b[0][i], a[0][i]);
            assert_eq!(out[12 + i], want.to_bits(), "`add_scaled`, {i} of {len}");
        }
    }
}

#[derive(Clone, Copy)]
struct Exponentials<'a>(&'a [Lanes]);

impl Kernel for Exponentials<'_> {
    type Out = Vec<u32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<u32> {
        let mut out = Vec::new();
        for x in self.0 {
            push::<S>(exp::<S>(S::load(x)), &mut out);
        }
        out
    }
}

#[test]
fn exponentials_are_the_same_and_right() {
    let mut random = Random(6);
    let mut inputs = vec![SPECIAL];
    inputs.push(std::array::from_fn(|i| -104.0 - 1.5f32.powi(i as i32)));
    inputs.push(std::array::from_fn(|i| 88.73 + 1.5f32.powi(i as i32) - 1.0));
    inputs.extend((0..200).map(|_| random.any()));
    inputs.extend((0..2000).map(|_| {
        let x: Lanes = std::array::from_fn(|_| 0.5 + 87.5 * random.number());
        x
    }));
    let out = probe("exp", Exponentials(&inputs));
    let (mut worst, mut at) = (0.0, 0.0);
    for (x, got) in inputs.as_flattened().iter().zip(&out) {
        let (x, got, exact) = (*x, f32::from_bits(*got), f64::from(*x).exp());
        match x {
            _ if x.is_nan() => assert!(got.is_nan(), "exp({x}) is {got}"),
            _ if x < -104.0 => assert_eq!(got.to_bits(), 0, "exp({x}) is {got}"),
            _ if x >= 88.73 => assert_eq!(got, f32::INFINITY, "exp({x})"),
            _ if (-87.0..=88.0).contains(&x) => {
                let unit = f64::from((exact as f32).next_up() - exact as f32);
                let error = (f64::from(got) - exact).abs() / unit;
                if error > worst {
                    (worst, at) = (error, x);
                }
            }
            _ => assert!((f64::from(got) - exact).abs() < 1e-6 * exact + 1e-44, "exp({x})"),
        }
    }
    // The series leaves 5e-9 of the value, a twelfth of a unit; the rest are the roundings of its
    // last two steps.
    assert!(worst < 2.0, "{worst} units in the last place at {at}");
}
