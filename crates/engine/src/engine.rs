//! Opening: from a file on disk to a model on a device, ready for sessions.
//!
//! An engine owns the device, the model and the tokenizer. It is opened once, with what it should
//! reserve, and does not read the file's metadata again.

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, RowFormat};
use gguf::File;
use model::{Estimate, KvLayout, Limits, Model, Options};
use spec::Shape;
use text::Tokenizer;

use crate::{Error, Session, read_tokenizer};

/// What to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// How KV rows are rounded and stored.
    pub rows: RowFormat,
    /// Tokens per session.
    pub context: usize,
    /// Sessions.
    pub sessions: usize,
    /// Tokens per step: how much of a prompt is computed between two looks at the callback.
    pub step_tokens: usize,
    /// Whether logits of every prompt position can be read, not only of the last.
    pub all_logits: bool,
    /// Bytes that may be reserved besides the weights; `None` leaves it to the system.
    pub memory_max: Option<usize>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            rows: RowFormat::Packed,
            context: 4096,
            sessions: 1,
            step_tokens: 512,
            all_logits: false,
            memory_max: None,
        }
    }
}

impl OpenOptions {
    /// The same, as the model takes it.
    pub fn model_options(&self) -> Options {
        let step_outputs = if self.all_logits { self.step_tokens } else { self.sessions };
        let OpenOptions { rows, context, sessions, step_tokens, .. } = *self;
        let (slots, row_pages) = (sessions, sessions * KvLayout::pages(context));
        let limits = Limits { step_tokens, step_outputs, sessions, context, slots, row_pages };
        Options { rows, limits }
    }

    /// Bytes that an engine with these options reserves for `shape`, besides weights and tables.
    fn reserves(&self, shape: &Shape) -> usize {
        Estimate::state(shape, self.model_options()).total()
    }

    fn check(&self, file: &File, shape: &Shape) -> Result<(), Error> {
        let (context, native) = (self.context, shape.context_max);
        let (sessions, step) = (self.sessions, self.step_tokens);
        let rooms = [("tokens", context), ("sessions", sessions), ("tokens per step", step)];
        for (what, room) in rooms {
            if room == 0 {
                return Err(Error::NoRoom { what });
            }
        }
        if context > native {
            return Err(Error::ContextTooLarge { context, native });
        }
        let (needed, available) = (self.reserves(shape), self.memory_max.unwrap_or(usize::MAX));
        if needed <= available {
            return Ok(());
        }
        let fits = |&context: &usize| OpenOptions { context, ..*self }.reserves(shape) <= available;
        let halves = std::iter::successors(Some(context / 2), |c| Some(c / 2));
        let fits = halves.take_while(|c| *c > 0).find(fits);
        let fits = fits.map_or(String::new(), |c| format!(", {c} fits"));
        Err(Error::Memory { file: file.name().to_owned(), needed, available, context, fits })
    }
}

/// A loaded model on its device.
pub struct Engine {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) model: Model,
    file: File,
    tokenizer: Option<Arc<Tokenizer>>,
    options: OpenOptions,
    /// Logits of the last step, `[R, V]`.
    pub(crate) rows: Vec<f32>,
}

impl Engine {
    /// Opens the model in the file at `path`, to be run on `backend`.
    ///
    /// # Errors
    /// A file that is not a model of the family or does not fit its own metadata, a context larger
    /// than the model's, too little memory.
    pub fn open(
        path: &Path,
        backend: Box<dyn Backend>,
        options: OpenOptions,
    ) -> Result<Engine, Error> {
        Engine::from_file(File::open(path)?, backend, options)
    }

    /// Opens the model in an already opened file.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub fn from_file(
        file: File,
        mut backend: Box<dyn Backend>,
        options: OpenOptions,
    ) -> Result<Engine, Error> {
        let shape = model::read_shape(&file)?;
        options.check(&file, &shape)?;
        let model = Model::load(&mut *backend, &file, shape, options.model_options())?;
        let tokenizer = read_tokenizer(&file, model.shape().vocab)?.map(Arc::new);
        Ok(Engine { backend, model, file, tokenizer, options, rows: Vec::new() })
    }

    /// The model's numbers.
    pub fn shape(&self) -> &Shape {
        self.model.shape()
    }

    /// The model's file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The device, for people.
    pub fn device(&self) -> String {
        self.backend.describe()
    }

    /// Starts timing kernels, where a device can; the times since the last call.
    pub fn profile(&mut self) -> Vec<backend::KernelTime> {
        self.backend.profile()
    }

    /// What it was opened with.
    pub fn options(&self) -> OpenOptions {
        self.options
    }

    /// Bytes held on the device now.
    pub fn reserved(&self) -> backend::Reserved {
        self.backend.reserved()
    }

    /// The file's tokenizer.
    ///
    /// # Errors
    /// The file has none.
    pub fn tokenizer(&self) -> Result<Arc<Tokenizer>, Error> {
        let none = || Error::NoTokenizer { file: self.file.name().to_owned() };
        self.tokenizer.clone().ok_or_else(none)
    }

    /// Opens an empty session.
    ///
    /// # Errors
    /// All sessions are in use, or out of memory.
    pub fn open_session(&mut self) -> Result<Session, Error> {
        Ok(Session::new(self.model.open(&mut *self.backend)?))
    }
}
