//! Pages of a pool and who holds them.
//!
//! A [`Page`] is a share: it may be cloned, and goes back to its pool when the last holder lets go.
//! So nobody counts by hand, and a cache that is dropped, by an error or on purpose, leaves nothing
//! behind. What a page contains is no matter of this file.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use backend::{Device, Pool};

use crate::Error;

/// A share of one page.
#[derive(Clone, Debug)]
pub struct Page(Arc<Lease>);

/// A page number on loan from a pool.
#[derive(Debug)]
struct Lease {
    number: u32,
    free: Free,
    label: Label,
}

/// A name that is given once, by whoever comes to know it. Clones are one label.
pub type Label = Arc<OnceLock<[u8; 32]>>;

/// Numbers that nobody holds.
type Free = Arc<Mutex<Vec<u32>>>;

impl Page {
    /// Whether nobody else holds it.
    pub fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// How many shares of it there are.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Tells pages apart that exist at the same time.
    pub fn address(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    /// Whether both are shares of one page.
    pub fn is(&self, other: &Page) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What it is called outside: the hash of its bytes for example, since a page that is filled
    /// does not change any more. A label does not hold the page.
    pub fn label(&self) -> &Label {
        &self.0.label
    }

    /// Its place in the pool.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.free).push(self.number);
    }
}

/// A pushed or popped number leaves the list whole, so a panic elsewhere spoils nothing.
fn lock(free: &Free) -> std::sync::MutexGuard<'_, Vec<u32>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which pages of a pool are free. The pool grows on demand, up to a limit.
#[derive(Debug)]
pub(crate) struct PageList {
    total: usize,
    limit: usize,
    free: Free,
}

impl PageList {
    /// No pages yet, and at most `limit`.
    pub fn new(limit: usize) -> PageList {
        PageList { total: 0, limit, free: Free::default() }
    }

    /// Pages there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes how many there may be. Pages beyond that stay with those who hold them.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Pages that can still be taken.
    pub fn left(&self) -> usize {
        (self.limit + lock(&self.free).len()).saturating_sub(self.total)
    }

    /// A page that nobody holds, with whatever it contained; `None` at the limit.
    ///
    /// # Errors
    /// The device has no memory for another one.
    pub fn take(
        &mut self,
        device: &mut dyn Device,
        pool: &mut Pool,
        what: &str,
    ) -> Result<Option<Page>, Error> {
        if self.left() == 0 {
            return Ok(None);
        }
        let freed = lock(&self.free).pop();
        let number = match freed {
            Some(number) => number,
            None => {
                device.grow(pool, self.total + 1).map_err(Error::doing(what))?;
                self.total += 1;
                self.total as u32 - 1
            }
        };
        Ok(Some(Page(Arc::new(Lease { number, free: self.free.clone(), label: Label::default() }))))
    }
}
