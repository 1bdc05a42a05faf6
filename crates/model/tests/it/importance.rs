//! What is noted of the experts' inputs, against sums made here from marks and the file's weights.

use backend::{Backend, Device, Mark, RowFormat};
use gguf::File;
use model::{Estimate, LayerSums, Options};

use crate::support::{LIMITS, Rig, fast_with, prompts, tiny};

const OPTIONS: Options = Options { rows: RowFormat::Packed, limits: LIMITS, importance: true };

/// One expert's matrix `[rows, cols]` of a stack in the file.
fn matrix(file: &File, name: &str, expert: usize) -> Vec<Vec<f64>> {
    let tensor = file.tensor(name).expect("a tensor of the tiny model");
    let (cols, rows) = (tensor.dims[0], tensor.dims[1]);
    let row_bytes = tensor.format.row_bytes(cols).expect("whole blocks");
    let bytes = file.bytes(tensor);
    let row = |row: usize| {
        let mut values = vec![0.0; cols];
        let at = (expert * rows + row) * row_bytes;
        tensor.format.decode(&bytes[at..][..row_bytes], &mut values);
        values.into_iter().map(f64::from).collect()
    };
    (0..rows).map(row).collect()
}

fn mark<'a>(marks: &'a [Mark], layer: usize, name: &str) -> &'a Mark {
    marks.iter().find(|m| m.layer == layer && m.name == name).expect("a mark")
}

/// How far sums are from others, of what those are together.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let apart: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).sum();
    apart / want.iter().sum::<f64>()
}

/// Inputs, choices and shares are marks of the reference; everything else is computed here, in
/// double precision.
#[test]
fn sums_are_those_of_a_naive_computation() {
    let file = tiny();
    let mut rig = Rig::with(&file, OPTIONS);
    rig.cpu.record_marks();
    let tokens = &prompts()["p130"];
    rig.feed(tokens, 1024);
    let marks = rig.cpu.take_marks();
    let sums = rig.model.take_importance(&mut rig.cpu).expect("sums");
    let shape = rig.model.shape().clone();
    assert_eq!(sums.len(), shape.layers);
    let (d, f, used) = (shape.hidden, shape.expert_inner, shape.experts_used);
    for (layer, sums) in sums.iter().enumerate() {
        let x = mark(&marks, layer, "ffn_in").floats();
        let picks: Vec<usize> = mark(&marks, layer, "experts")
            .bytes
            .chunks_exact(4)
            .map(|b| u32::from_ne_bytes(b.try_into().expect("four bytes")) as usize)
            .collect();
        let shares = mark(&marks, layer, "expert_weights").floats();
        let mut inputs = vec![0.0f64; shape.experts * d];
        let mut inner = vec![0.0f64; shape.experts * f];
        let mut counts = vec![0u32; shape.experts];
        let clamp = f64::from(shape.swiglu_clamp[layer]);
        for expert in 0..shape.experts {
            let name = |part: &str| format!("blk.{layer}.ffn_{part}_exps.weight");
            let gate = matrix(&file, &name("gate"), expert);
            let up = matrix(&file, &name("up"), expert);
            for (pair, _) in picks.iter().enumerate().filter(|(_, pick)| **pick == expert) {
                let x = &x[pair / used * d..][..d];
                counts[expert] += 1;
                let own = &mut inputs[expert * d..][..d];
                own.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x).powi(2));
                let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum();
                for i in 0..f {
                    let (a, b): (f64, f64) = (dot(&gate[i]), dot(&up[i]));
                    let a = a.min(clamp);
                    let value = a / (1.0 + (-a).exp()) * b.clamp(-clamp, clamp);
                    inner[expert * f + i] += (f64::from(shares[pair]) * value).powi(2);
                }
            }
        }
        assert_eq!(sums.counts, counts, "layer {layer}");
        assert_eq!(counts.iter().sum::<u32>() as usize, tokens.len() * used);
        let apart = (distance(&sums.inputs, &inputs), distance(&sums.inner, &inner));
        assert!(apart.0 < 1e-6 && apart.1 < 1e-5, "layer {layer}: {apart:?}");
    }
    // Taken is taken.
    let after = rig.model.take_importance(&mut rig.cpu).expect("sums");
    assert!(after.iter().all(|layer| layer.counts.iter().all(|count| *count == 0)));
    assert!(after.iter().all(|layer| layer.inputs.iter().all(|sum| *sum == 0.0)));
}

fn of_prompt<B: Backend>(rig: &mut Rig<B>, chunk: usize) -> Vec<LayerSums> {
    rig.feed(&prompts()["p300"], chunk);
    rig.model.take_importance(&mut rig.cpu).expect("sums")
}

/// Tokens are added in their order, so cuts change not a bit of the sums, which is more than that
/// of the counts.
#[test]
fn sums_do_not_depend_on_how_a_prompt_is_cut() {
    let whole = of_prompt(&mut Rig::with(&tiny(), OPTIONS), 1024);
    assert_eq!(of_prompt(&mut Rig::with(&tiny(), OPTIONS), 37), whole);
    let mut fast = fast_with(&tiny(), OPTIONS);
    let whole = of_prompt(&mut fast, 1024);
    for chunk in [37, 1] {
        assert_eq!(of_prompt(&mut fast, chunk), whole, "by {chunk}");
    }
}

/// The fast backend rounds activations to 8 bits, which changes few choices and no sum much: of
/// random weights, whose sums over experts are as even as they can be, a few in a hundred at most.
#[test]
fn both_processors_note_the_same() {
    let reference = of_prompt(&mut Rig::with(&tiny(), OPTIONS), 1024);
    let fast = of_prompt(&mut fast_with(&tiny(), OPTIONS), 1024);
    for (layer, (fast, reference)) in fast.iter().zip(&reference).enumerate() {
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let counts = fast.counts.iter().zip(&reference.counts).map(|(a, b)| a.abs_diff(*b));
        let moved =
            f64::from(counts.sum::<u32>()) / f64::from(reference.counts.iter().sum::<u32>());
        let inputs = distance(&fast.inputs, &wide(&reference.inputs));
        let inner = distance(&fast.inner, &wide(&reference.inner));
        println!("layer {layer}: {moved:.4} of the choices, {inputs:.4}, {inner:.4}");
        assert!(moved < 0.03 && inputs < 0.05 && inner < 0.05, "layer {layer}");
    }
}

/// Noting takes memory that the estimate knows, changes no logits, and is not there unasked.
#[test]
fn noting_is_counted_and_changes_nothing() {
    let file = tiny();
    let mut plain = Rig::with(&file, Options { importance: false, ..OPTIONS });
    let mut noting = Rig::with(&file, OPTIONS);
    let shape = plain.model.shape().clone();
    let held = [plain.cpu.reserved().buffers, noting.cpu.reserved().buffers];
    for (held, importance) in held.into_iter().zip([false, true]) {
        let options = Options { importance, ..OPTIONS };
        let estimate = Estimate::new(&file, &shape, options).expect("an estimate");
        assert_eq!(held, estimate.tables + estimate.scratch, "{importance}");
    }
    let per_layer = shape.experts * (shape.hidden + shape.expert_inner + 1) * 4;
    let inner = LIMITS.step_tokens * shape.experts_used * shape.expert_inner * 4;
    assert_eq!(held[1] - held[0], shape.layers * per_layer + inner);
    let tokens = &prompts()["p130"];
    assert!(plain.feed(tokens, 64) == noting.feed(tokens, 64), "other logits");
    assert_eq!(plain.model.take_importance(&mut plain.cpu), None);
}
