//! The CUDA backend: every kernel compiles for every architecture, without a device; and with one,
//! every case of every family agrees with the reference.
//!
//! The compiler is the library that `DWARFSTAR_NVRTC` names, or the one that is installed.

use std::path::PathBuf;

use backend::conformance;
use backend::cuda::kernels::{Unit, Values, translation};
use backend::cuda::nvrtc::Nvrtc;
use backend::cuda::units::units;
use backend::cuda::{COMMON, Cuda, CudaOptions};
use rayon::prelude::*;

const ARCHITECTURES: [&str; 5] = ["sm_80", "sm_90a", "sm_100a", "sm_120a", "sm_121a"];

fn library() -> Option<PathBuf> {
    std::env::var_os("DWARFSTAR_NVRTC").map(PathBuf::from)
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    let compiler = match Nvrtc::load(library().as_deref()) {
        Ok(compiler) => compiler,
        Err(error) => return println!("skipped: {error}"),
    };
    // Large tiles are for Hopper alone (see tiles.rs), and take long to compile.
    let wanted = |architecture: &str, unit: &Unit, values: &Values| {
        architecture == "sm_90a" || !["gemm", "grouped"].contains(&unit.name) || values[1] == 64
    };
    let plain = ARCHITECTURES.iter().flat_map(|a| units().into_iter().map(|u| ((*a, false), u)));
    let plain =
        plain.filter(|((architecture, _), (unit, values))| wanted(architecture, unit, values));
    // How they are timed is the same code in all of them.
    let timed = units().into_iter().take(1).map(|u| (("sm_90a", true), u));
    let work: Vec<_> = plain.chain(timed).collect();
    let failures: Vec<String> = work
        .par_iter()
        .filter_map(|((architecture, stamped), (unit, values))| {
            let (source, options) = translation(unit, values, architecture, *stamped);
            let code = compiler.compile(unit.name, &source, &options);
            code.err().map(|error| format!("{architecture} {values:?}: {error}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A device, or the reason why there is none.
fn device() -> Option<Cuda> {
    match Cuda::open(CudaOptions { compiler: library(), ..CudaOptions::default() }) {
        Ok(cuda) => Some(cuda),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Every case of a family.
fn agrees(family: &str) {
    let Some(first) = device() else { return };
    println!("{}", backend::Device::describe(&first));
    let cases = conformance::FAMILIES.iter().find(|(name, _)| *name == family);
    let (_, cases) = cases.expect("a family by that name");
    let mut open = || Box::new(device().expect("a device")) as Box<dyn backend::Backend>;
    let differences = conformance::run(&cases(), &mut open);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A test for each family, so that one can be looked at by itself.
macro_rules! families {
    ($($family:ident)*) => {
        mod every_case_agrees_with_the_reference {
            $(#[test]
            fn $family() {
                super::agrees(stringify!($family));
            })*
        }

        #[test]
        fn no_family_is_left_out() {
            let tested = [$(stringify!($family)),*];
            let families = conformance::FAMILIES.map(|(name, _)| name);
            assert_eq!(tested, families);
        }
    };
}
families! {
    embed hyper norm linear rope kv compress index attend route experts steer fused importance
}

/// A kernel that does not wait may run before what it reads is written.
#[test]
fn every_kernel_waits_for_those_in_front_of_it() {
    for (unit, _) in units() {
        // What stands in it for two formats counts once.
        let mut own: Vec<_> = unit.source.iter().filter(|part| **part != COMMON).collect();
        own.sort();
        own.dedup();
        let count = |what: &str| own.iter().map(|part| part.matches(what).count()).sum::<usize>();
        let waits = count(" begin();") + count("wait_for_inputs();");
        assert_eq!(count("__global__"), waits, "kernels and waits in {}.cu", unit.name);
    }
    // Whoever lets the next inherit has waited for what it inherits.
    let text = |unit: &Unit| unit.source[1..].concat();
    assert!(units().iter().any(|(unit, _)| text(unit).contains("inherited(")));
    for (unit, _) in units() {
        if let Some(lets) = text(unit).find("let_next_inherit();") {
            let waits = text(unit).find("wait_for_inputs();");
            assert!(waits.is_some_and(|waits| waits < lets), "the wait in {}.cu", unit.name);
        }
    }
}
