//! Exercise 9.2: one who speaks, and many who listen at their own pace.
//!
//! `cargo run -p corten-daemon --example hub`
#![deny(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

// ANCHOR: hub
/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<T> {
    /// The next entry.
    Entry(T),
    /// So many were missed, because they were not fetched in time.
    Missed(u64),
    /// Nobody speaks any more.
    End,
}

struct Shared<T> {
    /// The newest entries, at most `room` of them.
    kept: VecDeque<T>,
    /// The number of the first that is kept.
    first: u64,
    ended: bool,
}

/// Keeps the newest entries once, for all who listen.
pub struct Hub<T> {
    shared: Arc<(Mutex<Shared<T>>, Condvar)>,
    room: usize,
}

/// One who listens, and where it is.
pub struct Listener<T> {
    shared: Arc<(Mutex<Shared<T>>, Condvar)>,
    next: u64,
}

fn locked<T>(shared: &Mutex<Shared<T>>) -> MutexGuard<'_, Shared<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Clone> Hub<T> {
    /// Keeps `room` entries, however many listen.
    pub fn new(room: usize) -> Hub<T> {
        let shared = Shared { kept: VecDeque::with_capacity(room), first: 0, ended: false };
        Hub { shared: Arc::new((Mutex::new(shared), Condvar::new())), room }
    }

    /// Tells all. It waits for nobody.
    pub fn tell(&self, entry: T) {
        let mut shared = locked(&self.shared.0);
        shared.kept.push_back(entry);
        while shared.kept.len() > self.room {
            shared.kept.pop_front();
            shared.first += 1;
        }
        self.shared.1.notify_all();
    }

    /// What is told from now on.
    pub fn listen(&self) -> Listener<T> {
        let shared = locked(&self.shared.0);
        let next = shared.first + shared.kept.len() as u64;
        Listener { shared: Arc::clone(&self.shared), next }
    }
}

impl<T> Drop for Hub<T> {
    fn drop(&mut self) {
        locked(&self.shared.0).ended = true;
        self.shared.1.notify_all();
    }
}

impl<T: Clone> Listener<T> {
    /// Waits for the next entry.
    pub fn hear(&mut self) -> Heard<T> {
        let mut shared = locked(&self.shared.0);
        loop {
            if let Some(missed) = shared.first.checked_sub(self.next).filter(|missed| *missed > 0) {
                self.next = shared.first;
                return Heard::Missed(missed);
            }
            let at = usize::try_from(self.next - shared.first).unwrap_or(usize::MAX);
            if let Some(entry) = shared.kept.get(at) {
                self.next += 1;
                return Heard::Entry(entry.clone());
            }
            if shared.ended {
                return Heard::End;
            }
            shared = self.shared.1.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
// ANCHOR_END: hub

fn main() {
    let hub = Hub::new(3);
    let mut slow = hub.listen();
    (1..=5).for_each(|entry| hub.tell(entry));
    drop(hub);
    loop {
        match slow.hear() {
            Heard::End => return,
            heard => println!("{heard:?}"),
        }
    }
}
