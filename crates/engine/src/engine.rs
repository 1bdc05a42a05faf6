//! Opening: from a file on disk to a model on a device, ready for sessions.
//!
//! An engine owns the device, the model and the tokenizer. It is opened once, with what it should
//! reserve, and does not read the file's metadata again.

use std::path::Path;
use std::sync::Arc;

use backend::{Backend, RowFormat};
use gguf::File;
use model::{Estimate, KvLayout, LayerSums, Limits, Model, Options, Page};
use spec::Shape;
use text::Tokenizer;

use crate::checkpoints::Checkpoints;
use crate::steering::Directions;
use crate::tree::Tree;
use crate::{Error, Session, read_tokenizer};

/// What to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// How KV rows are rounded and stored.
    pub rows: RowFormat,
    /// Tokens per session.
    pub context: usize,
    /// Sessions that are open at once.
    pub sessions: usize,
    /// Bytes of row pages, which all sessions share; `None` is enough for every session's whole
    /// context.
    pub row_bytes_max: Option<usize>,
    /// Bytes on the host for states that can be gone back to or shared; 0 keeps none.
    pub anchor_bytes_max: usize,
    /// Tokens from one such state of a prompt to the next; a multiple of 128.
    pub anchor_tokens: usize,
    /// Tokens that are guessed at most before the model is asked; 0 guesses none.
    pub drafts_max: usize,
    /// Tokens per step: how much of a prompt is computed between two looks at the callback.
    pub step_tokens: usize,
    /// Whether logits of every prompt position can be read, not only of the last.
    pub all_logits: bool,
    /// Whether to note which columns of the expert matrices matter; see
    /// [`Engine::take_importance`].
    pub importance: bool,
    /// Bytes that may be reserved besides the weights; `None` leaves it to the system.
    pub memory_max: Option<usize>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            rows: RowFormat::Packed,
            context: 4096,
            sessions: 1,
            row_bytes_max: None,
            anchor_bytes_max: 0,
            anchor_tokens: 2048,
            drafts_max: 0,
            step_tokens: 512,
            all_logits: false,
            importance: false,
            memory_max: None,
        }
    }
}

impl OpenOptions {
    /// The same, as the model takes it.
    pub fn model_options(&self, shape: &Shape) -> Options {
        let OpenOptions { rows, context, sessions, step_tokens, drafts_max, .. } = *self;
        let step_outputs =
            if self.all_logits { step_tokens } else { sessions.saturating_mul(1 + drafts_max) };
        let slots = if drafts_max > 0 { sessions.saturating_mul(2) } else { sessions };
        let all = sessions.saturating_mul(KvLayout::pages(context));
        let page_bytes = KvLayout::new(shape, rows).page_bytes.max(1);
        let row_pages = self.row_bytes_max.map_or(all, |bytes| all.min(bytes / page_bytes));
        let limits = Limits { step_tokens, step_outputs, sessions, context, slots, row_pages };
        Options { rows, limits, importance: self.importance }
    }

    /// Bytes that an engine with these options reserves for `shape`, besides weights and tables.
    fn reserves(&self, shape: &Shape) -> usize {
        Estimate::state(shape, self.model_options(shape)).total()
    }

    fn check(&self, file: &File, shape: &Shape) -> Result<(), Error> {
        let (context, native) = (self.context, shape.context_max);
        let (sessions, step) = (self.sessions, self.step_tokens);
        let pages = self.model_options(shape).limits.row_pages;
        let rooms = [
            ("tokens", context),
            ("sessions", sessions),
            ("tokens per step", step),
            ("row pages", pages),
            ("tokens from one kept state to the next", self.anchor_tokens),
        ];
        for (what, room) in rooms {
            if room == 0 {
                return Err(Error::NoRoom { what });
            }
        }
        if context > native {
            return Err(Error::ContextTooLarge { context, native });
        }
        if sessions > step {
            return Err(Error::StepTooSmall { sessions, step });
        }
        let drafts = KvLayout::new(shape, self.rows).drafts_max();
        if self.drafts_max > drafts {
            return Err(Error::Drafts { asked: self.drafts_max, most: drafts });
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
    pub(crate) file: File,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    options: OpenOptions,
    /// States to go on from.
    pub(crate) tree: Tree<Page>,
    /// The same on disk.
    pub(crate) checkpoints: Option<Checkpoints>,
    /// What sessions can be steered along.
    pub(crate) directions: Option<Directions>,
    /// Logits of the last step of those that wanted several rows, `[R, V]`.
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
        backend: Box<dyn Backend>,
        options: OpenOptions,
    ) -> Result<Engine, Error> {
        Engine::from_file_watched(file, backend, options, &mut |_| {})
    }

    /// The same; `loaded` is told the bytes of each matrix that is there, which takes time where
    /// weights are copied to a device or repacked.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub fn from_file_watched(
        file: File,
        mut backend: Box<dyn Backend>,
        options: OpenOptions,
        loaded: &mut dyn FnMut(usize),
    ) -> Result<Engine, Error> {
        let shape = model::read_shape(&file)?;
        options.check(&file, &shape)?;
        let model_options = options.model_options(&shape);
        let model = Model::load(&mut *backend, &file, shape, model_options, loaded)?;
        let tokenizer = read_tokenizer(&file, model.shape().vocab)?.map(Arc::new);
        let tree = Tree::new(model.layout().page_bytes);
        let (checkpoints, directions, rows) = (None, None, Vec::new());
        Ok(Engine { backend, model, file, tokenizer, options, tree, checkpoints, directions, rows })
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

    /// Tokens that a session can come to: what was asked for, or what all row pages hold if that is
    /// less.
    pub fn context(&self) -> usize {
        let rows = self.model.limits().row_pages.saturating_mul(backend::PAGE_TOKENS);
        self.options.context.min(rows)
    }

    /// Lets sessions come to `context` tokens from now on. They stay as they are, and so does what
    /// is kept to go on from; one that is longer can only be gone back in.
    ///
    /// # Errors
    /// A context larger than the model's, too little memory: nothing has changed.
    pub fn set_context(&mut self, context: usize) -> Result<(), Error> {
        let options = OpenOptions { context, ..self.options };
        options.check(&self.file, self.shape())?;
        let limits = options.model_options(self.shape()).limits;
        self.model.set_context(&mut *self.backend, limits.context, limits.row_pages)?;
        self.options = options;
        Ok(())
    }

    /// What the experts of each layer were given since the last call; see
    /// [`model::Model::take_importance`].
    ///
    /// # Panics
    /// If it was not opened with `importance`.
    pub fn take_importance(&mut self) -> Vec<LayerSums> {
        let sums = self.model.take_importance(&mut *self.backend);
        sums.expect("an engine opened to note the importance")
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

    /// Opens an empty session, which is steered in the usual way.
    ///
    /// # Errors
    /// All sessions are in use, or out of memory.
    pub fn open_session(&mut self) -> Result<Session, Error> {
        let mut session = Session::new(self.model.open(&mut *self.backend)?);
        session.cache.set_steer(self.way(None)?);
        Ok(session)
    }
}
