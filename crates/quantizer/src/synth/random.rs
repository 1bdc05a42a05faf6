//! Random values in every format that the recipes use, with a chosen spread.
//!
//! A chunk is filled with random bytes, and then every field that is a scale is overwritten with
//! one that gives the values the wanted standard deviation. All codes occur, and scales differ from
//! block to block by up to a factor of three, so a kernel that takes the scale of another block is
//! found out. The standard deviations of the codes are written down where they are used; the tests
//! measure them with the decoders.
//!
//! Nothing here knows a file. Start at [`Content`].

use std::sync::LazyLock;

use gguf::Format;
use gguf::blocks::{f16, iq2_xxs, mxfp4, q2_k, q4_k, q8_0};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use spec::{Class, TensorSpec};

/// Values of a chunk. Changing it changes every file that was made from a seed.
const CHUNK_VALUES: usize = 64 << 10;

/// Matrices whose products are added to the streams are narrower by this factor, so that streams
/// grow slowly with depth and the tokens stay different from each other.
const RESIDUAL_GAIN: f32 = 0.5;

/// What the bytes of a tensor mean.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// Floats in blocks.
    Values { format: Format, spread: Spread },
    /// Rows of `used` different numbers below `experts`, as 32-bit integers.
    Ids { used: usize, experts: usize },
}

/// How values are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// Not zero for vectors only.
    pub mean: f32,
    /// Standard deviation.
    pub deviation: f32,
}

/// The spread with which a random model behaves like a trained one where it matters: every product
/// of a normalized vector has values near one, norms change little, streams are mixed gently, every
/// expert is equally likely.
pub(crate) fn spread(spec: &TensorSpec) -> Spread {
    let around = |mean, deviation| Spread { mean, deviation };
    let is = |suffix: &str| spec.name.ends_with(suffix);
    let width = (spec.dims[0] as f32).sqrt();
    match spec.class {
        Class::Norm => around(1.0, 0.05),
        Class::HyperVector if is("scale.weight") => around(0.1, 0.02),
        Class::HyperVector | Class::Sinks => around(0.0, 0.25),
        Class::RouteBias => around(0.0, 0.01),
        Class::Embedding => around(0.0, 1.0),
        _ if is("_ape.weight") => around(0.0, 0.5),
        _ if is("attn_output_b.weight") => around(0.0, RESIDUAL_GAIN / width),
        _ if is("ffn_down_exps.weight") => around(0.0, RESIDUAL_GAIN / width),
        _ if is("ffn_down_shexp.weight") => around(0.0, RESIDUAL_GAIN / width),
        _ => around(0.0, 1.0 / width),
    }
}

/// The random stream of one chunk of one tensor: the seed, the name and the number of the chunk,
/// hashed by 64-bit FNV-1a.
pub(crate) fn stream(seed: u64, name: &str, chunk: usize) -> Xoshiro256PlusPlus {
    let (seed, chunk) = (seed.to_le_bytes(), (chunk as u64).to_le_bytes());
    let key = seed.iter().chain(name.as_bytes()).chain(&chunk);
    let hash = key.fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Xoshiro256PlusPlus::seed_from_u64(hash)
}

impl Content {
    /// Bytes of every chunk but the last.
    pub(crate) fn chunk_bytes(self) -> usize {
        match self {
            Content::Ids { used, .. } => CHUNK_VALUES.div_ceil(used) * used * 4,
            Content::Values { format, .. } => {
                CHUNK_VALUES / format.block_values() * format.block_bytes()
            }
        }
    }

    /// Fills one chunk.
    pub(crate) fn fill(self, random: &mut Xoshiro256PlusPlus, out: &mut [u8]) {
        match self {
            Content::Ids { used, experts } => fill_ids(random, used, experts, out),
            Content::Values { format, spread } => {
                random.fill_bytes(out);
                fill_values(format, spread, out);
            }
        }
    }
}

fn fill_ids(random: &mut Xoshiro256PlusPlus, used: usize, experts: usize, out: &mut [u8]) {
    let mut row: Vec<u32> = Vec::with_capacity(used);
    for out in out.chunks_exact_mut(4 * used) {
        row.clear();
        while row.len() < used {
            let id = random.random_range(0..experts as u32);
            if !row.contains(&id) {
                row.push(id);
            }
        }
        for (out, id) in out.as_chunks_mut::<4>().0.iter_mut().zip(&row) {
            *out = id.to_le_bytes();
        }
    }
}

/// Turns random bytes into blocks.
fn fill_values(format: Format, spread: Spread, out: &mut [u8]) {
    let Spread { mean, deviation } = spread;
    assert!(mean == 0.0 || !is_quantized(format), "{format} blocks are centred on zero");
    match format {
        Format::F32 => floats(spread, out),
        Format::F16 => halves(spread, out),
        Format::Q8_0 => each(out, |block| q8_0_block(block, deviation)),
        Format::Q2K => each(out, |block| q2_k_block(block, deviation)),
        Format::Q4K => each(out, |block| q4_k_block(block, deviation)),
        Format::Iq2Xxs => each(out, |block| iq2_xxs_block(block, deviation)),
        Format::Mxfp4 => {
            let odds = Exponents::new(deviation / MXFP4_DEVIATION);
            each(out, |block: &mut [u8; mxfp4::BYTES]| block[0] = odds.choose(block[0]));
        }
        _ => unreachable!("no recipe of random models uses {format}"),
    }
}

fn is_quantized(format: Format) -> bool {
    format.block_values() > 1
}

fn each<const BYTES: usize>(out: &mut [u8], finish: impl Fn(&mut [u8; BYTES])) {
    out.as_chunks_mut().0.iter_mut().for_each(finish);
}

/// Half the width of a uniform distribution of standard deviation one.
const UNIFORM: f32 = 1.732_050_8;

/// Uniform floats from the upper 24 bits of each four bytes.
fn floats(spread: Spread, out: &mut [u8]) {
    let step = spread.deviation * UNIFORM / (1 << 23) as f32;
    each(out, |bytes: &mut [u8; 4]| {
        let centred = (u32::from_le_bytes(*bytes) >> 8) as f32 - (1 << 23) as f32;
        *bytes = (spread.mean + centred * step).to_le_bytes();
    });
}

/// Uniform halves from each two bytes.
fn halves(spread: Spread, out: &mut [u8]) {
    let step = spread.deviation * UNIFORM / 32_768.0;
    each(out, |bytes: &mut [u8; f16::BYTES]| {
        let centred = f32::from(u16::from_le_bytes(*bytes)) - 32_767.5;
        f16::encode(&[spread.mean + centred * step], bytes);
    });
}

/// The random factor of a scale, 0.5 to 1.5, from the bytes that are there.
fn factor(random: [u8; 2]) -> f32 {
    0.5 + f32::from(u16::from_le_bytes(random)) / 65_536.0
}

/// The root mean square of [`factor`]: of a uniform distribution from 0.5 to 1.5.
const FACTOR_RMS: f32 = 1.040_833;

/// Replaces two random bytes by a scale near `unit`, whose root mean square is `unit`.
fn scale_in_place(bytes: &mut [u8], unit: f32) -> f32 {
    let bytes: &mut [u8; 2] = bytes.try_into().expect("two bytes");
    f16::encode(&[factor(*bytes) * unit / FACTOR_RMS], bytes);
    f16::value(*bytes)
}

/// Codes are -127 to 127, as quantizers write them; zero is twice as likely as the others.
const Q8_0_DEVIATION: f32 = 73.467;

fn q8_0_block(block: &mut [u8; q8_0::BYTES], deviation: f32) {
    scale_in_place(&mut block[..2], deviation / Q8_0_DEVIATION);
    for code in &mut block[2..] {
        *code = if *code == 0x80 { 0 } else { *code };
    }
}

/// Scale times code minus minimum times the middle code 1.5, for random scales and minima below 16
/// and codes below 4: `77.5 * 3.5 - 2 * 1.5 * 7.5 * 1.5 * 7.5 + 2.25 * 77.5`, the root of it.
const Q2_K_DEVIATION: f32 = 13.876;

fn q2_k_block(block: &mut [u8; q2_k::BYTES], deviation: f32) {
    let d = scale_in_place(&mut block[80..82], deviation / Q2_K_DEVIATION);
    let dmin = block[82..].first_chunk_mut().expect("two bytes");
    f16::encode(&[1.5 * d], dmin);
}

/// The same with scales and minima below 64, codes below 16 and the middle code 7.5:
/// `1333.5 * 77.5 - 2 * 7.5 * 31.5 * 7.5 * 31.5 + 56.25 * 1333.5`, the root of it.
const Q4_K_DEVIATION: f32 = 258.32;

fn q4_k_block(block: &mut [u8; q4_k::BYTES], deviation: f32) {
    let d = scale_in_place(&mut block[..2], deviation / Q4_K_DEVIATION);
    let dmin = block[2..].first_chunk_mut().expect("two bytes");
    f16::encode(&[7.5 * d], dmin);
}

/// Of a block with d = 1: a quarter of the root mean squares of a half-odd scale up to 15.5 and of
/// the lattice's magnitudes.
static IQ2_XXS_DEVIATION: LazyLock<f32> = LazyLock::new(|| {
    let magnitudes = iq2_xxs::GRID.as_flattened().iter().map(|&m| f32::from(m).powi(2));
    let scales = (0..16).map(|scale| (0.5 + scale as f32).powi(2));
    (scales.sum::<f32>() / 16.0 * magnitudes.sum::<f32>() / 2048.0).sqrt() / 4.0
});

fn iq2_xxs_block(block: &mut [u8; iq2_xxs::BYTES], deviation: f32) {
    scale_in_place(&mut block[..2], deviation / *IQ2_XXS_DEVIATION);
}

/// Of the codes 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
const MXFP4_DEVIATION: f32 = 2.926_2;

/// Two neighbouring powers of two, as exponent bytes, and how often the larger one is taken so that
/// the root mean square of the factors comes out right.
struct Exponents {
    lower: u8,
    /// Of 256.
    upper_share: u16,
}

impl Exponents {
    fn new(unit: f32) -> Exponents {
        // Of a positive float, the upper bits are the exponent byte of the power of two below it.
        let lower = (unit.to_bits() >> 23) as u8;
        let over = unit / f32::from_bits(u32::from(lower) << 23);
        let share = (over * over - 1.0) / 3.0;
        Exponents { lower, upper_share: (share * 256.0).round() as u16 }
    }

    fn choose(&self, random: u8) -> u8 {
        self.lower + u8::from(u16::from(random) < self.upper_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Format; 7] = [
        Format::F32,
        Format::F16,
        Format::Q8_0,
        Format::Q2K,
        Format::Q4K,
        Format::Iq2Xxs,
        Format::Mxfp4,
    ];

    fn chunk(format: Format, spread: Spread, name: &str) -> Vec<u8> {
        let content = Content::Values { format, spread };
        let mut out = vec![0; content.chunk_bytes()];
        content.fill(&mut stream(7, name, 0), &mut out);
        out
    }

    /// Measured with the decoders, which know nothing of the constants above. Values of a block
    /// hang together, so that 16 chunks are needed to come within a percent or two.
    #[test]
    fn values_have_the_spread_that_was_asked_for() {
        for format in FORMATS {
            for deviation in [1.0f32, 1.0 / 64.0, 0.5 / 128.0] {
                let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
                for name in 0..16 {
                    let spread = Spread { mean: 0.0, deviation };
                    let bytes = chunk(format, spread, &name.to_string());
                    let mut values = vec![0.0; CHUNK_VALUES];
                    format.decode(&bytes, &mut values);
                    for value in values.into_iter().map(f64::from) {
                        sum += value;
                        squares += value * value;
                        count += 1.0;
                    }
                }
                let (mean, found) = (sum / count, (squares / count).sqrt());
                let (mean, found) = (mean / f64::from(deviation), found / f64::from(deviation));
                assert!((found - 1.0).abs() < 0.02, "{format} {deviation}: {found}");
                assert!(mean.abs() < 0.02, "{format} {deviation}: {mean}");
            }
        }
    }

    #[test]
    fn every_byte_of_codes_occurs_and_scales_differ() {
        for format in FORMATS.into_iter().filter(|&format| is_quantized(format)) {
            let bytes = chunk(format, Spread { mean: 0.0, deviation: 1.0 }, "x");
            let blocks: Vec<_> = bytes.chunks_exact(format.block_bytes()).collect();
            let (scale, code) = match format {
                Format::Q2K => (80..82, 20),
                Format::Q4K => (0..2, 20),
                Format::Mxfp4 => (0..1, 5),
                _ => (0..2, 5),
            };
            let mut seen = [false; 256];
            blocks.iter().for_each(|block| seen[usize::from(block[code])] = true);
            let seen = seen.into_iter().filter(|seen| *seen).count();
            assert!(seen > 150, "{format}: {seen} of 256 values");
            let other =
                blocks.iter().filter(|block| block[scale.clone()] != blocks[0][scale.clone()]);
            assert!(other.count() * 10 > blocks.len(), "{format}");
        }
    }

    #[test]
    fn streams_depend_on_everything_that_names_them() {
        let first = |seed, name, chunk| stream(seed, name, chunk).next_u64();
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        let mut different = all.to_vec();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), all.len());
        assert_eq!(first(1, "a", 0), all[0]);
    }

    #[test]
    fn ids_of_a_row_differ_and_all_occur() {
        let content = Content::Ids { used: 6, experts: 7 };
        let mut out = vec![0; 6 * 4 * 1000];
        content.fill(&mut stream(1, "table", 0), &mut out);
        let mut counts = [0; 7];
        for row in out.chunks_exact(24) {
            let mut ids: Vec<_> =
                row.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            ids.iter().for_each(|&id| counts[id as usize] += 1);
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), 6);
        }
        // Each is in 6 of 7 rows; 60 is five standard deviations.
        assert!(counts.iter().all(|count| (count - 857i32).abs() < 60), "{counts:?}");
    }
}
