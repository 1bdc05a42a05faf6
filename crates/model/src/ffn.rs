//! The experts of one layer: route, apply the chosen ones, add the shared one.

use backend::Backend;
use backend::ops::fused::{Chosen, Gated, Mixture};
use backend::ops::route::Choice;

use crate::importance::Seen;
use crate::layer::Pass;
use crate::scratch::Scratch;
use crate::weights::{FfnWeights, RouteChoice};

/// `s.normed` `[T, D]` to `s.y` `[T, D]`.
pub(crate) fn ffn(b: &mut dyn Backend, w: &FfnWeights, s: &mut Scratch, pass: Pass) {
    let Pass { shape, step, layer, .. } = pass;
    let (t, clamp) = (step.rows, shape.swiglu_clamp[layer]);
    let (x, y, f) = (&s.normed, &mut s.y, &mut s.ffn);
    let choice = match &w.choice {
        RouteChoice::Table(table) => Choice::Table(table),
        RouteChoice::Bias(bias) => Choice::Bias(bias),
    };

    // [T, D] -> [T, E], and twice [T, F] for the shared expert.
    let (gate, up) = ((&w.shared_gate, &mut f.gate), (&w.shared_up, &mut f.up));
    b.linear_each(x, &mut [(&w.router, &mut f.logits), gate, up], t);
    let shared = Gated { gate: &f.gate, up: &f.up, clamp, out: &mut f.inner };
    let (logits, scale) = (&f.logits, shape.route_scale);
    let (picks, shares) = (&mut f.picks, &mut f.shares); // [T, K]
    let chosen = Chosen { logits, choice: &choice, scale, picks, shares };
    let mixture = Mixture { experts: &w.experts, down: &w.shared_down };
    // What the streams were mixed to is not needed any more: its place serves to compute in.
    b.mixture(mixture, x, chosen, shared, &mut s.x, y, step); // [T, D]
    b.mark(layer, "experts", &f.picks, t);
    b.mark(layer, "expert_weights", &f.shares, t);
    if let Some(sums) = &mut s.importance {
        let (weights, picks, shares) = (&w.experts, &f.picks, &f.shares);
        sums.note(b, layer, &Seen { weights, clamp, x, picks, shares }, t);
    }
}
