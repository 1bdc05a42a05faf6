//! From what was asked to the prompt that the model reads.
//!
//! Readers say what was asked; what the model file and the server's flags have to say about the
//! form of a prompt is in [`Form`].

use text::{Checkpoint, Effort, Piece, Prompt, RenderOptions, ToolsPlace, render, special};

use crate::ask::{Ask, What};
use crate::refusal::{Reason, Refusal};

/// The smallest context in which the model is asked to reason as hard as it can. The model card
/// asks for 384K tokens.
const EFFORT_MAX_CONTEXT: usize = 384 << 10;

/// What decides about prompts besides requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// Which release the weights are of.
    pub checkpoint: Checkpoint,
    /// Where the tools stand.
    pub tools_place: ToolsPlace,
    /// Tokens of the context.
    pub context: usize,
}

/// The prompt of a request.
///
/// # Errors
/// None that a reader lets through.
pub fn prompt(ask: &Ask, form: Form) -> Result<Prompt, Refusal> {
    let dialogue = match &ask.what {
        What::Raw(text) => {
            let begin = Piece::Special(special::BOS.into());
            return Ok(Prompt { pieces: vec![begin, Piece::Text(text.clone())] });
        }
        What::Dialogue(dialogue) => dialogue,
    };
    let too_hard = |effort: &Effort| *effort == Effort::Max && form.context < EFFORT_MAX_CONTEXT;
    let options = RenderOptions {
        mode: ask.thinking.mode,
        effort: ask.thinking.effort.filter(|effort| !too_hard(effort)),
        checkpoint: form.checkpoint,
        drop_thinking: !dialogue.keeps_reasoning,
        tools_place: form.tools_place,
        context: dialogue.rendered,
        ..RenderOptions::default()
    };
    let failed = |error: text::Error| Refusal::new(Reason::Failed, error.to_string());
    let mut prompt = render(&dialogue.conversation, &options).map_err(failed)?;
    if dialogue.rendered > 0 {
        // The state ends with the last token of a turn, which this one ends.
        prompt.pieces.insert(0, Piece::Special(special::EOS.into()));
    }
    Ok(prompt)
}
