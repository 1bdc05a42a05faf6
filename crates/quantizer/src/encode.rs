//! Encoders: rows of floats become blocks.
//!
//! What a block means is `gguf`'s; here the numbers in it are searched for. The searches are those
//! of ggml, stated so that the bytes are reproducible: single precision, sums in the order of the
//! values, no fused multiply-add, ties to even where nothing else is said. With an importance (what
//! each column of a matrix contributes on average, squared) errors in columns that matter weigh
//! more.
//!
//! Groups of a block stand alone, so they are searched side by side, one per vector lane: arrays
//! `[[f32; L]; N]` hold value `n` of group `l` at `[n][l]`. Each lane sums in the order of its own
//! values, hence the bytes do not depend on the width of the machine's vectors. The loops are
//! compiled for several instruction sets, one of which is chosen when the program runs.
//!
//! `fit.rs` holds the two searches that the formats share, then there is one file per format.

mod fit;
mod iq2_xxs;
mod iq2_xxs_near;
mod k_quants;
mod mxfp4;
mod q8_0;

use gguf::Format;
use pulp::Simd;

/// Whether [`encode`] knows the format.
pub fn is_encodable(format: Format) -> bool {
    format.is_encodable() || is_quantized(format)
}

/// Whether an importance changes what [`encode`] gives.
pub(crate) fn uses_importance(format: Format) -> bool {
    matches!(format, Format::Q2K | Format::Q4K | Format::Iq2Xxs | Format::Mxfp4)
}

fn is_quantized(format: Format) -> bool {
    format == Format::Q8_0 || uses_importance(format)
}

/// Encodes whole blocks: a row, or several that follow each other. `importance`, if there is one,
/// has a weight for every value. IQ2_XXS cannot do without; the same weight everywhere will do.
///
/// # Panics
/// If the format has no encoder, `out` is not exactly the bytes of `values`, `importance` is of
/// another length, or is missing for IQ2_XXS.
pub fn encode(format: Format, values: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let (bytes, count) = (out.len(), values.len());
    assert_eq!(format.row_bytes(count), Some(bytes), "bytes of {format} for {count} values");
    if let Some(importance) = importance {
        assert_eq!(importance.len(), count, "weights for {count} values");
    }
    pulp::Arch::new().dispatch(Rows { format, values, importance, out });
}

/// The work of [`encode`], compiled once per instruction set. That takes hold only where everything
/// is inlined, and calls of closures and functions by their `Fn` traits are not: hence types whose
/// methods are.
struct Rows<'a> {
    format: Format,
    values: &'a [f32],
    importance: Option<&'a [f32]>,
    out: &'a mut [u8],
}

impl pulp::WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.format {
            Format::Q8_0 => self.each::<q8_0::Q8_0, _, _>(simd),
            Format::Q2K => self.each::<k_quants::Q2K, _, _>(simd),
            Format::Q4K => self.each::<k_quants::Q4K, _, _>(simd),
            Format::Iq2Xxs => {
                assert!(self.importance.is_some(), "IQ2_XXS without an importance");
                self.each::<iq2_xxs::Iq2Xxs, _, _>(simd);
            }
            Format::Mxfp4 => self.each::<mxfp4::Mxfp4, _, _>(simd),
            format => format.encode(self.values, self.out),
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn each<E: Encoder<VALUES, BYTES>, const VALUES: usize, const BYTES: usize>(
        self,
        simd: impl Simd,
    ) {
        let weights = self.importance.map(|importance| importance.as_chunks().0);
        let blocks = self.values.as_chunks().0.iter().zip(self.out.as_chunks_mut().0);
        for (at, (values, out)) in blocks.enumerate() {
            *out = E::encode(simd, values, weights.map(|weights| &weights[at]));
        }
    }
}

/// A format that can be written.
trait Encoder<const VALUES: usize, const BYTES: usize> {
    /// One block, with the vectors of some instruction set.
    fn encode(
        simd: impl Simd,
        values: &[f32; VALUES],
        importance: Option<&[f32; VALUES]>,
    ) -> [u8; BYTES];
}

/// Half precision, to nearest, ties to even.
fn half(value: f32) -> [u8; 2] {
    let mut bytes = [0; 2];
    gguf::blocks::f16::encode(&[value], &mut bytes);
    bytes
}
