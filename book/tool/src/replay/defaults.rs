//! The state directories that programs of chapters 4 and 5 use where nobody names one.
//!
//! Sessions use them as readers do. The programs leave them empty but for what they keep between
//! containers; who replays a page has them as they were.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Where they are.
const DIRECTORIES: [&str; 2] = ["/run/corten-runtime", "/run/corten-supervisor"];

/// Those that were not there.
pub struct Defaults(Vec<PathBuf>);

impl Defaults {
    /// Looks at what is there.
    pub fn look() -> Defaults {
        let absent = DIRECTORIES.iter().map(PathBuf::from).filter(|path| !path.exists());
        Defaults(absent.collect())
    }

    /// Removes those that have come.
    ///
    /// # Errors
    /// Where something cannot be removed, as a directory with a container that a session left.
    pub fn restore(self) -> Result<()> {
        self.0.iter().filter(|path| path.exists()).try_for_each(|path| remove(path))
    }
}

/// Removes a state directory in which there is no container: the supervisor's has the runtime's in it, and that
/// has the filters that were compiled.
fn remove(directory: &Path) -> Result<()> {
    let [runtime, filters] = [".runtime", ".seccomp"].map(|name| directory.join(name));
    if runtime.exists() {
        remove(&runtime)?;
    }
    if filters.exists() {
        fs::remove_dir_all(&filters).on("remove", &filters)?;
    }
    fs::remove_dir(directory).on("remove", directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sessions_have_made_is_removed_and_a_container_is_not() {
        let scene = tempfile::tempdir().unwrap();
        let [made, used] = ["made", "used"].map(|name| scene.path().join(name));
        for dir in [made.join(".runtime/.seccomp"), used.join(".seccomp"), used.join("box")] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(made.join(".runtime/.seccomp/caa2"), "").unwrap();
        Defaults(vec![made.clone(), scene.path().join("never")]).restore().unwrap();
        assert!(!made.exists());
        let error = Defaults(vec![used.clone()]).restore().unwrap_err().to_string();
        assert!(error.contains("used") && used.join("box").exists(), "{error}");
    }
}
