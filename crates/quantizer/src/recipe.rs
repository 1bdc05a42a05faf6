//! Recipes: which format each tensor of the output has, and how values get there.
//!
//! Vectors are F32 and the route table is I32 in every recipe, as in all files of this family; a
//! recipe decides about matrices. `f32` and `f16` give all of them one format. `as-is` gives each
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
//! BF16 for FP8, BF16 and FP4 together, else F32.

use std::fmt;
use std::str::FromStr;

use gguf::Format;
use spec::Class;

use crate::decode::{Coding, Flaw, Rows};

/// Magnitudes from here on round to infinity in half precision: the middle between the largest
/// half, 65,504, and the one that would follow.
const F16_OVERFLOW: f32 = 65_520.0;

/// How the matrices of a model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// Single precision: exact, and the largest.
    F32,
    /// Half precision, rounded to nearest; values too large for it are refused.
    F16,
    /// Each matrix in the smallest format that holds its values exactly.
    AsIs,
}

impl Recipe {
    /// All recipes.
    pub const ALL: [Recipe; 3] = [Recipe::F32, Recipe::F16, Recipe::AsIs];

    /// The name on the command line and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::F32 => "f32",
            Recipe::F16 => "f16",
            Recipe::AsIs => "as-is",
        }
    }

    /// The format of a tensor whose parts, one or one per expert, are coded so.
    pub(crate) fn format(self, class: Class, codings: impl Iterator<Item = Coding>) -> Format {
        match self {
            _ if class == Class::RouteTable => Format::I32,
            _ if class.is_vector() => Format::F32,
            Recipe::F32 => Format::F32,
            Recipe::F16 => Format::F16,
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

/// Writes one row of the checkpoint in the format of the output.
///
/// `experts` bounds the ids of a route table; `values` is scratch for the values of the row.
///
/// # Errors
/// The first value that is not finite, or that the format does not hold.
pub(crate) fn convert_row(
    rows: &Rows<'_>,
    row: usize,
    format: Format,
    experts: usize,
    values: &mut [f32],
    out: &mut [u8],
) -> Result<(), Flaw> {
    match format {
        Format::I32 => return rows.ids(row, experts, out),
        Format::Mxfp4 => return rows.repack(row, out),
        _ => rows.decode(row, values)?,
    }
    let flaw = match format {
        Format::F16 => values.iter().position(|value| value.abs() >= F16_OVERFLOW),
        // Rows become BF16 only where that is exact. Scales below 2^-124 would break the promise.
        Format::Bf16 => values.iter().position(|value| value.to_bits() & 0xffff != 0),
        _ => None,
    };
    if let Some(column) = flaw {
        let value = values[column];
        let problem =
            format!("{value:e} cannot be stored as {format}; the recipe f32 can store it");
        return Err(Flaw { row, column, problem });
    }
    format.encode(values, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_by_their_names() {
        for recipe in Recipe::ALL {
            assert_eq!(recipe.name().parse(), Ok(recipe));
        }
        let message = "q2".parse::<Recipe>().unwrap_err();
        assert_eq!(message, "no recipe is called \"q2\", expected one of f32, f16, as-is");
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
                Recipe::AsIs.format(Class::ExpertGateUp, codings.copied())
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
    }
}
