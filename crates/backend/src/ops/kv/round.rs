//! The roundings that the weights were trained with, as pure functions on floats and codes.
//!
//! - FP8: groups of 64 channels, a power-of-two scale `s = 2^ceil(log2(max(max|x|, 1e-4) / 448))`,
//!   values as E4M3 (finite variant, largest 448).
//! - FP4: groups of 32 channels, `s = 2^ceil(log2(max(max|x|, 6·2^−126) / 6))`, values as E2M1
//!   (0, ½, 1, 1½, 2, 3, 4, 6 and their negatives), after a Walsh–Hadamard transform.
//!
//! Both round to nearest, ties to the even code. A scale is kept as its biased exponent, one byte
//! (E8M0; 255 means the group held a value that is not finite, and decodes to NaN). Sources: OCP
//! 8-bit Floating Point and Microscaling (MX) formats.

/// Channels per FP8 scale.
pub const FP8_GROUP: usize = 64;
/// Channels per FP4 scale.
pub const FP4_GROUP: usize = 32;

/// The exponent byte of a group that holds a value that is not finite.
const NOT_FINITE: u8 = 255;

/// Biased exponent of `2^ceil(log2(x))` for a positive, finite, normal `x`.
fn ceil_exponent(x: f32) -> u8 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as u8;
    if bits & 0x007f_ffff == 0 { exponent } else { exponent + 1 }
}

fn group_exponent(group: &[f32], floor: f32, largest: f32) -> u8 {
    if group.iter().any(|v| !v.is_finite()) {
        return NOT_FINITE;
    }
    let max = group.iter().fold(floor, |max, v| max.max(v.abs()));
    ceil_exponent(max / largest)
}

/// The scale of an exponent byte: `2^(e − 127)`, or NaN for 255.
pub fn scale(exponent: u8) -> f32 {
    match exponent {
        0 => f32::from_bits(1 << 22),
        NOT_FINITE => f32::NAN,
        e => f32::from_bits((e as u32) << 23),
    }
}

/// The code of `v`, which must lie within ±448: sign, 4 exponent bits (bias 7), 3 mantissa bits.
pub fn e4m3_encode(v: f32) -> u8 {
    let sign = ((v.to_bits() >> 24) & 0x80) as u8;
    let magnitude = v.abs().min(448.0);
    // Below 2^-6 codes are multiples of 2^-9; above, there are 8 per power of two.
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-6);
    let steps = (magnitude / exponent_scale(exponent - 3)).round_ties_even() as i32;
    // `steps` is 8..=16 for normal numbers: its upper bit carries into the exponent field.
    sign | (((exponent + 6) << 3) + steps) as u8
}

/// `2^exponent` for exponents of normal numbers.
fn exponent_scale(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The value of an E4M3 code; 0x7f and 0xff are NaN.
pub fn e4m3_decode(code: u8) -> f32 {
    let (exponent, mantissa) = ((code >> 3) & 15, (code & 7) as f32);
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * exponent_scale(-9),
        _ => (8.0 + mantissa) * exponent_scale(exponent as i32 - 10),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The magnitudes of the E2M1 codes 0 to 7.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The 4-bit code of `v`, which must lie within ±6.
pub fn e2m1_encode(v: f32) -> u8 {
    let sign = ((v.to_bits() >> 28) & 8) as u8;
    let magnitude = v.abs();
    // Halfway points between neighbours; a tie goes to the even code.
    let code = match magnitude {
        m if m <= 0.25 => 0,
        m if m < 0.75 => 1,
        m if m <= 1.25 => 2,
        m if m < 1.75 => 3,
        m if m <= 2.5 => 4,
        m if m < 3.5 => 5,
        m if m <= 5.0 => 6,
        _ => 7,
    };
    sign | code
}

/// The value of an E2M1 code.
pub fn e2m1_decode(code: u8) -> f32 {
    let magnitude = E2M1[(code & 7) as usize];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// Encodes one group of [`FP8_GROUP`] channels: a code each, and the scale's exponent byte.
pub fn fp8_encode(group: &[f32], codes: &mut [u8]) -> u8 {
    let exponent = group_exponent(group, 1e-4, 448.0);
    let inverse = 1.0 / scale(exponent);
    for (code, &v) in codes.iter_mut().zip(group) {
        *code = if exponent == NOT_FINITE { 0 } else { e4m3_encode(v * inverse) };
    }
    exponent
}

/// Encodes one group of [`FP4_GROUP`] channels, two codes per byte, low nibble first.
pub fn fp4_encode(group: &[f32], codes: &mut [u8]) -> u8 {
    let exponent = group_exponent(group, 6.0 * f32::MIN_POSITIVE, 6.0);
    let scale = scale(exponent);
    for (code, pair) in codes.iter_mut().zip(group.chunks_exact(2)) {
        let nibble = |v: f32| if exponent == NOT_FINITE { 0 } else { e2m1_encode(v / scale) };
        *code = nibble(pair[0]) | nibble(pair[1]) << 4;
    }
    exponent
}

/// Rounds a row to FP8 in groups of [`FP8_GROUP`], in place.
pub fn fp8_round(row: &mut [f32]) {
    let mut codes = [0; FP8_GROUP];
    for group in row.chunks_exact_mut(FP8_GROUP) {
        let scale = scale(fp8_encode(group, &mut codes));
        group.iter_mut().zip(codes).for_each(|(v, code)| *v = e4m3_decode(code) * scale);
    }
}

/// Rounds a row to FP4 in groups of [`FP4_GROUP`], in place.
pub fn fp4_round(row: &mut [f32]) {
    let mut codes = [0; FP4_GROUP / 2];
    for group in row.chunks_exact_mut(FP4_GROUP) {
        let scale = scale(fp4_encode(group, &mut codes));
        for (pair, code) in group.chunks_exact_mut(2).zip(codes) {
            (pair[0], pair[1]) = (e2m1_decode(code & 15) * scale, e2m1_decode(code >> 4) * scale);
        }
    }
}

/// The Walsh–Hadamard transform in natural order, divided by `sqrt(n)`, in place; `n` a power of 2.
///
/// It is its own inverse and cancels in a dot product of two transformed rows; what it changes is
/// the rounding after it.
pub fn hadamard(row: &mut [f32]) {
    let n = row.len();
    assert!(n.is_power_of_two(), "a Hadamard transform of {n} values");
    let mut half = 1;
    while half < n {
        for block in row.chunks_exact_mut(2 * half) {
            let (a, b) = block.split_at_mut(half);
            for (a, b) in a.iter_mut().zip(b) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (n as f32).sqrt();
    row.iter_mut().for_each(|v| *v *= scale);
}
