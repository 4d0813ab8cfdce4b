//! Every system call, for `./x soak`: results go to the file that `CORTEN_SOAK_RESULT` names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::failures::{ERRORS, Verdict, inject};
use super::kills::kill;
use super::scene::{Scene, Verb};

fn write(result: &Value) {
    let path = std::env::var_os("CORTEN_SOAK_RESULT").expect("./x soak sets CORTEN_SOAK_RESULT");
    std::fs::write(path, format!("{result:#}\n")).unwrap();
}

/// The numbers 1 to `calls`, spread: what is done before the time is up is a sample of all.
fn spread(calls: u64) -> impl Iterator<Item = u64> {
    const STRIDE: u64 = 8;
    (1..=STRIDE.min(calls)).flat_map(move |first| (first..=calls).step_by(STRIDE as usize))
}

/// Whether the time that `CORTEN_SOAK_SECONDS` allows is up; without it there is no end.
fn is_over(begin: Instant) -> bool {
    let limit = std::env::var("CORTEN_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    limit.is_some_and(|seconds| begin.elapsed() > Duration::from_secs(seconds))
}

/// Does the jobs at the same time, each in a mount namespace of its own: most of the time is spent
/// in waiting for the kernel.
fn together<T: Copy + Send + 'static>(
    jobs: Vec<T>,
    work: impl Fn(T) -> (Value, Vec<String>) + Copy + Send + 'static,
) {
    let start = |job: T| {
        std::thread::spawn(move || {
            corten_tier::enter_t1();
            let (row, wrong) = work(job);
            println!("{row}");
            wrong.iter().for_each(|detail| println!("{detail}"));
            (row, wrong)
        })
    };
    let threads: Vec<_> = jobs.into_iter().map(start).collect();
    let done: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let rows: Vec<&Value> = done.iter().map(|(row, _)| row).collect();
    let wrong: Vec<&String> = done.iter().flat_map(|(_, wrong)| wrong).collect();
    write(&json!({"rows": rows, "wrong": wrong}));
    assert!(wrong.is_empty(), "{} are wrong", wrong.len());
}

#[test]
#[ignore = "takes minutes: ./x soak faults"]
fn faults() {
    let begin = Instant::now();
    let jobs = Verb::ALL.into_iter().flat_map(|verb| ERRORS.map(|errno| (verb, errno))).collect();
    together(jobs, move |(verb, errno)| {
        let calls = Scene::count(verb);
        let mut scene = Scene::new(verb);
        let mut tally: BTreeMap<Verdict, u64> = BTreeMap::new();
        let mut wrong = Vec::new();
        for n in spread(calls).take_while(|_| !is_over(begin)) {
            let (verdict, detail) = inject(&mut scene, n, errno);
            *tally.entry(verdict).or_default() += 1;
            if verdict == Verdict::Wrong {
                println!("{detail}");
                wrong.push(detail);
            }
        }
        let count = |verdict| tally.get(&verdict).copied().unwrap_or(0);
        let row = json!({
            "verb": verb.name(), "error": format!("{errno:?}"), "calls": calls,
            "injected": tally.values().sum::<u64>(), "refused": count(Verdict::Refused),
            "tolerated": count(Verdict::Tolerated), "aborted": count(Verdict::Aborted),
            "wrong": count(Verdict::Wrong),
        });
        (row, wrong)
    });
}

#[test]
#[ignore = "takes minutes: ./x soak kills"]
fn kills() {
    let begin = Instant::now();
    together(Verb::ALL.to_vec(), move |verb| {
        let calls = Scene::count(verb);
        let mut scene = Scene::new(verb);
        let (mut killed, mut bad, mut wrong) = (0, 0, Vec::new());
        for n in spread(calls).take_while(|_| !is_over(begin)) {
            let found = kill(&mut scene, n);
            killed += 1;
            bad += u64::from(!found.is_empty());
            wrong.extend(found);
        }
        let row = json!({"verb": verb.name(), "calls": calls, "killed": killed, "wrong": bad});
        (row, wrong)
    });
}
