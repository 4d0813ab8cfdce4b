//! Mutants are tried in lanes: while one runs its test, and waits for what does not come, another is compiled.
//!
//! A lane is a process of its own, because what a broken engine leaves behind is found among the descendants
//! of the process that ran its test. It reads one job a line and answers each with a line, after [`MARK`].

use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::Mutant;
use crate::error::{Error, OnPath, Result};
use crate::process;
use crate::setup::apt::Privilege;
use crate::test::report::Outcome;
use crate::test::runner::Settings;
use crate::tree::Tree;

/// So many are at work at the same time.
const LANES: usize = 2;

/// What begins the line of an answer: whatever else is printed is none.
const MARK: &str = "lane: ";

/// A mutant's test, to be run with its patch, where it must fail, or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    pub mutant: &'a Mutant,
    pub with: bool,
}

impl Job<'_> {
    fn line(self) -> String {
        let word = if self.with { "with" } else { "without" };
        format!("{word} {}", self.mutant.patch.display())
    }
}

/// Does all `jobs`; their outcomes are in the same order. Passed is what came out as it must.
///
/// # Errors
/// Where a lane cannot be started, or ends early.
pub(super) fn through(jobs: Vec<Job<'_>>, settings: &Settings) -> Result<Vec<Outcome>> {
    let lanes = LANES.min(jobs.len());
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = |number: usize| -> Result<Vec<(usize, Outcome)>> {
        let mut lane = Lane::start(number, settings)?;
        let mut done = Vec::new();
        while let Some((at, job)) = next() {
            done.push((at, lane.ask(job)?));
        }
        lane.end().map(|()| done)
    };
    let done = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|number| scope.spawn(move || work(number))).collect();
        let join = |lane: std::thread::ScopedJoinHandle<'_, _>| {
            lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        lanes.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut done = done.concat();
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

/// A lane, as the one who asks sees it.
struct Lane {
    child: Child,
    jobs: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Lane {
    fn start(number: usize, settings: &Settings) -> Result<Lane> {
        let program = PathBuf::from("/proc/self/exe");
        let mut command = Command::new(&program);
        command.arg("mutant-lane").arg(number.to_string()).arg(&settings.temporary);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|why| process::start_error(&command, why))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(jobs), Some(answers)) => {
                Ok(Lane { child, jobs, answers: BufReader::new(answers).lines() })
            }
            _ => Err(Error::failed("a lane of mutants has no pipes")),
        }
    }

    fn ask(&mut self, job: Job<'_>) -> Result<Outcome> {
        let patch = &job.mutant.patch;
        writeln!(self.jobs, "{}", job.line()).on("ask the lane for", patch)?;
        for line in self.answers.by_ref() {
            let line = line.on("hear of", patch)?;
            if let Some(word) = line.strip_prefix(MARK) {
                return answer(word).ok_or_else(|| Error::failed(word));
            }
            println!("{line}");
        }
        Err(Error::failed(format!("the lane that tried {} has ended", patch.display())))
    }

    /// Nothing more comes.
    fn end(mut self) -> Result<()> {
        drop(self.jobs);
        self.child.wait().map(drop).on("wait for", Path::new("a lane of mutants"))
    }
}

fn answer(word: &str) -> Option<Outcome> {
    [Outcome::Passed, Outcome::Failed, Outcome::Skipped]
        .into_iter()
        .find(|outcome| format!("{outcome:?}") == word)
}

/// `xtask mutant-lane`: does what standard input says until it ends.
///
/// # Errors
/// Where the tree cannot be copied, or standard input says what is no job.
pub fn serve(number: usize, temporary: &Path) -> Result<()> {
    process::adopt_orphans();
    let settings = Settings {
        threads: 2,
        filter: String::new(),
        // A mutant's test runs where it can.
        everywhere: true,
        mutant: false,
        temporary: temporary.to_owned(),
        privilege: Privilege::here(),
    };
    let tree = Tree::copy(number)?;
    for line in stdin().lines() {
        let line = line.on("read", Path::new("standard input"))?;
        let (word, patch) = line.split_once(' ').unwrap_or((&line, ""));
        let mutant = Mutant::read(Path::new(patch))?;
        let done = match word {
            "with" => tree.with(&mutant, &settings),
            _ => tree.without(&mutant, &settings),
        };
        match done {
            Ok(outcome) => println!("{MARK}{outcome:?}"),
            Err(why) => println!("{MARK}{}", why.to_string().replace('\n', " ")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_outcome_or_says_why_there_is_none() {
        assert_eq!(answer("Passed"), Some(Outcome::Passed));
        assert_eq!(answer("Skipped"), Some(Outcome::Skipped));
        assert_eq!(answer("cargo test: exit status: 101"), None);
    }
}
