//! Cases of attention.

use crate::RowFormat;
use crate::conformance::{Case, Kit, Session};
use crate::ops::attend::{Beyond, Visible};
use crate::ops::index::NO_PICK;

#[derive(Clone, Copy, Debug)]
enum Reach {
    Window,
    All,
    Picked,
}

/// Two sessions with a past of ring and compressed rows attend in one step.
fn outputs(kit: &mut Kit, format: RowFormat, reach: Reach, heads: usize) -> Vec<f32> {
    const CONTEXT: usize = 512;
    let ratio = if matches!(reach, Reach::Picked) { 4 } else { 128 };
    let mut session = Session::new(kit, format, ratio, 2, CONTEXT);
    let paged = session.rows.rows;
    for page in 0..2 * CONTEXT / crate::PAGE_TOKENS {
        let mut block = vec![0; paged.block_bytes()];
        for row in 0..paged.rows_per_page() {
            let mut values = kit.numbers(512);
            paged.layout.store(&mut block, paged.rows_per_page(), row, &mut values);
        }
        kit.device().put_page(&mut session.kv.pages, page as u32, paged.offset, &block);
    }
    let mut fresh = kit.device().row_block(session.ring.layout, 256).expect("a small block");
    let past = kit.step(&[(0, 100, 1), (360, 140, 1)]);
    let x = kit.buffer(past.rows, 512);
    kit.b.store_rows(&x, &mut fresh, past.rows);
    kit.b.keep_window(&fresh, session.ring, &past, &mut session.kv);

    let step = kit.step(&[(100, 5, 1), (500, 3, 1)]);
    let (x, q, sinks) = (kit.buffer(8, 512), kit.buffer(8, heads * 512), kit.buffer(1, heads));
    kit.b.store_rows(&x, &mut fresh, 8);
    let picks = picks(kit);
    let beyond = match reach {
        Reach::Window => Beyond::Nothing,
        Reach::All => Beyond::All(paged),
        Reach::Picked => Beyond::Picked(paged, &picks),
    };
    let visible = Visible { fresh: &fresh, ring: session.ring, beyond };
    let mut out = kit.empty(8, heads * 512);
    kit.b.attend(&q, &sinks, &visible, &step, &session.kv, &mut out);
    kit.read(&out, 8)
}

/// Some picked rows per query, the second half of the list unused.
fn picks(kit: &mut Kit) -> crate::Buffer<u32> {
    let pick = |i: u32| if i % 32 < 16 { i % 16 } else { NO_PICK };
    let picks: Vec<u32> = (0..8 * 32).map(pick).collect();
    kit.filled(8, 32, &picks)
}

/// Every reach, in packed and exact rows.
pub fn cases() -> Vec<Case> {
    let reaches = [Reach::Window, Reach::All, Reach::Picked].into_iter();
    let all = reaches.flat_map(|r| [(r, RowFormat::Packed), (r, RowFormat::ExactF32)]);
    let case = |(reach, format)| {
        let name = format!("attend {reach:?}, {format:?}");
        Case::new(name, 1e-5, move |kit: &mut Kit| outputs(kit, format, reach, 16))
    };
    all.map(case).collect()
}
