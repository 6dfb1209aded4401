//! Work on several threads with a hand-over of about a microsecond.
//!
//! A forward pass is hundreds of products of a few hundred microseconds, one after another, each of which all threads share.
//! A general scheduler wakes and queues for each; here, one caller at a time opens a gate to helpers that are already
//! waiting. Helpers that wait for long go to sleep. This is no scheduler: tasks do not wait for each other, and what does
//! not need this (reading files, tokenizing) uses rayon.
//!
//! Each thread begins with its own share of the tasks, neighbors of each other, and helps with the shares of others when it is done. So, if the
//! tasks of all steps are numbered by rows, a thread finds in its cache what it wrote in the step before.
//!
//! As many threads take part as rayon's current pool has, so that there is one number to set. Several callers do not add up
//! to more: whoever finds the helpers taken computes alone, and each other caller takes the place of a helper.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps: longer than what lies between two products, too short to heat a room.
const PATIENCE: Duration = Duration::from_micros(100);
/// Beyond this many threads, nothing is handed out.
const MOST: usize = 256;

/// The next task of a share, on a line of the cache of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

/// Runs `task(0)`, …, `task(tasks - 1)`, each once, on the calling thread and on helpers. Returns when all have returned.
/// Panics if one of them does.
pub fn parallel(tasks: usize, task: impl Fn(usize) + Sync) {
    let threads = if tasks <= 1 { 1 } else { rayon::current_num_threads().min(tasks).min(MOST) };
    if threads == 1 || !POOL.run(threads, tasks, &task) {
        (0..tasks).for_each(task);
    }
}

/// [`parallel`] over consecutive pieces of `x`, each of `length` elements (the last shorter), with the number of the piece.
pub fn pieces<T: Send>(x: &mut [T], length: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    let count = x.len();
    let start = Shared(x.as_mut_ptr());
    parallel(count.div_ceil(length), |i| {
        let first = i * length;
        // SAFETY: the pieces do not overlap, lie within `x`, and each index is handed out once.
        let piece =
            unsafe { std::slice::from_raw_parts_mut(start.get().add(first), length.min(count - first)) };
        task(i, piece);
    });
}

/// An output that several threads write into, each its own part.
pub(crate) struct Shared<T>(pub(crate) *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: it is only an address; whoever writes through it says why nobody else writes there.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

/// In [`Pool::gate`]: helpers may enter.
const OPEN: usize = 1 << 32;

/// What the helpers do at the moment. Valid while the gate is open or somebody is inside.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    /// How many shares the tasks are in: one for each thread that was asked for.
    shares: usize,
}

impl Job {
    /// The first task of a share; of share number `shares`, the number of tasks.
    fn first(&self, share: usize) -> usize {
        // Without overflow for any number of tasks.
        self.tasks / self.shares * share + (self.tasks % self.shares * share) / self.shares
    }
}

struct Pool {
    /// [`OPEN`], and the number of helpers inside.
    gate: AtomicUsize,
    /// Counts the jobs; a helper waits for the next number.
    ticket: AtomicUsize,
    /// How many helpers may enter.
    wanted: AtomicUsize,
    /// The next task of each share.
    next: [Next; MOST],
    job: UnsafeCell<Option<Job>>,
    panicked: AtomicBool,
    /// A caller has the helpers.
    taken: AtomicBool,
    /// Callers that compute, with helpers or alone.
    callers: AtomicUsize,
    asleep: [AtomicBool; MOST],
    helpers: Mutex<Vec<Thread>>,
    started: AtomicUsize,
}

// SAFETY: `job` is written only by the caller that has `taken`, while the gate is closed and nobody is inside.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    gate: AtomicUsize::new(0),
    ticket: AtomicUsize::new(0),
    wanted: AtomicUsize::new(0),
    next: [const { Next(AtomicUsize::new(0)) }; MOST],
    job: UnsafeCell::new(None),
    panicked: AtomicBool::new(false),
    taken: AtomicBool::new(false),
    callers: AtomicUsize::new(0),
    asleep: [const { AtomicBool::new(false) }; MOST],
    helpers: Mutex::new(Vec::new()),
    started: AtomicUsize::new(0),
};

impl Pool {
    /// Runs the tasks with up to `threads - 1` helpers; `false` if there are none to be had.
    fn run(&'static self, threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) -> bool {
        let others = self.callers.fetch_add(1, Ordering::Relaxed);
        let _counted = OnDrop(|| {
            self.callers.fetch_sub(1, Ordering::Relaxed);
        });
        let helpers = (threads - 1).saturating_sub(others);
        if helpers == 0 || self.taken.swap(true, Ordering::Acquire) {
            if others == 0 {
                return false;
            }
            // Counted as a caller, so that the others leave room.
            (0..tasks).for_each(task);
            return true;
        }
        let _given_back = OnDrop(|| self.taken.store(false, Ordering::Release));
        let helpers = helpers.min(self.start(helpers));
        // SAFETY: only the lifetime changes. Helpers use the task inside the gate only, and this function does not return
        // or unwind before they have left (`closed` below).
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let job = Job { task, tasks, shares: helpers + 1 };
        // SAFETY: this caller has `taken`, the gate is closed and nobody is inside.
        unsafe { *self.job.get() = Some(job) };
        self.panicked.store(false, Ordering::Relaxed);
        for share in 0..job.shares {
            self.next[share].0.store(job.first(share), Ordering::Relaxed);
        }
        self.wanted.store(helpers, Ordering::Relaxed);
        self.gate.store(OPEN, Ordering::Release);
        self.ticket.fetch_add(1, Ordering::SeqCst);
        let closed = OnDrop(|| {
            self.gate.fetch_and(!OPEN, Ordering::Acquire);
            let mut spins = 0u32;
            while self.gate.load(Ordering::Acquire) != 0 {
                spins += 1;
                if spins < 10_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        });
        self.wake(helpers);
        self.work(&job, 0);
        drop(closed);
        if self.panicked.load(Ordering::Relaxed) {
            panic!("a task of another thread panicked");
        }
        true
    }

    /// Starts helpers until there are `wanted`, and says how many there are.
    fn start(&'static self, wanted: usize) -> usize {
        if self.started.load(Ordering::Acquire) < wanted {
            let mut helpers = self.helpers.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            while helpers.len() < wanted {
                let index = helpers.len();
                let builder = std::thread::Builder::new().name(format!("sentir-{index}"));
                // Without another thread, the work is done all the same.
                let Ok(handle) = builder.spawn(move || self.help(index)) else { break };
                helpers.push(handle.thread().clone());
            }
            self.started.store(helpers.len(), Ordering::Release);
        }
        self.started.load(Ordering::Acquire)
    }

    fn wake(&self, helpers: usize) {
        for index in 0..helpers {
            if self.asleep[index].load(Ordering::SeqCst) && self.asleep[index].swap(false, Ordering::SeqCst) {
                self.helpers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[index].unpark();
            }
        }
    }

    /// Takes tasks until there are none, those of the share `own` first.
    fn work(&self, job: &Job, own: usize) {
        // SAFETY: the caller of the job waits for this thread to leave before its task ends to exist.
        let task = unsafe { &*job.task };
        for share in (own..job.shares).chain(0..own) {
            let end = job.first(share + 1);
            loop {
                let index = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                task(index);
            }
        }
    }

    /// The life of a helper.
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            self.wait(index, &mut seen);
            // Enter, unless the job is over already.
            let enter = |gate: usize| (gate & OPEN != 0).then_some(gate + 1);
            if self.gate.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_err() {
                continue;
            }
            // SAFETY: inside the gate, the job stays what it is.
            if let Some(job) = unsafe { &*self.job.get() }
                && catch_unwind(AssertUnwindSafe(|| self.work(job, (index + 1) % job.shares))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a job that this helper may take part in.
    fn wait(&self, index: usize, seen: &mut usize) {
        let news = |seen: &mut usize| {
            let ticket = self.ticket.load(Ordering::SeqCst);
            std::mem::replace(seen, ticket) != ticket && index < self.wanted.load(Ordering::Relaxed)
        };
        let mut begun = Instant::now();
        let mut spins = 0u32;
        while !news(seen) {
            std::hint::spin_loop();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(64) && begun.elapsed() > PATIENCE {
                self.asleep[index].store(true, Ordering::SeqCst);
                // A job that came in between may have missed that this helper sleeps.
                if news(seen) {
                    self.asleep[index].store(false, Ordering::SeqCst);
                    return;
                }
                while self.asleep[index].load(Ordering::SeqCst) {
                    std::thread::park();
                }
                begun = Instant::now();
            }
        }
    }
}

/// Calls a function when it goes out of scope, also by a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3, 7] {
            pool(threads).install(|| {
                for tasks in [0, 1, 2, 3, 10, 1000] {
                    for _ in 0..if cfg!(miri) { 2 } else { 200 } {
                        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                        parallel(tasks, |i| {
                            counts[i].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                    }
                }
            });
        }
    }

    #[test]
    fn callers_at_once_each_get_their_work_done() {
        let pool = pool(3);
        std::thread::scope(|scope| {
            for caller in 0..4usize {
                let pool = &pool;
                scope.spawn(move || {
                    for round in 0..if cfg!(miri) { 3 } else { 300 } {
                        let mut x = vec![0; 100 + caller];
                        pool.install(|| pieces(&mut x, 7, |i, piece| piece.fill(i * round)));
                        assert!(x.iter().enumerate().all(|(at, &value)| value == at / 7 * round));
                        if round % 100 == 0 {
                            // Long enough for the helpers to fall asleep.
                            std::thread::sleep(Duration::from_millis(2));
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_helpers_stay() {
        let pool = pool(2);
        for round in 0..20 {
            let result =
                pool.install(|| catch_unwind(|| parallel(64, |i| assert!(i != round * 3, "task {i}"))));
            assert!(result.is_err(), "round {round}");
            pool.install(|| parallel(64, |_| ()));
        }
    }
}
