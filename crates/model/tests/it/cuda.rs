//! The forward pass on a CUDA device: golden logits, and prompts cut into steps of all kinds.
//! Skipped, with the reason, where there is no device.
//!
//! Sums are in another order there than on a CPU, and differ with the way a prompt is cut: few
//! tokens and many take different kernels. So bits are not compared. In exact arithmetic the
//! tolerance is the one of the CPU. Where values are rounded, noise can flip a code, and in these
//! random models a flipped code changes which expert or row is chosen: that moves single positions,
//! so the median is held over all positions and a limit over most of them.

use backend::RowFormat;
use backend::cuda::{Cuda, CudaOptions};
use gguf::File;
use model::{Feed, Options};
use spec::TokenId;

use crate::support::{LIMITS, Rig, argmax, array, difference, master, prompts, tiny};

/// A model on the first device; `None` where there is none, which is said.
fn rig(file: &File, rows: RowFormat) -> Option<Rig<Cuda>> {
    let compiler = std::env::var_os("DWARFSTAR_NVRTC").map(Into::into);
    match Cuda::open(CudaOptions { compiler, ..CudaOptions::default() }) {
        Ok(cuda) => Some(Rig::on(cuda, file, Options { rows, limits: LIMITS, importance: false })),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Positions of which few may be further off than `limit`, all others by the median at most.
fn mostly(name: &str, got: &[f32], want: &[f32], vocab: usize, median: f64, limit: f64) {
    let all = difference(got, want);
    let rows = got.chunks_exact(vocab).zip(want.chunks_exact(vocab));
    let (positions, moved) =
        (rows.len(), rows.filter(|(g, w)| difference(g, w).max > limit).count());
    println!("{name}: median {:.1e}, maximum {:.1e}, {moved} moved", all.median, all.max);
    assert!(all.median < median && moved * 5 <= positions, "{name}: {moved} far off, {all:?}");
}

#[test]
fn cuda_golden_logits_in_exact_arithmetic() {
    let Some(mut rig) = rig(&master(), RowFormat::ExactF32) else { return };
    let vocab = rig.model.shape().vocab;
    for (name, tokens) in prompts() {
        let want = array("logits.npz", &name);
        for chunk in [1024, 40, 1] {
            let got = rig.feed(&tokens, chunk);
            let d = difference(&got, &want);
            println!("{name} by {chunk}: median {:.1e}, maximum {:.1e}", d.median, d.max);
            assert!(d.median < 1e-4 && d.max < 1e-4, "{name} by {chunk}: {d:?}");
            for (got, want) in got.chunks_exact(vocab).zip(want.chunks_exact(vocab)) {
                assert_eq!(argmax(got), argmax(want), "{name} by {chunk}");
            }
        }
    }
}

#[test]
fn cuda_golden_logits_with_packed_rows() {
    let Some(mut rig) = rig(&master(), RowFormat::Packed) else { return };
    let vocab = rig.model.shape().vocab;
    for (name, tokens) in prompts() {
        let want = array("logits_packed.npz", &name);
        for chunk in [1024, 1] {
            let got = rig.feed(&tokens, chunk);
            let name = format!("{name} by {chunk}, packed");
            mostly(&name, rig.tail(&got, 32), &want, vocab, 2e-4, 5e-3);
        }
    }
}

/// Quantized matrices, whose activations are rounded to 8 bits.
#[test]
fn cuda_golden_logits_of_the_published_layout() {
    let Some(mut rig) = rig(&tiny(), RowFormat::ExactF32) else { return };
    let vocab = rig.model.shape().vocab;
    for (name, tokens) in prompts() {
        let (got, want) = (rig.feed(&tokens, 1024), array("tiny_gguf_logits.npz", &name));
        mostly(&name, rig.tail(&got, 16), &want, vocab, 1e-2, 6e-2);
    }
}

/// One session in the middle of its prompt, one at its start, one decoding: one step for all.
#[test]
fn cuda_steps_of_several_sessions() {
    let Some(mut rig) = rig(&master(), RowFormat::ExactF32) else { return };
    let prompts = prompts();
    let names = ["p300", "p130", "p700"];
    let alone = names.map(|name| rig.feed(&prompts[name], 1024));
    let mut caches = [0, 1, 2].map(|_| rig.model.open(&mut rig.cpu).expect("a session"));
    let mut together = [vec![], vec![], vec![]];
    for lengths in [[120, 0, 1], [1, 64, 1], [100, 65, 300], [1, 1, 397], [78, 0, 1]] {
        let (mut feeds, mut shares) = (Vec::new(), Vec::new());
        for (i, cache) in caches.iter_mut().enumerate() {
            let start = cache.tokens();
            let tokens: &[TokenId] = &prompts[names[i]][start..start + lengths[i]];
            if !tokens.is_empty() {
                feeds.push(Feed { cache, tokens, outputs: tokens.len() });
                shares.push((i, tokens.len()));
            }
        }
        rig.model.forward(&mut rig.cpu, &mut feeds).expect("a step");
        let logits = rig.model.logits(&mut rig.cpu);
        let mut rest = logits.as_slice();
        for (i, tokens) in shares {
            let (own, after) = rest.split_at(tokens * rig.model.shape().vocab);
            together[i].extend_from_slice(own);
            rest = after;
        }
    }
    for ((got, want), name) in together.iter().zip(&alone).zip(names) {
        let d = difference(got, &want[..got.len()]);
        println!("{name} beside others: median {:.1e}, maximum {:.1e}", d.median, d.max);
        assert!(d.max < 1e-4, "{name}: {d:?}");
    }
}
