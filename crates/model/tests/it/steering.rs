//! Steering, held against what a few lines of arithmetic make of the unsteered model's own
//! intermediate results; and against itself, alone and among sessions that are steered otherwise.

use backend::{Backend, RowFormat};
use model::{Cache, Feed, Point, Steer};
use spec::TokenId;

use crate::support::{Rig, fast, prompts, tiny};

/// Directions of length 1, from arithmetic; the last layer is not steered.
fn directions<B: Backend>(rig: &Rig<B>) -> Vec<f32> {
    let (layers, width) = (rig.model.shape().layers, rig.model.shape().hidden);
    let row = |layer: usize| {
        let row: Vec<f64> = (0..width).map(|i| ((layer * 31 + i * 7) % 17) as f64 - 8.0).collect();
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.into_iter().map(|v| (v / length) as f32).collect::<Vec<f32>>()
    };
    let mut all: Vec<f32> = (0..layers).flat_map(row).collect();
    all[(layers - 1) * width..].fill(0.0);
    all
}

fn steer(ffn: f32, attention: f32) -> Steer {
    Steer::new(ffn, attention).expect("scales")
}

fn open<B: Backend>(rig: &mut Rig<B>, steer: Steer) -> Cache {
    let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
    cache.set_steer(steer);
    cache
}

fn logits<B: Backend>(rig: &mut Rig<B>, feeds: &mut [Feed]) -> Vec<u32> {
    rig.model.forward(&mut rig.cpu, feeds).expect("a step");
    rig.model.logits(&mut rig.cpu).iter().map(|v| v.to_bits()).collect()
}

/// In the first layer, what goes into the streams is what the unsteered model writes there, less
/// its projection; behind it, everything is changed.
#[test]
fn a_layer_writes_less_of_its_direction() {
    let mut rig = Rig::new(&tiny(), RowFormat::ExactF32);
    rig.cpu.record_marks();
    let all = directions(&rig);
    rig.model.steer(&mut rig.cpu, &all).expect("directions");
    let (width, tokens) = (rig.model.shape().hidden, &prompts()["p7"]);
    let mut run = |steer| {
        let mut cache = open(&mut rig, steer);
        let feed = Feed { cache: &mut cache, tokens, outputs: tokens.len() };
        let bits = logits(&mut rig, &mut [feed]);
        let marks = rig.cpu.take_marks();
        let at = |name| {
            let mut marks = marks.iter().filter(|mark| mark.layer == 0);
            marks.find(|mark| mark.name == name).expect("a mark of the first layer").floats()
        };
        (at("attn_out"), at("ffn_out"), bits)
    };
    let plain = run(Steer::NONE);
    let steered = |y: &[f32], scale: f64| -> Vec<f64> {
        let row = |y: &[f32]| {
            let pairs = y.iter().zip(&all[..width]);
            let along: f64 = pairs.map(|(y, v)| f64::from(*y) * f64::from(*v)).sum();
            let pairs = y.iter().zip(&all[..width]);
            pairs.map(|(y, v)| f64::from(*y) - scale * along * f64::from(*v)).collect::<Vec<f64>>()
        };
        y.chunks_exact(width).flat_map(row).collect()
    };
    let close = |got: &[f32], want: &[f64]| {
        let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let worst =
            got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
        assert!(got.len() == want.len() && worst <= 1e-6 * largest, "{worst} of {largest}");
    };
    for scale in [1.0f32, -2.5] {
        let (attention, ffn, bits) = run(steer(scale, 0.0));
        assert_eq!(attention, plain.0, "attention is not steered");
        close(&ffn, &steered(&plain.1, scale.into()));
        assert_ne!(bits, plain.2);
        let (attention, ffn, bits) = run(steer(0.0, scale));
        close(&attention, &steered(&plain.0, scale.into()));
        assert_ne!(ffn, plain.1, "experts read what attention wrote");
        assert_ne!(bits, plain.2);
    }
    // A direction that was taken out is gone: what is left has no projection.
    let (_, ffn, _) = run(steer(1.0, 0.0));
    for y in ffn.chunks_exact(width) {
        let along: f32 = y.iter().zip(&all[..width]).map(|(y, v)| y * v).sum();
        assert!(along.abs() < 1e-5, "{along}");
    }
}

/// Three sessions in one step, each steered in its own way, and each alone: the same bits. One that
/// is not steered has the bits of a model that has no directions.
#[test]
fn sessions_of_one_step_are_steered_each_in_its_own_way() {
    together(fast(&tiny(), RowFormat::Packed), fast(&tiny(), RowFormat::Packed));
    together(Rig::new(&tiny(), RowFormat::Packed), Rig::new(&tiny(), RowFormat::Packed));
}

fn together<B: Backend>(mut rig: Rig<B>, mut plain: Rig<B>) {
    let all = directions(&rig);
    rig.model.steer(&mut rig.cpu, &all).expect("directions");
    let ways = [Steer::NONE, steer(1.0, 0.0), steer(-1.5, 0.5)];
    let tokens = &prompts()["p130"];
    let parts = |tokens: &[TokenId]| [tokens[..100].to_vec(), tokens[100..101].to_vec()];
    let alone = ways.map(|way| {
        let mut cache = open(&mut rig, way);
        parts(tokens).map(|tokens| {
            let feed = Feed { cache: &mut cache, tokens: &tokens, outputs: 1 };
            logits(&mut rig, &mut [feed])
        })
    });
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);
    let mut caches = ways.map(|way| open(&mut rig, way));
    for (step, tokens) in parts(tokens).iter().enumerate() {
        let feeds = caches.iter_mut().map(|cache| Feed { cache, tokens, outputs: 1 });
        let bits = logits(&mut rig, &mut feeds.collect::<Vec<_>>());
        let want: Vec<u32> = alone.iter().flat_map(|steps| steps[step].clone()).collect();
        assert_eq!(bits, want, "step {step}");
    }
    let mut cache = open(&mut plain, Steer::NONE);
    for (tokens, want) in parts(tokens).iter().zip(&alone[0]) {
        let feed = Feed { cache: &mut cache, tokens, outputs: 1 };
        assert_eq!(&logits(&mut plain, &mut [feed]), want);
    }
}

/// A state is all of one way: changing it forgets what was computed, saying it again does not.
#[test]
fn a_state_has_one_steering() {
    let mut rig = fast(&tiny(), RowFormat::Packed);
    let all = directions(&rig);
    rig.model.steer(&mut rig.cpu, &all).expect("directions");
    let mut cache = open(&mut rig, steer(1.0, 0.0));
    let feed = Feed { cache: &mut cache, tokens: &prompts()["p7"], outputs: 1 };
    logits(&mut rig, &mut [feed]);
    cache.set_steer(steer(1.0, 0.0));
    assert_eq!(cache.tokens(), 7);
    let mut fork = open(&mut rig, Steer::NONE);
    rig.model.fork(&mut rig.cpu, &cache, &mut fork).expect("a fork");
    assert_eq!((fork.tokens(), fork.steer()), (7, cache.steer()));
    cache.set_steer(steer(1.0, -0.5));
    assert_eq!(cache.tokens(), 0);
}

/// What is seen is what marks of the reference say that the last token's row was.
#[test]
fn what_layers_write_can_be_looked_at() {
    let tokens = &prompts()["p130"];
    for (point, name) in [(Point::Ffn, "ffn_out"), (Point::Attention, "attn_out")] {
        let mut rig = Rig::new(&tiny(), RowFormat::ExactF32);
        rig.cpu.record_marks();
        rig.model.tap(&mut rig.cpu, Some(point)).expect("memory");
        let mut caches = [0, 1].map(|_| open(&mut rig, Steer::NONE));
        let [first, second] = &mut caches;
        let mut feeds = [
            Feed { cache: first, tokens: &tokens[..50], outputs: 2 },
            Feed { cache: second, tokens: &tokens[50..60], outputs: 1 },
        ];
        logits(&mut rig, &mut feeds);
        let (marks, width) = (rig.cpu.take_marks(), rig.model.shape().hidden);
        let written: Vec<Vec<f32>> =
            marks.iter().filter(|mark| mark.name == name).map(|mark| mark.floats()).collect();
        let row = |row: usize| written.iter().flat_map(move |y| y[row * width..][..width].to_vec());
        let want: Vec<f32> = [48, 49, 59].into_iter().flat_map(row).collect();
        assert_eq!(rig.model.seen(&mut rig.cpu), want, "{name}");
    }
}

#[test]
fn directions_of_another_size_and_bad_numbers_are_refused() {
    let mut rig = fast(&tiny(), RowFormat::Packed);
    let all = directions(&rig);
    let error = rig.model.steer(&mut rig.cpu, &all[1..]).expect_err("one number too few");
    let (layers, width) = (rig.model.shape().layers, rig.model.shape().hidden);
    let said = format!("{layers} x {width} numbers, one row per layer, found {}", all.len() - 1);
    assert!(error.to_string().contains(&said), "{error}");
    let mut bad = all;
    bad[width + 3] = f32::NAN;
    let error = rig.model.steer(&mut rig.cpu, &bad).expect_err("no number").to_string();
    assert!(error.contains("layer 1 has NaN at place 3"), "{error}");
    assert!(!rig.model.has_directions());
}
