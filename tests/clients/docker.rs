//! The real docker client, against dockerd and against Corten: the same status, the same output.

use std::path::Path;

use crate::mask::{fields, masked};
use crate::peers::{Kind, Outcome, Peer};
use crate::support;

/// A line of the list.
#[derive(Debug, Clone)]
struct Line {
    command: String,
    json: bool,
    differs: Option<String>,
}

fn lines() -> Vec<Line> {
    let mut reason = None;
    let mut lines = Vec::new();
    for text in include_str!("invocations.txt").lines() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if let Some(why) = text.strip_prefix("differs ") {
            reason = Some(why.to_owned());
            continue;
        }
        let (json, command) = match text.strip_prefix("json ") {
            Some(command) => (true, command),
            None => (false, text),
        };
        lines.push(Line { command: command.to_owned(), json, differs: reason.take() });
    }
    lines
}

fn all(kind: Kind, root: &Path, lines: &[Line]) -> Vec<Outcome> {
    let peer = Peer::start(kind, root, &support::busybox_layer());
    let done = lines.iter().map(|line| peer.run(&line.command));
    let outcomes: Vec<Outcome> = done.collect();
    if std::env::var_os("CORTEN_SHOW_LOG").is_some() {
        eprintln!("{kind:?}:\n{}", peer.log());
    }
    drop(peer);
    outcomes
}

/// What is wrong with Corten's outcome beside dockerd's.
fn difference(
    line: &Line,
    docker: &Outcome,
    corten: &Outcome,
    roots: [&Path; 2],
) -> Option<String> {
    let shown = |what: &str, docker: &str, corten: &str| {
        Some(format!(
            "$ {}\n  {what}, dockerd:\n{docker}\n  {what}, corten:\n{corten}",
            line.command
        ))
    };
    if docker.status != corten.status {
        let text = |outcome: &Outcome| format!("{} {}{}", outcome.status, outcome.out, outcome.err);
        return shown("status", &text(docker), &text(corten));
    }
    if line.differs.is_some() {
        return None;
    }
    if line.json {
        let own = fields(&corten.out);
        let missing: Vec<String> =
            fields(&docker.out).into_iter().filter(|field| !own.contains(field)).collect();
        return (!missing.is_empty())
            .then(|| format!("$ {}\n  missing: {missing:#?}", line.command));
    }
    for (what, docker, corten) in
        [("output", &docker.out, &corten.out), ("errors", &docker.err, &corten.err)]
    {
        let (docker, corten) = (masked(docker, roots[0]), masked(corten, roots[1]));
        if docker != corten {
            return shown(what, &docker, &corten);
        }
    }
    None
}

#[corten_tier::t1]
fn docker_says_the_same_of_both() {
    let directory = tempfile::tempdir().unwrap();
    let roots =
        [Kind::Dockerd, Kind::Corten].map(|kind| directory.path().join(format!("{kind:?}")));
    let lines = lines();
    let [docker, corten] = std::thread::scope(|scope| {
        let docker = scope.spawn(|| all(Kind::Dockerd, &roots[0], &lines));
        let corten = scope.spawn(|| all(Kind::Corten, &roots[1], &lines));
        [docker.join().unwrap(), corten.join().unwrap()]
    });
    let pairs = lines.iter().zip(docker.iter().zip(&corten));
    let found: Vec<String> = pairs
        .filter_map(|(line, (docker, corten))| {
            difference(line, docker, corten, [&roots[0], &roots[1]])
        })
        .collect();
    assert!(
        found.is_empty(),
        "{} of {} differ:\n\n{}",
        found.len(),
        lines.len(),
        found.join("\n\n")
    );
}
