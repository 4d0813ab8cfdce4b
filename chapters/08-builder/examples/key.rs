//! Exercise 8.4: a key for the cache of a builder, and what is wrong with it.
#![deny(unsafe_code)]

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// A step: what it begins with, its words, the arguments that it sees, the files that it reads.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The digest of the tree below.
    pub parent: String,
    /// `RUN`, and the words of its command.
    pub words: Vec<String>,
    /// Build arguments.
    pub arguments: HashMap<String, String>,
    /// Names, and content.
    pub files: HashMap<String, Vec<u8>>,
}

// ANCHOR: broken
/// The key under which the result of a step is kept.
pub fn broken(step: &Step) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&step.parent);
    hash.update(step.words.join(" "));
    for (name, value) in &step.arguments {
        hash.update(format!("{name}={value}"));
    }
    for content in step.files.values() {
        hash.update(content);
    }
    hash.finalize().into()
}
// ANCHOR_END: broken

// ANCHOR: mended
/// The same, so that equal steps have equal keys and others do not.
pub fn mended(step: &Step) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(step.parent.as_bytes());
    add(&(step.words.len() as u64).to_le_bytes());
    step.words.iter().for_each(|word| add(word.as_bytes()));
    let mut arguments: Vec<_> = step.arguments.iter().collect();
    arguments.sort();
    add(&(arguments.len() as u64).to_le_bytes());
    for (name, value) in arguments {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    let mut files: Vec<_> = step.files.iter().collect();
    files.sort();
    for (name, content) in files {
        add(name.as_bytes());
        add(content);
    }
    hash.finalize().into()
}
// ANCHOR_END: mended

fn main() {
    let step = |words: &[&str]| {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Step { words, ..Step::default() }
    };
    let (one, two) = (step(&["touch", "a b"]), step(&["touch", "a", "b"]));
    println!("{} {}", broken(&one) == broken(&two), mended(&one) == mended(&two));
}
