//! One system call fails.

use nix::errno::Errno;

use super::scene::{Outcome, Scene, Verb};
use super::tracer::Deed;

pub const ERRORS: [Errno; 3] = [Errno::EIO, Errno::ENOMEM, Errno::EPERM];

/// What came of one injected failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// One line of error, a status that is not 0, nothing left that was not there.
    Refused,
    /// The call did not matter: the verb has done its work.
    Tolerated,
    /// The process ended by a signal or a panic, as it must where memory, its own start or a call
    /// fails that the kernel lets nobody fail; nothing is left after `delete --force`.
    Aborted,
    /// Something else.
    Wrong,
}

/// Lets the `n`-th call of the verb fail.
pub fn inject(scene: &mut Scene, n: u64, errno: Errno) -> (Verdict, String) {
    scene.prepare();
    let outcome = scene.trace(Deed::Fail(n, errno));
    let mut wrong = Vec::new();
    let verdict = judge(scene, &outcome, &mut wrong);
    if scene.verb == Verb::Exec && wrong.is_empty() && outcome.traced.code.is_some() {
        wrong.extend(scene.strays());
    } else {
        wrong.extend(scene.clear());
    }
    let place = outcome.traced.hit.map_or("none".into(), |(call, main)| {
        format!("{} of the {}", call, if main { "runtime" } else { "container" })
    });
    let detail = format!(
        "{} {n} {errno}, call {place}, status {:?}, said {:?}: {wrong:?}",
        scene.verb.name(),
        outcome.traced.code,
        plain(&outcome.stderr),
    );
    (if wrong.is_empty() { verdict } else { Verdict::Wrong }, detail)
}

/// What was said, without the directories in which this machine keeps sources.
fn plain(said: &str) -> String {
    let word = |word: &str| match word.rsplit_once("/src/") {
        Some((_, file)) if word.starts_with('/') => file.to_owned(),
        _ => word.to_owned(),
    };
    said.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn judge(scene: &Scene, outcome: &Outcome, wrong: &mut Vec<String>) -> Verdict {
    if outcome.traced.hung {
        wrong.push("it hangs".into());
    }
    // An optimized build aborts where this one unwinds, and the loader has a status of its own.
    let said = &outcome.stderr;
    let aborted = said.contains("panicked at") || said.contains("cannot set %fs base");
    match outcome.traced.code {
        None => Verdict::Aborted,
        Some(101 | 127 | 1) if aborted => Verdict::Aborted,
        Some(0) => {
            wrong.extend(unfinished(scene));
            Verdict::Tolerated
        }
        Some(_) => {
            let said = outcome.stderr.trim();
            if said.lines().count() != 1 || !said.contains("error") {
                wrong.push("no clear line of error".into());
            }
            // Where the verb is create, nothing may be left without any delete.
            if scene.verb == Verb::Create {
                wrong.extend(scene.left());
            }
            if scene.verb == Verb::Exec && scene.container.status() != "running" {
                wrong.push("the container is disturbed".into());
            }
            Verdict::Refused
        }
    }
}

/// What a verb that says that it has succeeded has not done.
fn unfinished(scene: &Scene) -> Option<String> {
    let id = &scene.container.id;
    let state = scene.container.call(&["state", id]);
    let expected = match scene.verb {
        Verb::Create => "\"created\"",
        Verb::Start | Verb::Exec => "\"running\"",
        Verb::Delete => {
            return (state.status.success()).then(|| "the container is still there".to_owned());
        }
    };
    (!state.stdout.contains(expected)).then(|| format!("it succeeded, but the state is {state:?}"))
}

/// Every `step`-th call of `verb`, with the errors in turn.
fn sample(verb: Verb, samples: u64) {
    let calls = Scene::count(verb);
    let step = (calls / super::scene::samples(samples)).max(1);
    let mut wrong = Vec::new();
    let mut scene = Scene::new(verb);
    for (turn, n) in (1..=calls).step_by(step as usize).enumerate() {
        let errno = ERRORS[turn % ERRORS.len()];
        let (verdict, detail) = inject(&mut scene, n, errno);
        if verdict == Verdict::Wrong {
            wrong.push(detail);
        }
    }
    assert_eq!(scene.clear(), Vec::<String>::new());
    assert!(wrong.is_empty(), "{} of about {samples}:\n{}", wrong.len(), wrong.join("\n"));
}

#[corten_tier::t1]
fn create_undoes_what_it_has_done() {
    sample(Verb::Create, 40);
}

#[corten_tier::t1]
fn start_fails_clearly() {
    sample(Verb::Start, 18);
}

#[corten_tier::t1]
fn exec_fails_clearly() {
    sample(Verb::Exec, 24);
}

#[corten_tier::t1]
fn delete_can_be_done_again() {
    sample(Verb::Delete, 18);
}
