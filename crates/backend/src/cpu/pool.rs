//! Threads that wait for work without going to sleep between two operations.
//!
//! A step is some thousand short operations, and waking a sleeping thread costs as much as many of
//! them. So a worker that has finished spins for a while before it parks, and only a parked one is
//! woken by a system call. Each worker is pinned to a processor of its own, so that it finds in its
//! caches, and in its node's memory, what it read in the previous step: tasks are numbered, and
//! worker `w` of `n` always begins with the `w`-th of `n` equal parts. Whoever finishes early takes
//! tasks from the others. The thread that calls is worker 0; it is not pinned, since threads that
//! it starts later would inherit that.
//!
//! Results never depend on which worker ran a task.

#![allow(unsafe_code)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How many threads, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threads {
    /// Threads that compute, the calling one included; at least 1.
    pub count: usize,
    /// The processor of each thread but the first, in the order of [`Threads::count`]; threads
    /// beyond the list are left to the system.
    pub processors: Vec<usize>,
}

impl Threads {
    /// As many threads as the process may use processors, not pinned.
    pub fn of_machine() -> Threads {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        Threads { count, processors: Vec::new() }
    }
}

/// Looks at the task list before a worker parks; some tens of microseconds.
const SPINS_BEFORE_PARKING: u32 = 20_000;
/// Looks at the workers before the caller lets other threads of the system run.
const SPINS_BEFORE_YIELDING: u32 = 10_000;

/// A task: (worker, number).
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Workers and what they share.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Counts the jobs.
    epoch: AtomicUsize,
    /// The job of the current epoch.
    job: Job,
    /// Next task and end of each worker's part.
    parts: Vec<Part>,
    /// Workers that have not finished the current job.
    busy: AtomicUsize,
    /// Workers that are parked, or about to.
    parked: Vec<AtomicBool>,
    ending: AtomicBool,
    /// What a task panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// On a cache line of its own, since every worker counts in it.
#[repr(align(128))]
struct Part {
    next: AtomicUsize,
    end: AtomicUsize,
}

/// The job that `run` is waiting for, its lifetime erased.
struct Job(UnsafeCell<Option<&'static Task<'static>>>);

// SAFETY: written only by `Pool::run` (which needs the pool exclusively) while every worker is
// idle, read by workers only between the change of `epoch` that follows and the end of `busy`.
unsafe impl Sync for Job {}

impl Pool {
    /// Starts the threads.
    pub fn new(threads: &Threads) -> Pool {
        let count = threads.count.max(1);
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: Job(UnsafeCell::new(None)),
            parts: (0..count).map(|_| Part::empty()).collect(),
            busy: AtomicUsize::new(0),
            parked: (0..count).map(|_| AtomicBool::new(false)).collect(),
            ending: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        // Processors that are not there, or not ours, leave their threads to the system.
        let ours = core_affinity::get_core_ids().unwrap_or_default();
        let start = |worker: usize| {
            let shared = Arc::clone(&shared);
            let wanted = threads.processors.get(worker - 1);
            let processor = ours.iter().copied().find(|found| Some(&found.id) == wanted);
            let body = move || {
                if let Some(processor) = processor {
                    core_affinity::set_for_current(processor);
                }
                shared.work(worker);
            };
            std::thread::Builder::new().name(format!("compute {worker}")).spawn(body)
        };
        // A system that gives fewer threads is served with fewer.
        let threads: Vec<_> = (1..count).map_while(|worker| start(worker).ok()).collect();
        Pool { shared, threads }
    }

    /// Threads that compute, the calling one included.
    pub fn workers(&self) -> usize {
        self.threads.len() + 1
    }

    /// Runs tasks `0..tasks`, each once, on all workers; returns when all are done.
    ///
    /// # Panics
    /// If a task panics, with its message, after the others have ended.
    pub fn run(&mut self, tasks: usize, task: &Task) {
        let workers = self.workers();
        if workers == 1 || tasks <= 1 {
            (0..tasks).for_each(|number| task(0, number));
            return;
        }
        let shared = &*self.shared;
        for (worker, part) in shared.parts.iter().enumerate().take(workers) {
            part.next.store(tasks * worker / workers, Ordering::Relaxed);
            part.end.store(tasks * (worker + 1) / workers, Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes. No worker keeps the reference beyond the end of
        // `busy`, which is awaited below, also when the caller's own tasks panic.
        let erased = unsafe { std::mem::transmute::<&Task, &'static Task<'static>>(task) };
        // SAFETY: every worker is idle: `busy` is zero between two calls, and `&mut self` excludes
        // a second one.
        unsafe { *shared.job.0.get() = Some(erased) };
        shared.busy.store(workers - 1, Ordering::Relaxed);
        // Sequentially consistent against the flags in `rest`: either the worker sees the new
        // epoch, or we see its flag.
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (worker, thread) in self.threads.iter().enumerate() {
            if shared.parked[worker + 1].load(Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
        shared.perform(0, workers, task);
        let mut spins = 0;
        while shared.busy.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins > SPINS_BEFORE_YIELDING { std::thread::yield_now() } else { pause() }
        }
        let panic = shared.panic.lock().expect("no panic while it is held").take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Runs a task on each chunk of `data`: chunk `i` of `chunk` elements (the last may be
    /// shorter).
    pub fn chunks<T: Send>(
        &mut self,
        data: &mut [T],
        chunk: usize,
        task: &(dyn Fn(usize, usize, &mut [T]) + Sync),
    ) {
        let len = data.len();
        let bound = |i: usize| (i * chunk).min(len);
        self.pieces(data, len.div_ceil(chunk.max(1)), &|i| bound(i)..bound(i + 1), task);
    }

    /// Runs a task on each of `count` pieces of `data`, given by ascending ranges that do not
    /// overlap.
    ///
    /// # Panics
    /// If the ranges do.
    pub fn pieces<T: Send>(
        &mut self,
        data: &mut [T],
        count: usize,
        range: &(dyn Fn(usize) -> Range<usize> + Sync),
        task: &(dyn Fn(usize, usize, &mut [T]) + Sync),
    ) {
        let mut end = 0;
        for i in 0..count {
            let range = range(i);
            assert!(end <= range.start && range.start <= range.end, "pieces overlap");
            end = range.end;
        }
        assert!(end <= data.len(), "pieces up to {end} of {}", data.len());
        let start = Start(data.as_mut_ptr());
        self.run(count, &|worker, i| {
            let range = range(i);
            // SAFETY: the ranges were checked: they lie in `data` and do not overlap, and `range`
            // is a pure function. Each task runs once, so each piece is borrowed once, and `data`
            // stays borrowed until `run` returns.
            let piece = unsafe {
                std::slice::from_raw_parts_mut(start.at(range.start), range.end - range.start)
            };
            task(worker, i, piece);
        });
    }
}

/// The start of a slice that is handed out in pieces.
struct Start<T>(*mut T);

// SAFETY: `pieces` hands each element to one thread only, and `T` may be sent there.
unsafe impl<T: Send> Sync for Start<T> {}

impl<T> Start<T> {
    fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

impl Part {
    fn empty() -> Part {
        Part { next: AtomicUsize::new(0), end: AtomicUsize::new(0) }
    }
}

impl Shared {
    /// What a worker thread does, until the pool is dropped.
    fn work(&self, worker: usize) {
        let mut epoch = 0;
        loop {
            self.rest(worker, epoch);
            if self.ending.load(Ordering::Acquire) {
                return;
            }
            epoch += 1;
            // SAFETY: the epoch has changed (acquired in `rest`), so the job was written before and
            // stays until `busy` falls below.
            let job = unsafe { *self.job.0.get() };
            self.perform(worker, self.parts.len(), job.expect("an epoch has a job"));
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until the epoch is no longer `epoch` or the pool ends.
    fn rest(&self, worker: usize, epoch: usize) {
        let waiting =
            || self.epoch.load(Ordering::SeqCst) == epoch && !self.ending.load(Ordering::SeqCst);
        for _ in 0..SPINS_BEFORE_PARKING {
            if !waiting() {
                return;
            }
            pause();
        }
        self.parked[worker].store(true, Ordering::SeqCst);
        while waiting() {
            std::thread::park();
        }
        self.parked[worker].store(false, Ordering::SeqCst);
    }

    /// Takes tasks, from the own part first, until there are none. A panic ends the worker's own
    /// share of the job and is kept for the caller.
    fn perform(&self, worker: usize, workers: usize, task: &Task) {
        let all = || {
            for turn in 0..workers {
                let part = &self.parts[(worker + turn) % workers];
                let end = part.end.load(Ordering::Relaxed);
                loop {
                    let number = part.next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        break;
                    }
                    task(worker, number);
                }
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(all)) {
            self.panic.lock().expect("no panic while it is held").get_or_insert(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker catches the panics of its tasks; there is nothing else to report.
            let _ = thread.join();
        }
    }
}

/// Tells the processor that this thread only waits.
fn pause() {
    std::hint::spin_loop();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn pool(count: usize) -> Pool {
        Pool::new(&Threads { count, processors: vec![0, 1, 9_999] })
    }

    /// Every task once, whatever the numbers of threads and tasks; many jobs, with pauses in which
    /// workers park.
    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 7] {
            let mut pool = pool(threads);
            for round in 0..200 {
                let tasks = round * 7 % 45;
                let counts: Vec<_> = (0..tasks).map(|_| AtomicU64::new(0)).collect();
                pool.run(tasks, &|worker, number| {
                    assert!(worker < threads);
                    counts[number].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                if round % 50 == 49 {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            }
        }
    }

    #[test]
    fn chunks_cover_everything_once() {
        let mut pool = pool(3);
        let mut data = vec![0u32; 1000];
        pool.chunks(&mut data, 7, &|_, i, chunk| {
            chunk.iter_mut().for_each(|v| *v += 1 + i as u32);
        });
        assert!(data.iter().enumerate().all(|(at, v)| *v == 1 + at as u32 / 7));
        pool.chunks(&mut [] as &mut [u32], 7, &|_, _, _| panic!("there is no chunk"));
    }

    #[test]
    #[should_panic(expected = "pieces overlap")]
    fn overlapping_pieces_are_a_bug() {
        pool(2).pieces(&mut [0; 10], 2, &|i| 4 * i..4 * i + 5, &|_, _, _| {});
    }

    /// The panic of a task reaches the caller, once the other tasks have ended, and the pool works
    /// afterwards.
    #[test]
    fn a_panic_is_passed_on() {
        let mut pool = pool(2);
        for _ in 0..20 {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, &|_, number| assert_ne!(number, 70, "task seventy"));
            }));
            let message = *ran.expect_err("it panics").downcast::<String>().expect("a message");
            assert!(message.contains("task seventy"), "{message}");
            let sum = AtomicU64::new(0);
            pool.run(100, &|_, number| {
                sum.fetch_add(number as u64, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 4950);
        }
    }
}
