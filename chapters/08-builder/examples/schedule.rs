//! Exercise 8.1: when a build is done that has as many processors as it likes.
#![deny(unsafe_code)]

/// A stage: how long it takes, and which stages it needs, by their index.
#[derive(Debug, Clone)]
pub struct Stage {
    /// In milliseconds.
    pub takes: u64,
    /// May be later ones.
    pub needs: Vec<usize>,
}

// ANCHOR: done
/// When the stage `target` is done, if each stage begins as soon as all are done that it needs.
///
/// # Errors
/// A circle: its stages, each of which needs the next, and the last the first.
pub fn done(stages: &[Stage], target: usize) -> Result<u64, Vec<usize>> {
    let mut known = vec![None; stages.len()];
    visit(stages, target, &mut known, &mut Vec::new())
}

fn visit(
    stages: &[Stage],
    at: usize,
    known: &mut [Option<u64>],
    path: &mut Vec<usize>,
) -> Result<u64, Vec<usize>> {
    if let Some(done) = known[at] {
        return Ok(done);
    }
    if let Some(begin) = path.iter().position(|stage| *stage == at) {
        return Err(path[begin..].to_vec());
    }
    path.push(at);
    let mut begins = 0;
    for need in &stages[at].needs {
        begins = begins.max(visit(stages, *need, known, path)?);
    }
    path.pop();
    // Only now: what is written down is never looked at again.
    known[at] = Some(begins + stages[at].takes);
    Ok(begins + stages[at].takes)
}
// ANCHOR_END: done

fn main() {
    let stage = |takes, needs: &[usize]| Stage { takes, needs: needs.to_vec() };
    let stages = [stage(30, &[]), stage(50, &[]), stage(20, &[0, 1])];
    println!("{:?}", done(&stages, 2));
}
