//! Every unit with the parameters that the known models need: what a test compiles for every
//! architecture. Those of formats and of row layouts are listed apart; beside them stand the texts
//! that several units include.
//!
//! A unit that is missing here is compiled first where it is first used.

use super::kernels::{Unit, Values};
use super::values;
use crate::ops;

/// Weights as they are stored; its unit has a parameter `FORMAT`.
pub const WEIGHTS: &str = include_str!("weights.cuh");
/// Shared memory.
pub const SHARED: &str = include_str!("shared.cuh");
/// Slots of shared memory that go to and fro between warps, and products of four warps.
pub const SLOTS: &str = include_str!("slots.cuh");
/// Blocks that reach each other's shared memory.
pub const CLUSTER: &str = include_str!("cluster.cuh");
/// Products of BF16 on tensor cores.
pub const MMA: &str = include_str!("mma.cuh");
/// Products of whole numbers on tensor cores.
pub const WHOLE: &str = include_str!("whole.cuh");
/// BF16, and the order of columns that tiles take them in.
pub const BF16: &str = include_str!("bf16.cuh");
/// Quantized weights decoded to BF16 in registers.
pub const FRAGMENT: &str = include_str!("fragment.cuh");
/// Tiles on tensor cores, for a quantized `FORMAT`.
pub const TILE: &str = include_str!("tile.cuh");

/// Stored formats, by the number that kernels know them by.
const FORMATS: [usize; 8] = [0, 1, 8, 10, 12, 16, 30, 39];
/// Those of float precision.
const FLOATS: [usize; 3] = [0, 1, 30];
/// Row layouts: kind, packed, rounded, plain, rotary.
const LAYOUTS: [[usize; 5]; 4] =
    [[0, 1, 1, 448, 64], [0, 0, 1, 448, 64], [0, 0, 0, 448, 64], [0, 1, 1, 128, 64]];
/// Indexer rows in the same order, without those that repeat.
const INDEXERS: [[usize; 5]; 3] = [[1, 1, 1, 64, 64], [1, 0, 1, 64, 64], [1, 0, 0, 64, 64]];

/// All of them.
pub fn units() -> Vec<(&'static Unit, Values)> {
    let mut all = Vec::new();
    for unit in [
        &super::READ,
        &super::trace::STAMP,
        &ops::linear::rounded::ROUND,
        &ops::linear::tiles::BF16,
        &ops::linear::twofold::HALVE,
        &ops::norm::cuda::NORM,
        &ops::rope::cuda::ROPE,
        &ops::hyper::cuda::HYPER,
        &ops::route::cuda::ROUTE,
        &ops::experts::cuda::ELEMENTS,
        &ops::experts::cuda::ARRANGE,
        &ops::index::cuda::PICK,
        &ops::steer::cuda::STEER,
        &ops::importance::cuda::IMPORTANCE,
    ] {
        all.push((unit, values(&[])));
    }
    for format in FORMATS {
        all.push((&ops::linear::cuda::GEMV, values(&[format])));
        all.push((&ops::embed::cuda::EMBED, values(&[format])));
        all.push((&ops::experts::cuda::INNER, values(&[format])));
        all.push((&ops::experts::cuda::DOWN, values(&[format, 2048, 6, 0])));
        if FLOATS.contains(&format) {
            all.push((&ops::linear::cuda::SGEMM, values(&[format])));
        } else {
            for tokens in [64, 128] {
                let values = values(&[format, tokens, 4]);
                all.push((&ops::linear::tiles::GEMM, values));
                all.push((&ops::experts::cuda::GROUPED, values));
            }
            all.push((&ops::experts::cuda::DOWN, values(&[format, 2048, 6, 1])));
        }
    }
    for [rows, slots] in [[256, 3], [128, 2], [128, 4], [64, 2], [64, 5]] {
        all.push((&ops::linear::twofold::TWOFOLD, values(&[rows, slots])));
    }
    for [format, pieces] in [[1, 1], [1, 2], [30, 2]] {
        all.push((&ops::hyper::cuda::MANY, values(&[format, pieces])));
    }
    for format in [1, 30] {
        all.push((&ops::hyper::cuda::CLUSTER, values(&[format])));
    }
    for [format, stages] in [[1, 2], [1, 4], [8, 3], [8, 4], [30, 2]] {
        all.push((&ops::linear::cuda::STRIP, values(&[format, stages])));
    }
    for [other, cols] in [[1, 1024], [1, 4096], [1, 8192], [30, 7168]] {
        all.push((&ops::linear::pipe::PIPE, values(&[8, other, cols])));
    }
    for [format, other] in [[8, 1], [16, 0]] {
        all.push((&ops::linear::cuda::PAIR, values(&[format, other])));
    }
    all.push((&ops::experts::cuda::DOWN, values(&[super::weights::Q2_K, 3072, 6, 1])));
    for [held, inner] in [[4, 2048], [7, 3072]] {
        for wide in [0, 1] {
            let values = values(&[super::weights::IQ2_XXS, held, wide, inner]);
            all.push((&ops::experts::cuda::LATTICE, values));
        }
        all.push((&ops::route::cuda::ALWAYS, values(&[8, inner])));
    }
    all.extend(of_layouts());
    all
}

/// Those that read or write rows.
fn of_layouts() -> Vec<(&'static Unit, Values)> {
    let mut all = Vec::new();
    for layout in LAYOUTS {
        all.push((&ops::attend::cuda::ATTEND, values(&layout)));
        let [kind, packed, rounded, plain, rotary] = layout;
        if packed == 1 {
            for heads in [16, 32] {
                let values = values(&[kind, packed, rounded, plain, rotary, heads]);
                all.push((&ops::attend::cuda::ATTEND_TILE, values));
            }
            if plain == 448 {
                let values = values(&[kind, packed, rounded, plain, rotary, 64]);
                all.push((&ops::attend::many::ATTEND_MANY, values));
            }
            for heads in [8, 16] {
                let values = values(&[kind, packed, rounded, plain, rotary, heads]);
                all.push((&ops::attend::cuda::ATTEND_CLUSTER, values));
            }
        }
    }
    // The last has no indexer.
    for [packed, rounded, plain, dim] in
        [[1, 2, 448, 128], [0, 2, 448, 128], [0, 0, 448, 128], [1, 2, 128, 192]]
    {
        all.push((&ops::compress::cuda::KEEP, values(&[packed, rounded, plain, 64, dim])));
    }
    for layout in INDEXERS {
        all.push((&ops::index::cuda::SCORE, values(&layout)));
        if layout[1] == 1 {
            let [kind, packed, rounded, plain, rotary] = layout;
            for heads in [64, 128] {
                let values = values(&[kind, packed, rounded, plain, rotary, heads]);
                all.push((&ops::index::cuda::PARTS, values));
                all.push((&ops::index::cuda::WALK, values));
            }
        }
    }
    for layout in LAYOUTS.iter().chain(&INDEXERS) {
        all.push((&ops::kv::cuda::KV, values(layout)));
        all.push((&ops::compress::cuda::COMPRESS, values(layout)));
    }
    all
}
