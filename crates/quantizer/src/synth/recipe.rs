//! Recipes of random models: which format each tensor has.
//!
//! They differ in the routed experts, which are nine tenths of a file. Everything else is as in the
//! published 2-bit and 4-bit files: attention, shared experts and the output head Q8_0; embedding,
//! indexer, compressors, router and stream mixes F16; vectors F32.
//!
//! | recipe | experts, gate and up | experts, down |
//! |---|---|---|
//! | q2 | IQ2_XXS | Q2_K |
//! | q4 | Q4_K | Q4_K |
//! | mxfp4 | MXFP4 | MXFP4 |
//! | q8 | Q8_0 | Q8_0 |
//!
//! Small shapes may have rows that are not whole blocks of such a format. They get Q8_0 instead,
//! and F16 where even that does not fit.

use std::fmt;
use std::str::FromStr;

use gguf::Format;
use spec::Class;

/// How the matrices of a random model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SynthRecipe {
    /// Experts in two bits, as the published file of 81 GB.
    Q2,
    /// Experts in Q4_K.
    Q4,
    /// Experts in FP4, as the checkpoint has them.
    Mxfp4,
    /// Experts in Q8_0.
    Q8,
}

impl SynthRecipe {
    /// All recipes.
    pub const ALL: [SynthRecipe; 4] =
        [SynthRecipe::Q2, SynthRecipe::Q4, SynthRecipe::Mxfp4, SynthRecipe::Q8];

    /// The name on the command line and in the file.
    pub fn name(self) -> &'static str {
        match self {
            SynthRecipe::Q2 => "q2",
            SynthRecipe::Q4 => "q4",
            SynthRecipe::Mxfp4 => "mxfp4",
            SynthRecipe::Q8 => "q8",
        }
    }

    /// The format of a tensor with rows of so many values.
    pub(crate) fn format(self, class: Class, columns: usize) -> Format {
        let wanted = match class {
            Class::RouteTable => return Format::I32,
            Class::Norm | Class::HyperVector | Class::Sinks | Class::RouteBias => Format::F32,
            Class::Embedding | Class::HyperMatrix | Class::Compressor => Format::F16,
            Class::Indexer | Class::Router => Format::F16,
            Class::Head | Class::Attention | Class::SharedExpert => Format::Q8_0,
            Class::ExpertGateUp | Class::ExpertDown => self.expert(class),
        };
        let candidates = [wanted, Format::Q8_0, Format::F16];
        let fitting = candidates.into_iter().find(|format| format.row_bytes(columns).is_some());
        fitting.expect("halves fit any row")
    }

    fn expert(self, class: Class) -> Format {
        match self {
            SynthRecipe::Q2 if class == Class::ExpertDown => Format::Q2K,
            SynthRecipe::Q2 => Format::Iq2Xxs,
            SynthRecipe::Q4 => Format::Q4K,
            SynthRecipe::Mxfp4 => Format::Mxfp4,
            SynthRecipe::Q8 => Format::Q8_0,
        }
    }
}

impl fmt::Display for SynthRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SynthRecipe {
    type Err = String;

    fn from_str(name: &str) -> Result<SynthRecipe, String> {
        let recipe = SynthRecipe::ALL.into_iter().find(|recipe| recipe.name() == name);
        recipe.ok_or_else(|| {
            let names = SynthRecipe::ALL.map(SynthRecipe::name).join(", ");
            format!("no recipe is called {name:?}, expected one of {names}")
        })
    }
}
