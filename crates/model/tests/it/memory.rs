//! The memory estimate against what is really held, and against the published figures.

use backend::{CpuSimd, Device, Level, RowFormat, Threads};
use gguf::{File, Format, TensorPlan, Writer};
use model::{Estimate, Feed, KvLayout, Limits, Model, Options, check_tensors, read_shape};
use spec::Shape;

use crate::support::{Rig, metadata, prompts, tiny};

fn options(rows: RowFormat, sessions: usize, context: usize) -> Options {
    let row_pages = sessions * KvLayout::pages(context);
    let slots = sessions;
    let limits = Limits { step_tokens: 512, step_outputs: 1, sessions, context, slots, row_pages };
    Options { rows, limits, importance: false }
}

/// A session of 5,000 tokens holds exactly what was estimated for a context of 5,000.
#[test]
fn a_session_of_5000_tokens_takes_what_was_estimated() {
    let file = tiny();
    let shape = read_shape(&file).expect("the tiny shape");
    let options = options(RowFormat::Packed, 1, 5000);
    let estimate = Estimate::new(&file, &shape, options).expect("an estimate");
    let mut rig = Rig::with(&file, options);
    let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
    let before = rig.cpu.reserved();
    let p700 = &prompts()["p700"];
    let tokens: Vec<_> = p700.iter().cycle().take(5000).copied().collect();
    for tokens in tokens.chunks(512) {
        let feed = Feed { cache: &mut cache, tokens, outputs: 1 };
        rig.model.forward(&mut rig.cpu, &mut [feed]).expect("a step");
    }
    assert_eq!(cache.tokens(), 5000);
    assert!(rig.model.logits(&mut rig.cpu).iter().all(|v| v.is_finite()));
    let held = rig.cpu.reserved();
    assert_eq!(before.pools, estimate.slots, "an empty session holds its slot");
    assert_eq!(held.pools, estimate.slots + estimate.rows);
    assert_eq!(held.weights, estimate.weights);
    assert_eq!(held.buffers, estimate.tables + estimate.scratch);
    assert_eq!(held.weights + held.buffers + held.pools, estimate.total());
}

/// Flash at its full context: at most 3.7 GB of packed rows, at the figures of the row formats.
#[test]
fn a_million_tokens_of_flash() {
    let shape = Shape::flash();
    let packed = Estimate::state(&shape, options(RowFormat::Packed, 1, 1_048_576));
    let exact = Estimate::state(&shape, options(RowFormat::ExactF32, 1, 1_048_576));
    assert!(packed.rows < 3_700_000_000, "{}", packed.rows);
    // 21 layers with a row and an indexer row per 4 tokens, 20 with a row per 128.
    let per_page = |row: usize, irow: usize| 21 * 32 * (row + irow) + 20 * row;
    assert_eq!(exact.rows, 8192 * per_page(2048, 512));
    let unpadded = 8192 * per_page(583, 68);
    assert!(packed.rows >= unpadded && packed.rows < unpadded + unpadded / 1000);
    // Frontiers: 20 layers of 128 tokens of 512 values, 21 of 8 of 1024 and of 8 of 256; v and z.
    let frontiers = (20 * 128 * 512 + 21 * 8 * (1024 + 256)) * 2 * 4;
    // Raw windows in F32: 43 layers of 128 rows of 512 floats, 11.3 MB.
    let windows = |e: Estimate| e.slots - frontiers;
    assert_eq!(windows(exact), 43 * 128 * 2048);
    assert!(windows(packed) < 3_300_000, "{}", windows(packed));
}

/// Full-size Flash and Pro files load through the same code. Their data is a hole in a sparse file:
/// the directory, every binding and every table are real.
#[test]
fn full_size_files_load() {
    for shape in [Shape::flash(), Shape::pro()] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("full.gguf");
        write_sparse(&path, &shape);
        let file = File::open(&path).expect("a valid file");
        let stated = read_shape(&file).expect("a shape");
        assert_eq!(stated, shape);
        assert_eq!(check_tensors(&file, &shape), []);
        let options = options(RowFormat::Packed, 1, 65_536);
        let mut cpu = backend::Cpu::new();
        let model = Model::load(&mut cpu, &file, stated, options, &mut |_| {}).expect("a model");
        assert_eq!(model.shape(), &shape);
        let held = cpu.reserved();
        let estimate = Estimate::new(&file, &shape, options).expect("an estimate");
        assert_eq!(held.weights, estimate.weights);
        assert_eq!(held.buffers, estimate.tables + estimate.scratch);
        let published_gib = 80.76;
        let gib = held.weights as f64 / (1u64 << 30) as f64;
        assert!(shape != Shape::flash() || (gib - published_gib).abs() < 0.05, "{gib}");
    }
}

/// A file of the q2 recipe whose tensor data is all zeros that take no space on disk.
fn write_sparse(path: &std::path::Path, shape: &Shape) {
    use spec::Class;
    let format = |class: Class| match class {
        Class::Embedding | Class::HyperMatrix | Class::Compressor => Format::F16,
        Class::Indexer | Class::Router => Format::F16,
        Class::Head | Class::Attention | Class::SharedExpert => Format::Q8_0,
        Class::ExpertGateUp => Format::Iq2Xxs,
        Class::ExpertDown => Format::Q2K,
        Class::RouteTable => Format::I32,
        Class::Norm | Class::HyperVector | Class::Sinks | Class::RouteBias => Format::F32,
    };
    let plan = |spec: spec::TensorSpec| TensorPlan {
        format: format(spec.class),
        name: spec.name,
        dims: spec.dims,
    };
    let plans: Vec<_> = spec::tensors(shape).into_iter().map(plan).collect();
    let bytes = |plan: &TensorPlan| {
        let rows: usize = plan.dims[1..].iter().product();
        plan.format.row_bytes(plan.dims[0]).expect("whole blocks") * rows
    };
    let mut writer = Writer::create(path, &metadata(shape), &plans).expect("a writable file");
    for plan in &plans {
        writer.write_zeros(bytes(plan)).expect("a hole");
    }
    writer.finish().expect("a finished file");
}

/// Once it has run, a decode step of the fast backend, a steered one too, takes nothing from the
/// allocator, at any instruction set: what it computes with is kept. Workers run the same code as
/// the thread that calls, whose allocations are counted.
#[test]
fn a_decode_step_allocates_nothing() {
    for level in Level::available() {
        for (count, importance) in [(1, false), (2, false), (1, true)] {
            let cpu = CpuSimd::new(&Threads { count, processors: Vec::new() }, level);
            let limits = crate::support::LIMITS;
            let options = Options { rows: RowFormat::Packed, limits, importance };
            let mut rig = Rig::on(cpu, &tiny(), options);
            let mut cache = rig.model.open(&mut rig.cpu).expect("a session");
            let shape = rig.model.shape();
            let directions = vec![0.5; shape.layers * shape.hidden];
            rig.model.steer(&mut rig.cpu, &directions).expect("directions");
            cache.set_steer(model::Steer::new(0.1, -0.1).expect("scales"));
            let (tokens, mut logits) = (&prompts()["p300"], vec![0.0; rig.model.shape().vocab]);
            let mut feed = |tokens: &[_]| {
                let feed = Feed { cache: &mut cache, tokens, outputs: 1 };
                rig.model.forward(&mut rig.cpu, &mut [feed]).expect("a step");
                rig.model.logits_into(&mut rig.cpu, &mut [&mut logits]);
            };
            feed(&tokens[..200]);
            tokens[200..210].iter().for_each(|token| feed(&[*token]));
            // Up to the end of the page that was begun: a new page is memory that must be taken.
            for token in &tokens[210..250] {
                let taken = allocation_counter::measure(|| feed(&[*token]));
                let level = level.name();
                assert_eq!(taken.count_total, 0, "{level}, {count} threads: {taken:?}");
            }
        }
    }
}
