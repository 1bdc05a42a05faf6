//! The HTTP server: four dialects of one conversation.
//!
//! Each dialect (`chat`, `completions`, `responses`, `messages`) has a pure reader, from the bytes
//! of a body to an [`Ask`], and a pure writer, from what the model says to the bytes of an answer.
//! What they share: how JSON is read and bounded (`body`), what a request may come to (`ask`), the
//! rules by which the messages of agents become the conversation that the model was trained on
//! (`dialogue`, `offers`, `prompt`), what writers are told (`said`), and how a client is told what
//! is wrong (`refusal`).
//!
//! Between the two is the answer (`answer`): the engine is asked, and tokens become events. Around
//! all of it is the wire (`http`).
//!
//! This crate must not know tensors, devices or flags. Start at `ask.rs`, then `chat/read.rs`.

mod answer;
mod app;
mod ask;
mod body;
pub mod chat;
pub mod completions;
mod dialect;
mod dialogue;
mod http;
mod loading;
mod log;
pub mod messages;
mod metrics;
mod offers;
mod prompt;
mod refusal;
mod replay;
pub mod responses;
mod said;
mod seal;
mod settings;

pub use answer::prepare::Choosing;
pub use ask::{Ask, Choice, Format, Steering, Thinking, What, Wishes};
pub use body::{BODY_BYTES_MAX, ReadOptions, VALUES_MAX};
pub use dialogue::Dialogue;
pub use http::serve;
pub use loading::Loading;
pub use offers::{Kind, Offers};
pub use prompt::{Form, prompt};
pub use refusal::{Reason, Refusal};
pub use said::{Answer, CallIds, Head, Prob, Seen, Usage, Writer};
pub use settings::{Error, Limits, Lines, Listen, Settings, Tls};
