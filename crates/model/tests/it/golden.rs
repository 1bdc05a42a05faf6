//! Golden logits.

use backend::RowFormat;

use crate::support::{Rig, array, difference, golden, prompts};

#[test]
fn tiny_gguf_logits() {
    let file = gguf::File::open(&golden("tiny.gguf")).unwrap();
    let mut exact = Rig::new(&file, RowFormat::ExactF32);
    let mut rounded = Rig::new(&file, RowFormat::RoundedF32);
    for (name, tokens) in prompts() {
        let vocab = exact.model.shape().vocab;
        let (_, want) = array("tiny_gguf_logits.npz", &name);
        let logits = exact.feed(&tokens, 1024);
        let (median, max) = difference(&logits[logits.len() - 16.min(tokens.len()) * vocab..], &want);
        println!("{name} exact: median {median:.2e}, max {max:.2e}");
        let (_, want) = array("tiny_gguf_logits.npz", &format!("{name}_qat"));
        let logits = rounded.feed(&tokens, 1024);
        let (median, max) = difference(&logits[logits.len() - 16.min(tokens.len()) * vocab..], &want);
        println!("{name} rounded: median {median:.2e}, max {max:.2e}");
    }
}
