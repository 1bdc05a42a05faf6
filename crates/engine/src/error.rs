//! What can go wrong between a model file and a sampled token.
//!
//! Errors of lower crates pass through as they are: they already name their file, key or tensor.
//! Where there is a command or flag that helps, the message says it.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read as GGUF.
    #[error(transparent)]
    File(#[from] gguf::Error),
    /// The file is not a model that can run, or a step failed.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The tokenizer in the file does not work, or does not fit the model.
    #[error("{file}: {message}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file has no tokenizer, and text was given or asked for.
    #[error(
        "{file} has no tokenizer: feed token ids with `dwarfstar logits --tokens`, or make the \
         file again with `dwarfstar quantize --tokenizer tokenizer.json`"
    )]
    NoTokenizer {
        /// The file.
        file: String,
    },
    /// A prompt cannot be made into tokens.
    #[error(transparent)]
    Text(#[from] text::Error),
    /// A sampling setting that means nothing.
    #[error("{setting} must be {low} to {high}, found {value}")]
    Sampling {
        /// The setting.
        setting: &'static str,
        /// What was given.
        value: f32,
        /// The smallest value.
        low: f32,
        /// The largest value.
        high: f32,
    },
    /// Room for nothing.
    #[error("cannot reserve room for 0 {what}")]
    NoRoom {
        /// What there would be no room for.
        what: &'static str,
    },
    /// Every session must be able to go on in every step.
    #[error("steps of {step} tokens are too small for {sessions} sessions")]
    StepTooSmall {
        /// Sessions.
        sessions: usize,
        /// Tokens per step.
        step: usize,
    },
    /// More guessed tokens than can be taken back.
    #[error("{asked} drafted tokens per step: this model can take back {most} at most")]
    Drafts {
        /// What was asked for.
        asked: usize,
        /// What is possible.
        most: usize,
    },
    /// What would be reserved is more than the caller has.
    #[error(
        "{file} needs {needed} bytes besides its weights for a context of {context} tokens, and \
         {available} are available: use a smaller --ctx{fits}"
    )]
    Memory {
        /// The file.
        file: String,
        /// Bytes that would be reserved.
        needed: usize,
        /// Bytes that may be reserved.
        available: usize,
        /// Tokens of the context asked for.
        context: usize,
        /// The largest context that fits, as text to append; empty if none does.
        fits: String,
    },
    /// Checkpoints cannot be kept or read.
    #[error(transparent)]
    Store(#[from] kvstore::Error),
    /// A checkpoint's parts do not fit together.
    #[error("checkpoint {id} is not a state of this model")]
    Checkpoint {
        /// Which.
        id: String,
    },
    /// More requests than can wait.
    #[error("busy: {requests} requests are running or waiting already")]
    Busy {
        /// How many.
        requests: usize,
    },
    /// The state that a request goes on from has given way to others.
    #[error("the state to go on from is not in memory any more: send the whole prompt")]
    StateGone,
    /// Answers that are being written may need the room that is to be given up.
    #[error("the context cannot be made smaller while {requests} requests run: try again later")]
    InUse {
        /// How many.
        requests: usize,
    },
    /// The worker has ended.
    #[error("the engine has stopped")]
    Stopped,
    /// The worker could not begin.
    #[error("could not start the engine's thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// A constraint on the answer could not be kept.
    #[error("the answer's form: {message}")]
    Constraint {
        /// Why.
        message: String,
    },
    /// A session should be steered, and there is nothing to steer it with.
    #[error("no directions are loaded to steer with: start with --steer FILE")]
    NoDirections,
    /// Nothing to feed.
    #[error("the prompt is empty: there is no token to continue from")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt} tokens, the context holds {context}{}",
        advice(*.needed, *.native)
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens of the context.
        context: usize,
        /// The smallest context that would do.
        needed: usize,
        /// The model's native context.
        native: usize,
    },
    /// The prompt leaves no room for an answer in the memory for KV rows, which holds less than a
    /// context.
    #[error(
        "the prompt has {prompt} tokens, and the memory for KV rows holds {rows}: shorten it, or \
         reserve more bytes for rows"
    )]
    PromptBeyondRows {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens that all row pages hold.
        rows: usize,
    },
    /// The context asked for is larger than the model was trained for.
    #[error("a context of {context} tokens: this model has {native} at most")]
    ContextTooLarge {
        /// What was asked for.
        context: usize,
        /// The model's native context.
        native: usize,
    },
    /// The model computed something that is not a number.
    #[error(
        "{file}: the model's output at position {position} is not a number, so some weights are \
         damaged: `dwarfstar inspect --check {file}` finds the tensor"
    )]
    NotFinite {
        /// The file.
        file: String,
        /// The position whose logits are bad.
        position: usize,
    },
}

impl Error {
    /// Whether the same request may be answered a moment later: others hold what it needs.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Error::Busy { .. } | Error::Stopped)
            || matches!(self, Error::Model(model::Error::Pages { .. }))
    }
}

fn advice(needed: usize, native: usize) -> String {
    if needed <= native {
        format!(": use --ctx {needed} or more")
    } else {
        format!(", and this model has {native} at most: shorten the prompt")
    }
}
