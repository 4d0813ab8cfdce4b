//! The runtime is killed (SIGKILL) at a system call.

use super::scene::{Scene, Verb};
use super::tracer::Deed;

/// Kills the verb at its `n`-th call: what is wrong afterwards.
pub fn kill(scene: &mut Scene, n: u64) -> Vec<String> {
    scene.prepare();
    let outcome = scene.trace(Deed::Kill(n));
    let mut wrong = Vec::new();
    if outcome.traced.hung {
        wrong.push("it hangs".to_owned());
    }
    let state = scene.container.call(&["state", &scene.container.id]);
    if !state.status.success() && !state.stderr.contains("does not exist") {
        wrong.push(format!("state: {}", state.stderr.trim()));
    }
    if scene.verb == Verb::Exec && !state.stdout.contains("\"running\"") {
        wrong.push(format!("the container is disturbed: {}", state.stdout));
    }
    wrong.extend(scene.clear());
    let place = format!("{} {n} ({:?})", scene.verb.name(), outcome.traced.hit);
    wrong.into_iter().map(|what| format!("{place}: {what}")).collect()
}

fn sample(verb: Verb, samples: u64) {
    let calls = Scene::count(verb);
    let step = (calls / super::scene::samples(samples)).max(1);
    let mut scene = Scene::new(verb);
    let wrong: Vec<String> =
        (1..=calls).step_by(step as usize).flat_map(|n| kill(&mut scene, n)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[corten_tier::t1]
fn a_killed_create_can_be_deleted() {
    sample(Verb::Create, 30);
}

#[corten_tier::t1]
fn a_killed_start_can_be_deleted() {
    sample(Verb::Start, 18);
}

#[corten_tier::t1]
fn a_killed_exec_leaves_the_container_as_it_is() {
    sample(Verb::Exec, 24);
}

#[corten_tier::t1]
fn a_killed_delete_can_be_done_again() {
    sample(Verb::Delete, 18);
}
