//! Cases of storing and keeping rows.

use crate::RowFormat;
use crate::conformance::{Case, Kit, Session};

const FORMATS: [RowFormat; 4] =
    [RowFormat::Packed, RowFormat::UnpackedF32, RowFormat::RoundedF32, RowFormat::ExactF32];

/// The bytes of every ring after two sessions were fed in uneven pieces, one longer than the
/// window, one a single row.
fn rings(kit: &mut Kit, format: RowFormat) -> Vec<f32> {
    let mut session = Session::new(kit, format, 4, 2, 512);
    let steps: [&[_]; 3] = [&[(0, 3, 1), (0, 130, 1)], &[(3, 200, 1), (130, 1, 1)], &[(203, 1, 1)]];
    let mut fresh = kit.device().row_block(session.ring.layout, 256).expect("a small block");
    for segments in steps {
        let step = kit.step(segments);
        let x = kit.buffer(step.rows, 512);
        kit.b.store_rows(&x, &mut fresh, step.rows);
        kit.b.keep_window(&fresh, session.ring, &step, &mut session.kv);
    }
    kit.b.submit().expect("the device works");
    let bytes = session.ring.layout.block_bytes(session.ring.rows);
    let pages = [0, 1].map(|slot| kit.device().page(&session.kv.slots, slot));
    pages.iter().flat_map(|page| page[..bytes].iter().map(|&b| b as f32)).collect()
}

/// One per row format: bytes must be equal.
pub fn cases() -> Vec<Case> {
    let case = |format| {
        let name = format!("store_rows and keep_window, {format:?}");
        Case::new(name, 0.0, move |kit: &mut Kit| rings(kit, format))
    };
    FORMATS.into_iter().map(case).collect()
}
