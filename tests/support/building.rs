//! Contexts, and what `corten build` makes of them.

use std::path::{Path, PathBuf};

use super::{Host, Outcome, text};

/// A context with these files.
pub fn context(host: &Host, files: &[(&str, &str)]) -> PathBuf {
    let path = host.path("context");
    let _ = std::fs::remove_dir_all(&path);
    for (name, content) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    path
}

/// Builds a Dockerfile with `args`, without a network, and calls the image `made`.
pub fn build(host: &Host, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> Outcome {
    let files = [&[("Dockerfile", dockerfile)], files].concat();
    let path = context(host, &files);
    build_at(host, &path, args)
}

/// Builds the context `path`.
pub fn build_at(host: &Host, path: &Path, args: &[&str]) -> Outcome {
    let own = ["build", "--network", "none", "-t", "made", "--progress", "plain"];
    host.corten(&[&own[..], args, &[text(path)]].concat())
}

/// What a script prints in a container of that image.
pub fn run(host: &Host, script: &str) -> String {
    host.corten(&["run", "--rm", "--network", "none", "made", "sh", "-c", script]).ok()
}

/// How many steps of a build were in the cache.
pub fn cached(outcome: &Outcome) -> usize {
    outcome.err.lines().filter(|line| line.ends_with(" CACHED")).count()
}
