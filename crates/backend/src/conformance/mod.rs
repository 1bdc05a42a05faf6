//! Holding a backend against the reference: every case of every family, on both, compared.
//!
//! A [`Case`] is a function from a backend to numbers, with a tolerance. It makes its own inputs
//! from a fixed seed (see [`Kit`]), calls front functions, and returns what they computed; it knows
//! nothing of which backend it runs on. The same cases serve tests and benches.
//!
//! ```no_run
//! // A real use opens another backend than the reference.
//! let threads = backend::Threads::of_machine();
//! let cases = backend::conformance::cases();
//! let failures = backend::conformance::run(&cases, &mut || backend::open_cpu(&threads, 0));
//! assert!(failures.is_empty(), "{failures:#?}");
//! ```

mod kit;

pub use kit::{Kit, Session};

use crate::{Backend, ops};

/// One thing that two backends must agree on.
pub struct Case {
    /// Family and sizes, for people.
    pub name: String,
    /// Largest allowed difference, relative to the largest magnitude of the reference's result.
    pub tolerance: f64,
    /// The same for backends that round activations to 8 bits.
    pub rounded_tolerance: f64,
    run: Box<Computation>,
}

/// From a kit to results.
type Computation = dyn Fn(&mut Kit) -> Vec<f32> + Send + Sync;

impl Case {
    /// A case.
    pub fn new(
        name: impl Into<String>,
        tolerance: f64,
        run: impl Fn(&mut Kit) -> Vec<f32> + Send + Sync + 'static,
    ) -> Case {
        Case { name: name.into(), tolerance, rounded_tolerance: tolerance, run: Box::new(run) }
    }

    /// Sets the tolerance for backends that round activations to 8 bits: half a step is 1/254 of
    /// the largest of 32 neighbours, and the errors of a product's terms are independent.
    pub fn rounded(self, rounded_tolerance: f64) -> Case {
        Case { rounded_tolerance, ..self }
    }

    /// Runs the case on a fresh backend.
    pub fn results(&self, backend: &mut dyn Backend) -> Vec<f32> {
        (self.run)(&mut Kit::new(backend))
    }

    /// Compares a backend's result with the reference's.
    ///
    /// # Errors
    /// A sentence with both numbers at the place of the largest difference.
    pub fn compare(&self, got: &[f32], want: &[f32]) -> Result<(), String> {
        self.compare_within(self.tolerance, got, want)
    }

    /// [`Case::compare`] with another tolerance.
    ///
    /// # Errors
    /// As there.
    pub fn compare_within(&self, tolerance: f64, got: &[f32], want: &[f32]) -> Result<(), String> {
        if got.len() != want.len() {
            let (name, got, want) = (&self.name, got.len(), want.len());
            return Err(format!("{name}: {got} values instead of {want}"));
        }
        let largest = want.iter().fold(f64::MIN_POSITIVE, |m, v| m.max((*v as f64).abs()));
        let differences = got.iter().zip(want).map(|(g, w)| difference(*g, *w) / largest);
        let worst = differences.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        match worst {
            Some((i, difference)) if difference.is_nan() || difference > tolerance => Err(format!(
                "{}: value {i} is {}, the reference has {}: {difference:.2e} of the largest, \
                     allowed {tolerance:.0e}",
                self.name, got[i], want[i]
            )),
            _ => Ok(()),
        }
    }
}

/// Equal values differ by nothing, whatever they are; a NaN on one side only differs by NaN.
fn difference(got: f32, want: f32) -> f64 {
    if got.to_bits() == want.to_bits() { 0.0 } else { (got as f64 - want as f64).abs() }
}

/// What makes the cases of a family.
pub type Cases = fn() -> Vec<Case>;

/// The families by name, with their cases.
pub const FAMILIES: [(&str, Cases); 14] = [
    ("embed", ops::embed::cases),
    ("hyper", ops::hyper::cases),
    ("norm", ops::norm::cases),
    ("linear", ops::linear::cases),
    ("rope", ops::rope::cases),
    ("kv", ops::kv::cases),
    ("compress", ops::compress::cases),
    ("index", ops::index::cases),
    ("attend", ops::attend::cases),
    ("route", ops::route::cases),
    ("experts", ops::experts::cases),
    ("steer", ops::steer::cases),
    ("fused", ops::fused::cases),
    ("importance", ops::importance::cases),
];

/// Every case of every family.
pub fn cases() -> Vec<Case> {
    FAMILIES.iter().flat_map(|(_, cases)| cases()).collect()
}

/// Runs cases on fresh backends from `open` and on the reference; returns what differs.
pub fn run(cases: &[Case], open: &mut dyn FnMut() -> Box<dyn Backend>) -> Vec<String> {
    let check = |case: &Case, open: &mut dyn FnMut() -> Box<dyn Backend>| {
        let mut backend = open();
        let got = case.results(&mut *backend);
        let rounds = backend.rounds_activations();
        let tolerance = if rounds { case.rounded_tolerance } else { case.tolerance };
        case.compare_within(tolerance, &got, &case.results(&mut crate::Cpu::new()))
    };
    cases.iter().filter_map(|case| check(case, open).err()).collect()
}
