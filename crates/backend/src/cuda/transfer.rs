//! Bytes on their way between host and device.
//!
//! The device reads and writes host memory by itself only where it is never paged out, and is
//! several times as fast then. So everything large passes through pieces of such memory: while some
//! pieces travel, the next is filled, from the page cache by many threads at once.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::slice::from_raw_parts_mut;

use cudarc::driver::{CudaEvent, result, sys};
use rayon::prelude::*;

use super::driver::{Address, Gpu, failed};
use crate::Error;

/// Bytes of a piece: enough that starting a copy is nothing beside it.
pub const PIECE_BYTES: usize = 32 << 20;
/// Pieces: one is filled, two travel, and one ends.
const PIECES: usize = 4;
/// Bytes that are downloaded at once: the logits of some thirty tokens.
const DOWNLOAD_BYTES: usize = 16 << 20;

/// Host memory that is never paged out.
struct Pinned(*mut u8);

// SAFETY: owned, and used through `&Gpu` by one thread at a time.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(bytes: usize) -> Result<Pinned, Error> {
        // SAFETY: the context is current.
        let memory = unsafe { result::malloc_host(bytes, 0) };
        let at: *mut u8 = memory.map_err(failed("reserving staging memory"))?.cast();
        // SAFETY: so many bytes were just reserved.
        unsafe { at.write_bytes(0, bytes) };
        Ok(Pinned(at))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: reserved by `new`, freed once. An error has nobody to go to.
        let _ = unsafe { result::free_host(self.0.cast()) };
    }
}

/// What a device has of such memory.
pub struct Staging {
    download: Pinned,
    /// In the order in which they were sent, which is that of their arrival. There are as many as
    /// have been needed at once.
    upload: RefCell<VecDeque<Piece>>,
}

struct Piece {
    memory: Pinned,
    /// When it has arrived.
    arrived: CudaEvent,
}

impl Staging {
    /// Memory for downloads.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> Result<Staging, Error> {
        let download = Pinned::new(DOWNLOAD_BYTES)?;
        Ok(Staging { download, upload: RefCell::default() })
    }
}

impl Gpu {
    /// Copies to the device; returns when `data` may be changed.
    ///
    /// # Errors
    /// The device failed.
    pub fn upload(&self, address: Address, data: &[u8]) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: callers stay within their memory; pageable memory is staged before the return.
        unsafe { result::memcpy_htod_async(address, data, self.stream.cu_stream()) }
            .map_err(failed("copying to the device"))
    }

    /// Copies from the device, to places of which each gets what follows that of the one before;
    /// earlier work is done first. What came together is handed out by many threads.
    ///
    /// # Errors
    /// The device failed, now or in the work before.
    pub fn download(&self, address: Address, outs: &mut [&mut [u8]]) -> Result<(), Error> {
        let pieces = outs.iter_mut().flat_map(|out| out.chunks_mut(DOWNLOAD_BYTES));
        let mut pieces: Vec<&mut [u8]> = pieces.collect();
        let (mut at, mut pieces) = (address, pieces.as_mut_slice());
        while !pieces.is_empty() {
            let (mut together, mut bytes) = (0, 0);
            while let Some(piece) = pieces.get(together)
                && bytes + piece.len() <= DOWNLOAD_BYTES
            {
                bytes += piece.len();
                together += 1;
            }
            let (now, after) = pieces.split_at_mut(together);
            self.hand_out(at, bytes, now)?;
            at += bytes as Address;
            pieces = after;
        }
        Ok(())
    }

    /// Copies `bytes` from the device to pieces that take so many together.
    fn hand_out(&self, at: Address, bytes: usize, pieces: &mut [&mut [u8]]) -> Result<(), Error> {
        self.bind()?;
        // SAFETY: the staging memory is large enough and has no other user: `Gpu` is not shared
        // between threads, and this call waits for what it started.
        let staging = unsafe { from_raw_parts_mut(self.staging.download.0, bytes) };
        // SAFETY: as above, and callers stay within their memory.
        unsafe { result::memcpy_dtoh_async(staging, at, self.stream.cu_stream()) }
            .map_err(failed("copying from the device"))?;
        self.wait()?;
        if let [piece] = pieces {
            piece.copy_from_slice(staging);
            return Ok(());
        }
        let (mut each, mut rest) = (Vec::with_capacity(pieces.len()), &*staging);
        for piece in pieces {
            let (own, after) = rest.split_at(piece.len());
            each.push((piece, own));
            rest = after;
        }
        each.into_par_iter().for_each(|(piece, own)| piece.copy_from_slice(own));
        Ok(())
    }

    /// Copies what `fill` writes, at most `PIECE_BYTES`, to the device. Returns while it is on
    /// its way; what is sent or launched later finds it there.
    ///
    /// # Errors
    /// No memory to copy from, or the device failed.
    pub fn send(
        &self,
        address: Address,
        bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        assert!(bytes <= PIECE_BYTES, "a piece of {bytes} bytes");
        if bytes == 0 {
            return Ok(());
        }
        self.bind()?;
        let doing = failed("copying to the device");
        let mut pieces = self.staging.upload.borrow_mut();
        let all_travel = pieces.front().is_none_or(|piece| !piece.arrived.is_complete());
        let memory = if all_travel && pieces.len() < PIECES {
            Pinned::new(PIECE_BYTES)?
        } else {
            let oldest = pieces.pop_front().expect("some travel");
            oldest.arrived.synchronize().map_err(&doing)?;
            oldest.memory
        };
        // SAFETY: the piece is large enough, and nobody reads it: what was sent from it has
        // arrived.
        let piece = unsafe { from_raw_parts_mut(memory.0, bytes) };
        fill(piece);
        // SAFETY: callers stay within their memory; the piece is not written before it has arrived.
        unsafe { result::memcpy_htod_async(address, piece, self.stream.cu_stream()) }
            .map_err(&doing)?;
        let flags = Some(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        let arrived = self.stream.record_event(flags).map_err(|error| {
            // Nobody will know when the piece may go; so it goes when nothing travels any more.
            drop(self.wait());
            doing(error)
        })?;
        pieces.push_back(Piece { memory, arrived });
        Ok(())
    }
}
