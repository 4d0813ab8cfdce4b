//! Two callers at once.

use std::process::{Command, Stdio};

use super::scene::{Scene, Verb};

/// Starts both at once; for each, whether it succeeded and what it said.
fn both(one: Command, other: Command) -> [(bool, String); 2] {
    let start = |mut command: Command| {
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [start(one), start(other)];
    children.map(|mut child| {
        let status = crate::rig::wait_for(&mut child);
        let mut said = String::new();
        // A container that was created holds its end of the pipe, so only what is there is read.
        let pipe = child.stderr.take().unwrap();
        if !status.success() {
            std::io::Read::read_to_string(&mut { pipe }, &mut said).unwrap();
        }
        (status.success(), said)
    })
}

fn command(scene: &Scene, words: &[&str]) -> Command {
    scene.container.command(words)
}

fn check(results: &[(bool, String); 2], clear: &[&str]) {
    let successes = results.iter().filter(|(success, _)| *success).count();
    assert_eq!(successes, 1, "{results:?}");
    let (_, said) = results.iter().find(|(success, _)| !success).unwrap();
    assert!(clear.iter().any(|words| said.contains(words)), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
}

/// How often each race is run.
fn rounds() -> u64 {
    super::scene::samples(15)
}

#[corten_tier::t1]
fn two_creates_of_one_id() {
    for _ in 0..rounds() {
        let mut scene = Scene::new(Verb::Create);
        let bundle = scene.container.bundle();
        let words = ["create", "--bundle", bundle.to_str().unwrap(), &scene.container.id];
        let results = both(command(&scene, &words), command(&scene, &words));
        check(&results, &["already exists"]);
        assert_eq!(scene.container.status(), "created");
        assert_eq!(scene.clear(), Vec::<String>::new());
    }
}

#[corten_tier::t1]
fn two_starts_of_one_container() {
    for _ in 0..rounds() {
        let mut scene = Scene::new(Verb::Start);
        scene.prepare();
        let words = ["start", &scene.container.id];
        let results = both(command(&scene, &words), command(&scene, &words));
        check(&results, &["in use", "it is running"]);
        assert_eq!(scene.container.status(), "running");
        assert_eq!(scene.clear(), Vec::<String>::new());
    }
}

#[corten_tier::t1]
fn two_deletes_of_one_container() {
    for _ in 0..rounds() {
        let mut scene = Scene::new(Verb::Delete);
        scene.prepare();
        let words = ["delete", &scene.container.id];
        let results = both(command(&scene, &words), command(&scene, &words));
        check(&results, &["in use", "does not exist"]);
        assert_eq!(scene.left(), Vec::<String>::new());
    }
}

/// Whichever comes first, what is there afterwards is whole, and can be deleted.
#[corten_tier::t1]
fn a_create_and_a_delete_by_force() {
    for _ in 0..rounds() {
        let mut scene = Scene::new(Verb::Create);
        let bundle = scene.container.bundle();
        let id = scene.container.id.clone();
        let create = ["create", "--bundle", bundle.to_str().unwrap(), &id];
        let results = both(command(&scene, &create), command(&scene, &["delete", "--force", &id]));
        if results[0].0 && scene.container.call(&["state", &id]).status.success() {
            assert_eq!(scene.container.status(), "created", "{results:?}");
        }
        assert_eq!(scene.clear(), Vec::<String>::new(), "{results:?}");
    }
}
