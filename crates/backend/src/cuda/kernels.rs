//! Kernel sources, compiled when first needed, and kept between runs where a cache is given.
//!
//! A [`Unit`] is one source file of an operation family; it is compiled for the values of its
//! parameters (a format, a head width), so that shapes are constants to the compiler and yet no
//! shape stands in our code. Code is kept under the hash of everything that it depends on: source,
//! parameters, architecture, and version of the compiler.

use std::fmt::Write as _;
use std::path::PathBuf;

use rustc_hash::FxHashMap;

use super::COMMON;
use super::driver::{Address, Function, Gpu};
use super::nvrtc::Nvrtc;
use super::trace::STAMPS_MAX;
use super::weights::IQ2_XXS;
use crate::Error;

/// Most parameters of a unit.
const PARAMETERS_MAX: usize = 6;
/// Values of a unit's parameters; zeros beyond its last.
pub type Values = [u32; PARAMETERS_MAX];

/// One source file.
pub struct Unit {
    /// The family of operations that it belongs to.
    pub family: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it includes, then itself.
    pub source: &'static [&'static str],
    /// Names of the constants that it is compiled with.
    pub parameters: &'static [&'static str],
    /// Its kernels.
    pub kernels: &'static [&'static str],
}

/// Where machine code is kept between runs.
pub trait CodeCache {
    /// What was kept under a name.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps code; failing to is no error.
    fn put(&self, name: &str, code: &[u8]);
}

/// All that was loaded.
pub struct Kernels {
    /// Where kernels stamp the time when they begin, if they do; see trace.rs.
    stamps: Option<Address>,
    cache: Option<Box<dyn CodeCache>>,
    library: Option<PathBuf>,
    compiler: Option<Nvrtc>,
    loaded: FxHashMap<(&'static str, Values), Vec<Function>>,
}

/// The architecture that code is compiled for: Hopper and newer have instructions of their own.
pub fn architecture(capability: i32) -> String {
    let own = if capability >= 90 { "a" } else { "" };
    format!("sm_{capability}{own}")
}

/// The text that the compiler sees, and its options.
pub fn translation(
    unit: &Unit,
    values: &Values,
    architecture: &str,
    stamped: bool,
) -> (String, Vec<String>) {
    let mut source = format!("#define STAMPS {}\n", if stamped { STAMPS_MAX } else { 0 });
    for (name, value) in unit.parameters.iter().zip(values) {
        writeln!(source, "#define {name} {value}").expect("writing to a string");
    }
    for part in unit.source {
        source.push_str(part);
        if *part == COMMON
            && unit.parameters.first() == Some(&"FORMAT")
            && values[0] as usize == IQ2_XXS
        {
            source.push_str(&levels());
        }
    }
    let options = ["--std=c++17", "--fmad=true"].map(str::to_owned);
    let architecture = format!("--gpu-architecture={architecture}");
    (source, options.into_iter().chain([architecture]).collect())
}

/// The lattice of IQ2_XXS, as the container's crate has it: four bits for each value of a point,
/// which of the three magnitudes it is; see weights.cuh.
fn levels() -> String {
    let level = |magnitude: u8| match magnitude {
        8 => 0,
        25 => 1,
        43 => 2,
        other => unreachable!("a magnitude of {other}"),
    };
    let word = |point: &[u8; 8]| point.iter().rev().fold(0u32, |word, &m| word << 4 | level(m));
    let words: Vec<_> =
        gguf::blocks::iq2_xxs::GRID.iter().map(|point| format!("{:#x}u", word(point))).collect();
    format!("static __device__ const u32 LEVELS[256] = {{\n{}}};\n", words.join(",\n"))
}

impl Kernels {
    /// Nothing loaded.
    pub fn new(cache: Option<Box<dyn CodeCache>>, library: Option<PathBuf>) -> Kernels {
        Kernels { stamps: None, cache, library, compiler: None, loaded: FxHashMap::default() }
    }

    /// From now on kernels stamp the time when they begin, in memory at `stamps`. All are loaded
    /// anew.
    pub fn stamp(&mut self, stamps: Address) {
        self.stamps = Some(stamps);
        self.loaded.clear();
    }

    /// A kernel of a unit.
    ///
    /// # Errors
    /// No compiler, or the driver refuses the code.
    pub fn get(
        &mut self,
        gpu: &Gpu,
        unit: &'static Unit,
        values: Values,
        kernel: &str,
    ) -> Result<Function, Error> {
        let index = unit.kernels.iter().position(|name| *name == kernel);
        let index = index.expect("a unit lists its kernels");
        if let Some(functions) = self.loaded.get(&(unit.name, values)) {
            return Ok(functions[index]);
        }
        let code = self.code(gpu, unit, &values)?;
        let functions = gpu.load(&code, unit.kernels, self.stamps.map(|at| ("stamps", at)))?;
        let function = functions[index];
        self.loaded.insert((unit.name, values), functions);
        Ok(function)
    }

    fn code(&mut self, gpu: &Gpu, unit: &Unit, values: &Values) -> Result<Vec<u8>, Error> {
        if self.compiler.is_none() {
            self.compiler = Some(Nvrtc::load(self.library.as_deref())?);
        }
        let compiler = self.compiler.as_ref().expect("loaded above");
        let (source, options) =
            translation(unit, values, &architecture(gpu.capability), self.stamps.is_some());
        let mut hash = blake3::Hasher::new();
        hash.update(source.as_bytes());
        hash.update(options.join(" ").as_bytes());
        hash.update(format!("{:?}", compiler.version()).as_bytes());
        let name = format!("{}-{}.cubin", unit.name, &hash.finalize().to_hex()[..32]);
        if let Some(kept) = self.cache.as_ref().and_then(|cache| cache.get(&name))
            && let Some((sum, code)) = kept.split_at_checked(blake3::OUT_LEN)
            && blake3::hash(code).as_bytes() == sum
        {
            return Ok(code.to_vec());
        }
        let code = compiler.compile(unit.name, &source, &options)?;
        if let Some(cache) = &self.cache {
            cache.put(&name, &[blake3::hash(&code).as_bytes(), code.as_slice()].concat());
        }
        Ok(code)
    }
}
