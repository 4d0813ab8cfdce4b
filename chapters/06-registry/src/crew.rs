//! A crew of threads that carries layers, several at a time, and reports to one listener.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use corten_namespaces::error::Context;

use crate::error::{Error, Result};

/// What a worker reports; `usize` is the item's place in the list.
#[derive(Debug)]
pub(crate) enum Report<R> {
    Started(usize),
    /// What comes of it can be read from this file, from its beginning, as it grows.
    Growing(usize, File),
    Bytes(usize, u64),
    Done(usize, R),
}

/// A worker's side: how it reports, and whether it should go on.
pub(crate) struct Post<R> {
    item: usize,
    reports: mpsc::Sender<std::result::Result<Report<R>, Error>>,
}

impl<R> Clone for Post<R> {
    fn clone(&self) -> Self {
        Post { item: self.item, reports: self.reports.clone() }
    }
}

impl<R> Post<R> {
    /// Reports the file that what comes is written into.
    pub(crate) fn growing(&self, file: File) {
        let _ = self.reports.send(Ok(Report::Growing(self.item, file)));
    }

    /// Reports so many bytes.
    pub(crate) fn bytes(&self, done: u64) {
        // The listener ends only after all workers have.
        let _ = self.reports.send(Ok(Report::Bytes(self.item, done)));
    }
}

// ANCHOR: carry
/// Does `work` for each of `items`, on up to `workers` threads. The first error stops the others:
/// no further item is begun, and `work` is told by `stop`.
pub(crate) fn carry<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T, &AtomicBool, &Post<R>) -> Result<R> + Sync,
    listen: &mut dyn FnMut(Report<R>),
) -> Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (reports, reported) = mpsc::channel();
        for number in 0..workers.clamp(1, items.len().max(1)) {
            let (reports, work, next, stop) = (reports.clone(), &work, &next, &stop);
            let started = thread::Builder::new().spawn_scoped(scope, move || {
                while !stop.load(Ordering::Relaxed) {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    let Some(what) = items.get(item) else { break };
                    let _ = reports.send(Ok(Report::Started(item)));
                    let post = Post { item, reports: reports.clone() };
                    let result = work(what, stop, &post);
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let _ = reports.send(result.map(|done| Report::Done(item, done)));
                }
            });
            match started {
                Err(error) if number == 0 => return Ok(Err(error).during("start a thread")?),
                // Fewer do the same.
                Err(_) => break,
                Ok(_) => {}
            }
        }
        drop(reports);
        let mut failed: Option<Error> = None;
        while let Ok(report) = reported.recv() {
            match report {
                Ok(report) => listen(report),
                // Who was stopped has nothing to say beside who failed.
                Err(error) if failed.as_ref().is_none_or(Error::is_stopped) => failed = Some(error),
                Err(_) => {}
            }
        }
        failed.map_or(Ok(()), Err)
    })
}
// ANCHOR_END: carry

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn all_items_are_carried_and_reported_to_one_listener() {
        let items: Vec<u64> = (0..50).collect();
        let mut sum = 0;
        let mut listen = |report| {
            if let Report::Done(item, done) = report {
                assert_eq!(items[item] * 2, done);
                sum += done;
            }
        };
        carry(&items, 4, |item, _, _| Ok(item * 2), &mut listen).unwrap();
        assert_eq!(sum, 2450);
        carry(&[] as &[u64], 4, |_, _, _| Ok(()), &mut |_| {}).unwrap();
    }

    #[test]
    fn the_first_failure_stops_the_rest_and_is_the_one_that_is_told() {
        let begun = Mutex::new(0);
        let work = |item: &u32, stop: &AtomicBool, _: &Post<()>| {
            *begun.lock().unwrap() += 1;
            if *item == 1 {
                return Err(Error::malformed("item 1", "bad"));
            }
            while !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Err(Error::Stopped)
        };
        let error = carry(&[0, 1, 2, 3, 4], 2, work, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "item 1: bad");
        assert_eq!(*begun.lock().unwrap(), 2);
    }
}
