//! Steering of sessions, and what directions are found from.
//!
//! Rows, windows and frontiers depend on how the model was steered when they were computed, so how
//! a session is steered is a part of the name of every state: the prefix tree has a root for each
//! way, checkpoints have a variant, and a session that is steered otherwise forgets what it holds
//! (`model::Cache` sees to that). Directions are loaded once per engine; on disk their hash tells
//! them apart.

use model::{Point, Steer};
use spec::TokenId;

use crate::session::Advance;
use crate::{Engine, Error, Session};

/// What an engine has loaded to steer with.
#[derive(Clone, Debug)]
pub(crate) struct Directions {
    /// Of the numbers, as hexadecimal digits.
    hash: String,
    /// How sessions are steered of which nobody says it.
    usual: Steer,
}

impl Engine {
    /// Loads directions, `[L, D]`, along which sessions can be steered from now on: those that are
    /// opened then by `usual`, unless [`Engine::set_steer`] says otherwise.
    ///
    /// # Errors
    /// Directions of another size, or that are no numbers; too little memory.
    ///
    /// # Panics
    /// If directions were loaded before.
    pub fn load_directions(&mut self, directions: &[f32], usual: Steer) -> Result<(), Error> {
        assert!(self.directions.is_none(), "directions are loaded once");
        self.model.steer(&mut *self.backend, directions)?;
        let mut hasher = blake3::Hasher::new();
        for v in directions {
            hasher.update(&v.to_le_bytes());
        }
        let hash = hasher.finalize().to_hex()[..16].to_owned();
        self.directions = Some(Directions { hash, usual });
        Ok(())
    }

    /// How sessions are steered that are opened; `None` if no directions are loaded.
    pub fn steering(&self) -> Option<Steer> {
        self.directions.as_ref().map(|directions| directions.usual)
    }

    /// Steers `session` from now on. If that is another way than before, it is empty then.
    ///
    /// # Errors
    /// No directions are loaded.
    pub fn set_steer(&self, session: &mut Session, steer: Steer) -> Result<(), Error> {
        let steer = self.way(Some(steer))?;
        if session.steer() != steer {
            session.clear();
            session.cache.set_steer(steer);
        }
        Ok(())
    }

    /// How to steer if that is wanted; the usual way if nothing is.
    ///
    /// # Errors
    /// No directions are loaded.
    pub(crate) fn way(&self, wanted: Option<Steer>) -> Result<Steer, Error> {
        match (wanted, self.steering()) {
            (Some(steer), usual) if steer.is_none() || usual.is_some() => Ok(steer),
            (Some(_), _) => Err(Error::NoDirections),
            (None, usual) => Ok(usual.unwrap_or_default()),
        }
    }

    /// What sessions are steered by of which nobody says it: a name of directions and scales.
    /// `None` if they are not steered.
    pub fn steered(&self) -> Option<String> {
        self.name_of(self.steering()?)
    }

    fn name_of(&self, way: Steer) -> Option<String> {
        let Directions { hash, .. } = self.directions.as_ref().filter(|_| !way.is_none())?;
        // The shortest digits that are read as the same number.
        Some(format!("{hash} ffn {:e} attn {:e}", way.ffn(), way.attention()))
    }

    /// What checkpoints of a way are known by; see `kvstore::Entry::variant`.
    pub(crate) fn variant(&self, way: Steer) -> String {
        self.name_of(way).map_or(String::new(), |name| format!("; steered {name}"))
    }

    /// What every layer writes at `point`, `[L, D]`: the mean over the last `last` tokens of a
    /// prompt, in a session of its own that is not steered. `last` is as many as there are at most,
    /// and at least one.
    ///
    /// # Errors
    /// As for [`Engine::sync`], and too little memory.
    pub fn activations(
        &mut self,
        prompt: &[TokenId],
        last: usize,
        point: Point,
    ) -> Result<Vec<f32>, Error> {
        self.check_prompt(prompt.len(), 0)?;
        let mut session = self.open_session()?;
        self.set_steer(&mut session, Steer::NONE)?;
        let Engine { model, backend, .. } = self;
        model.tap(&mut **backend, Some(point))?;
        let looked = self.look(&mut session, prompt, last);
        let Engine { model, backend, .. } = self;
        model.tap(&mut **backend, None)?;
        looked
    }

    fn look(
        &mut self,
        session: &mut Session,
        prompt: &[TokenId],
        last: usize,
    ) -> Result<Vec<f32>, Error> {
        let last = last.clamp(1, prompt.len());
        let (before, behind) = prompt.split_at(prompt.len() - last);
        for tokens in before.chunks(self.options().step_tokens) {
            self.advance(&mut [Advance { session: &mut *session, tokens, outputs: 0 }])?;
        }
        let mut sums: Vec<f64> = Vec::new();
        for token in behind {
            self.step(session, *token)?;
            let Engine { model, backend, .. } = self;
            let seen = model.seen(&mut **backend);
            sums.resize(seen.len(), 0.0);
            sums.iter_mut().zip(seen).for_each(|(sum, v)| *sum += f64::from(v));
        }
        Ok(sums.into_iter().map(|sum| (sum / last as f64) as f32).collect())
    }
}
