//! Who answers: the engine's worker in this process, or a script in tests.
//!
//! The interface is the engine's own, so that whatever holds for a scripted model holds for the
//! real one: a request is handed in with a sink, its events come in the engine's order.

use engine::serve::{Handle, Info, Request, Sink, Ticket};
use spec::TokenId;

/// Answers prompts.
pub trait Model: Send + Sync {
    /// Hands a request in; its events go to `sink`. See [`Handle::submit`].
    ///
    /// # Errors
    /// Too many requests wait already, or the worker has stopped.
    fn submit(&self, request: Request, sink: Box<dyn Sink>) -> Result<Ticket, engine::Error>;

    /// Forgets the states that `tokens` begins with and that are longer than `spared` tokens; how
    /// many of them were on disk. See [`Handle::forget`].
    ///
    /// # Errors
    /// One could not be deleted, or the worker has stopped.
    fn forget(&self, tokens: &[TokenId], spared: usize) -> Result<usize, engine::Error>;

    /// Lets conversations come to so many tokens from now on. See [`Handle::set_context`].
    ///
    /// # Errors
    /// It is more than the model or the memory has room for, or the worker has stopped.
    fn set_context(&self, tokens: usize) -> Result<usize, engine::Error>;

    /// What is known of it: its tokenizer, its file, its context.
    fn info(&self) -> &Info;
}

impl Model for Handle {
    fn submit(&self, request: Request, sink: Box<dyn Sink>) -> Result<Ticket, engine::Error> {
        Handle::submit(self, request, sink)
    }

    fn forget(&self, tokens: &[TokenId], spared: usize) -> Result<usize, engine::Error> {
        Handle::forget(self, tokens.to_vec(), spared)
    }

    fn set_context(&self, tokens: usize) -> Result<usize, engine::Error> {
        Handle::set_context(self, tokens)
    }

    fn info(&self) -> &Info {
        Handle::info(self)
    }
}
