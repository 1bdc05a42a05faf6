//! Recipes: which format each tensor of the output has, and how values get there.
//!
//! Vectors are F32 and the route table is I32 in every recipe, as in all files of this family; a
//! recipe decides about matrices. `f32` and `f16` give all of them one format. `q8`, `q4`, `q2` and
//! `mxfp4` do as the published files, of which `synth/recipe.rs` has the table. `as-is` gives each
//! the smallest format that holds its values exactly:
//!
//! | in the checkpoint | in the file |
//! |---|---|
//! | F32 | F32 |
//! | F16 | F16 |
//! | BF16 | BF16 |
//! | FP8, scaled per 128 × 128 | BF16 |
//! | FP4, scaled per 32 | MXFP4: the same codes and scales, in another order |
//!
//! An FP8 value has 4 significant bits, BF16 has 8 and the exponents of F32; so a scaled FP8 value
//! is exact in it, short of scales below 2^-124, which are refused where they matter.
//!
//! A stack of experts has one format. Where its experts differ, it is one that holds all of them:
//! BF16 for FP8, BF16 and FP4 together, else F32. Tensors of a GGUF file stay as they are.
//!
//! FP4 becomes MXFP4 without loss in every recipe that asks for it, and so do blocks that have the
//! wanted format already.

use std::fmt;
use std::str::FromStr;

use gguf::Format;
use spec::Class;

use crate::decode::{Coding, Flaw, Rows};
use crate::encode::encode;
use crate::synth::SynthRecipe;

/// Magnitudes from here on round to infinity in half precision: the middle between the largest
/// half, 65,504, and the one that would follow.
const F16_OVERFLOW: f32 = 65_520.0;

/// The same for BF16, whose largest number is 2^128 - 2^120.
const BF16_OVERFLOW: f32 = f32::from_bits(0x7f7f_8000);

/// How the matrices of a model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// Single precision: exact, and the largest.
    F32,
    /// Half precision, rounded to nearest; values too large for it are refused.
    F16,
    /// Everything in Q8_0, short of what is small.
    Q8,
    /// Experts in Q4_K, the rest as in `Q8`.
    Q4,
    /// Experts in two bits, the rest as in `Q8`.
    Q2,
    /// Experts in FP4, the rest as in `Q8`.
    Mxfp4,
    /// Each matrix in the smallest format that holds its values exactly.
    AsIs,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Recipe; 7] =
        [Recipe::F32, Recipe::F16, Recipe::AsIs, Recipe::Q8, Recipe::Q4, Recipe::Q2, Recipe::Mxfp4];

    /// The name on the command line and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::F32 => "f32",
            Recipe::F16 => "f16",
            Recipe::AsIs => "as-is",
            Recipe::Q8 => "q8",
            Recipe::Q4 => "q4",
            Recipe::Q2 => "q2",
            Recipe::Mxfp4 => "mxfp4",
        }
    }

    /// The format of a tensor whose parts, one or one per expert, are coded so.
    pub(crate) fn format(
        self,
        class: Class,
        columns: usize,
        codings: impl Iterator<Item = Coding>,
    ) -> Format {
        match self {
            _ if class == Class::RouteTable => Format::I32,
            _ if class.is_vector() => Format::F32,
            Recipe::F32 => Format::F32,
            Recipe::F16 => Format::F16,
            Recipe::Q8 => SynthRecipe::Q8.format(class, columns),
            Recipe::Q4 => SynthRecipe::Q4.format(class, columns),
            Recipe::Q2 => SynthRecipe::Q2.format(class, columns),
            Recipe::Mxfp4 => SynthRecipe::Mxfp4.format(class, columns),
            Recipe::AsIs => codings.map(lossless).reduce(joined).unwrap_or(Format::F32),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(name: &str) -> Result<Recipe, String> {
        let recipe = Recipe::ALL.into_iter().find(|recipe| recipe.name() == name);
        recipe.ok_or_else(|| {
            let names = Recipe::ALL.map(Recipe::name).join(", ");
            format!("no recipe is called {name:?}, expected one of {names}")
        })
    }
}

/// The smallest format that holds every value of a coding.
fn lossless(coding: Coding) -> Format {
    match coding {
        Coding::F32 => Format::F32,
        Coding::F16 => Format::F16,
        Coding::Bf16 | Coding::Fp8 => Format::Bf16,
        Coding::Fp4 => Format::Mxfp4,
        Coding::I32 | Coding::I64 => Format::I32,
        Coding::Blocks(format) => format,
    }
}

/// A format that holds every value of two lossless formats.
fn joined(a: Format, b: Format) -> Format {
    match (a, b) {
        _ if a == b => a,
        (Format::Mxfp4, Format::Bf16) | (Format::Bf16, Format::Mxfp4) => Format::Bf16,
        _ => Format::F32,
    }
}

/// How the rows of a part become rows of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion<'a> {
    pub format: Format,
    /// Whether the format was chosen because it loses nothing.
    pub exact: bool,
    /// Bounds the ids of a route table.
    pub experts: usize,
    /// How much each column matters, where the format asks for it.
    pub importance: Option<&'a [f32]>,
}

impl Conversion<'_> {
    /// Writes one row; `values` is scratch for the values of the row.
    ///
    /// # Errors
    /// The first value that is not finite, or that the format does not hold.
    pub(crate) fn row(
        &self,
        rows: &Rows<'_>,
        row: usize,
        values: &mut [f32],
        out: &mut [u8],
    ) -> Result<(), Flaw> {
        let format = self.format;
        match (rows.coding, format) {
            (Coding::Blocks(stored), _) if stored == format => {
                rows.copy(row, out);
                return Ok(());
            }
            (_, Format::I32) => return rows.ids(row, self.experts, out),
            (Coding::Fp4, Format::Mxfp4) => return rows.repack(row, out),
            _ => rows.decode(row, values)?,
        }
        let flaw = match format {
            Format::F16 => values.iter().position(|value| value.abs() >= F16_OVERFLOW),
            // Scales below 2^-124 would break the promise.
            Format::Bf16 if self.exact => {
                values.iter().position(|value| value.to_bits() & 0xffff != 0)
            }
            Format::Bf16 => values.iter().position(|value| value.abs() >= BF16_OVERFLOW),
            _ => None,
        };
        if let Some(column) = flaw {
            let value = values[column];
            let problem =
                format!("{value:e} cannot be stored as {format}; the recipe f32 can store it");
            return Err(Flaw { row, column, problem });
        }
        encode(format, values, self.importance, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_by_their_names() {
        for recipe in Recipe::ALL {
            assert_eq!(recipe.name().parse(), Ok(recipe));
        }
        let message = "q1".parse::<Recipe>().unwrap_err();
        let expected = "no recipe is called \"q1\", \
                        expected one of f32, f16, as-is, q8, q4, q2, mxfp4";
        assert_eq!(message, expected);
    }

    #[test]
    fn a_mixed_stack_gets_a_format_that_holds_all_of_it() {
        use Coding::*;
        let cases: [(&[Coding], Format); 7] = [
            (&[Fp4, Fp4], Format::Mxfp4),
            (&[Fp8, Fp8], Format::Bf16),
            (&[Fp4, Fp8], Format::Bf16),
            (&[Bf16, Fp4, Fp8], Format::Bf16),
            (&[F16, F16], Format::F16),
            (&[F16, Fp4], Format::F32),
            (&[Fp4, Fp4, F32], Format::F32),
        ];
        for (codings, expected) in cases {
            let format = |codings: &mut dyn Iterator<Item = &Coding>| {
                Recipe::AsIs.format(Class::ExpertGateUp, 256, codings.copied())
            };
            assert_eq!(format(&mut codings.iter()), expected, "{codings:?}");
            assert_eq!(format(&mut codings.iter().rev()), expected, "{codings:?} reversed");
        }
    }

    #[test]
    fn halves_end_where_the_conversion_says() {
        let below = f32::from_bits(F16_OVERFLOW.to_bits() - 1);
        assert!(half::f16::from_f32(below).is_finite());
        assert!(half::f16::from_f32(F16_OVERFLOW).is_infinite());
        let below = f32::from_bits(BF16_OVERFLOW.to_bits() - 1);
        assert!(half::bf16::from_f32(below).is_finite());
        assert!(half::bf16::from_f32(BF16_OVERFLOW).is_infinite());
    }
}
