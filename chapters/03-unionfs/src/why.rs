//! Which layer does this file come from? The question that overlay answers at every lookup.

use std::fmt;
use std::path::Path;

use corten_namespaces::Root;

use crate::error::Result;
use crate::merge::is_opaque;
use crate::node;
use crate::walk::{Found, Place};
use crate::whiteout;

/// What one layer has to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The path is what this layer says.
    Shows,
    /// Its directory is one of several that make up what is seen.
    Merges,
    /// It has something there, which a layer above hides.
    Hidden,
    /// It deletes the path, or a directory above it, from the layers below.
    Deletes,
    /// It says nothing about the path.
    Silent,
    /// It says nothing about the path, but an opaque directory of it cuts the layers below off.
    CutsOff,
    /// It has something else than a directory above the path.
    NotADirectory,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Shows => "this one is seen",
            Verdict::Merges => "a directory that is merged",
            Verdict::Hidden => "is there, but hidden",
            Verdict::Deletes => "deletes it",
            Verdict::Silent => "-",
            Verdict::CutsOff => "hides all below (opaque directory)",
            Verdict::NotADirectory => "has no directory above it",
        })
    }
}

/// What a layer alone says.
struct Said {
    /// Whether the path itself is there, and is a directory.
    there: Option<bool>,
    verdict: Verdict,
    /// Layers below have no say.
    ends: bool,
}

// ANCHOR: why
/// What each of `layers` (topmost first) has to do with `path`. Symbolic links in the path are not
/// followed: they are looked up like files.
///
/// # Errors
/// Where a layer cannot be read.
pub fn why(layers: &[Root], path: &Path) -> Result<Vec<Verdict>> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let mut verdicts = Vec::with_capacity(layers.len());
    let (mut decided, mut directory) = (false, false);
    for layer in layers {
        let said = ask(layer, path)?;
        let verdict = match said.there {
            Some(_) if decided => Verdict::Hidden,
            // Under the topmost directory, only other directories have a say.
            Some(false) if directory => Verdict::Hidden,
            Some(true) if directory => Verdict::Merges,
            _ => said.verdict,
        };
        verdicts.push(verdict);
        match said.there {
            Some(true) if !decided => (directory, decided) = (true, said.ends),
            _ => decided |= said.ends,
        }
    }
    Ok(verdicts)
}
// ANCHOR_END: why

fn ask(layer: &Root, path: &Path) -> Result<Said> {
    let mut place = Place::new(layer);
    let mut cut = false;
    let mut prefixes: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
    prefixes.reverse();
    let last = prefixes.len();
    for (at, prefix) in prefixes.into_iter().enumerate() {
        let silent = if cut { Verdict::CutsOff } else { Verdict::Silent };
        let found = place.look(prefix)?;
        let deleted = match &found {
            Some(found) => node::is_whiteout(&found.stat),
            None => place.look(&whiteout::beside(prefix))?.is_some(),
        };
        if deleted {
            return Ok(Said { there: None, verdict: Verdict::Deletes, ends: true });
        }
        let Some(found) = found else {
            return Ok(Said { there: None, verdict: silent, ends: cut });
        };
        cut = cut || cuts(&found)?;
        if at + 1 == last {
            let directory = found.is_directory();
            return Ok(Said {
                there: Some(directory),
                verdict: Verdict::Shows,
                ends: cut || !directory,
            });
        }
        if !found.is_directory() {
            return Ok(Said { there: None, verdict: Verdict::NotADirectory, ends: true });
        }
    }
    // The root itself: every layer has one.
    Ok(Said { there: Some(true), verdict: Verdict::Shows, ends: false })
}

fn cuts(found: &Found) -> Result<bool> {
    Ok(found.is_directory() && is_opaque(found, true)?)
}
