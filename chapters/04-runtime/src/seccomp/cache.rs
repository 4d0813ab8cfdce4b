//! Compiled filters on disk, by the content of their profile.
//!
//! Most containers of a machine have the same profile. Parsing and compiling it costs about as much
//! as everything else that happens before clone3, and gives the same bytes each time.

use std::fmt::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Filter;
use crate::sys::seccomp::Instruction;

/// Changes whenever the compiler or the format does, so that old files are not used.
const VERSION: &str = concat!("corten-seccomp 2 ", env!("CARGO_PKG_VERSION"));
const INSTRUCTION: usize = size_of::<Instruction>();
const HEADER: usize = 16;

// ANCHOR: key
/// The name under which the filter of the profile `text` is kept.
pub fn key(text: &str) -> String {
    let mut hash = Sha256::new();
    for part in [VERSION, std::env::consts::ARCH, text] {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().fold(String::new(), |mut name, byte| {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}
// ANCHOR_END: key

// ANCHOR: load
/// The filter under `key`: `None` where there is none, or none that can be trusted.
pub fn load(directory: &Path, key: &str) -> Option<Filter> {
    let path = directory.join(key);
    // Whoever can write here can write our filters.
    let owner = std::fs::metadata(directory).ok()?;
    let private = owner.uid() == nix::unistd::geteuid().as_raw() && owner.mode() & 0o022 == 0;
    let bytes = std::fs::read(&path).ok().filter(|_| private)?;
    let (header, instructions) = bytes.split_at_checked(HEADER)?;
    let number = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let notifies = number(8)? == 1;
    if instructions.is_empty() || instructions.len() % INSTRUCTION != 0 {
        return None;
    }
    let program = instructions
        .chunks_exact(INSTRUCTION)
        .map(|bytes| match *bytes {
            [c0, c1, jt, jf, k0, k1, k2, k3] => Instruction {
                code: u16::from_le_bytes([c0, c1]),
                jt,
                jf,
                k: u32::from_le_bytes([k0, k1, k2, k3]),
            },
            // `chunks_exact` gives eight bytes each.
            _ => Instruction { code: 0, jt: 0, jf: 0, k: 0 },
        })
        .collect();
    Some(Filter { program, flags: number(0)?, notifies })
}
// ANCHOR_END: load

/// Keeps a filter. That it cannot be kept is no failure: it is only a cache.
pub fn store(directory: &Path, key: &str, filter: &Filter) {
    let mut private = std::fs::DirBuilder::new();
    let _ = private.recursive(true).mode(0o700).create(directory);
    let mut bytes = Vec::with_capacity(HEADER + filter.program.len() * INSTRUCTION);
    bytes.extend(filter.flags.to_le_bytes());
    bytes.extend(u64::from(filter.notifies).to_le_bytes());
    for Instruction { code, jt, jf, k } in &filter.program {
        bytes.extend(code.to_le_bytes());
        bytes.extend([*jt, *jf]);
        bytes.extend(k.to_le_bytes());
    }
    let _ = crate::state::write_whole(&directory.join(key), &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_comes_back_as_it_was_kept() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("cache");
        let program = vec![
            Instruction { code: 0x20, jt: 0, jf: 0, k: 4 },
            Instruction { code: 6, jt: 1, jf: 2, k: 0x7fff_0000 },
        ];
        let filter = Filter { program, flags: 4, notifies: false };
        assert_eq!(load(&directory, "k"), None);
        store(&directory, "k", &filter);
        assert_eq!(load(&directory, "k"), Some(filter));
        std::fs::write(directory.join("k"), "short").unwrap();
        assert_eq!(load(&directory, "k"), None);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let filter = Filter {
            program: vec![Instruction { code: 6, jt: 0, jf: 0, k: 0 }],
            flags: 0,
            notifies: false,
        };
        store(directory.path(), "k", &filter);
        assert!(load(directory.path(), "k").is_some());
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(load(directory.path(), "k"), None);
    }

    #[test]
    fn another_profile_has_another_key() {
        assert_ne!(key("{}"), key("{ }"));
        assert_eq!(key("{}").len(), 64);
    }
}
