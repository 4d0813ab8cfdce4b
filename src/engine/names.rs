//! Which container has a name: an index, so that finding one does not mean reading all.
//!
//! `STATE/.names/NAME` is a symbolic link whose text is the id. What a container is called is in its
//! `config.json`; an entry that says otherwise means nothing. So entries are written before the
//! container and removed after it, and neither is made durable: after a reboot the index is made
//! again. Where STATE survives one, `.boot` tells that there was one.

use std::path::{Path, PathBuf};

use super::error::{At, Result};

/// The kernel's name for the time since it was booted (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// For which boot the index was made. No container's name begins with a dot.
const BOOT: &str = ".boot";

/// The index.
#[derive(Debug)]
pub struct Names {
    directory: PathBuf,
}

impl Names {
    /// The index in `state`, the directory of what need not survive a reboot.
    pub fn of(state: &Path) -> Names {
        Names { directory: state.join(".names") }
    }

    /// Whether it was made since the machine was booted.
    pub fn is_of_this_boot(&self) -> bool {
        let made = std::fs::read_link(self.directory.join(BOOT));
        made.is_ok_and(|made| made == Path::new(&boot()))
    }

    /// Makes it anew. The caller keeps others from doing the same.
    ///
    /// # Errors
    /// With the path.
    pub fn rebuild<'a>(&self, all: impl Iterator<Item = (&'a str, &'a str)>) -> Result<()> {
        if self.directory.exists() {
            std::fs::remove_dir_all(&self.directory).at("remove", &self.directory)?;
        }
        std::fs::create_dir(&self.directory).at("make", &self.directory)?;
        for (name, id) in all {
            self.put(name, id)?;
        }
        // Last: a crash before it means to begin again.
        let path = self.directory.join(BOOT);
        std::os::unix::fs::symlink(boot(), &path).at("link", &path)
    }

    /// The id that the index has for `name`.
    pub fn get(&self, name: &str) -> Option<String> {
        let id = std::fs::read_link(self.path(name)?).ok()?;
        id.into_os_string().into_string().ok()
    }

    /// Enters a name; what was there goes.
    ///
    /// # Errors
    /// With the path.
    pub fn put(&self, name: &str, id: &str) -> Result<()> {
        let Some(path) = self.path(name) else { return Ok(()) };
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(id, &path).at("link", &path)
    }

    /// Enters a name that nobody has; gives whether that was so.
    ///
    /// # Errors
    /// With the path.
    pub fn claim(&self, name: &str, id: &str) -> Result<bool> {
        let Some(path) = self.path(name) else { return Ok(false) };
        match std::os::unix::fs::symlink(id, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true).at("link", &path),
        }
    }

    /// Takes out a name, unless another container has it by now. One that stays does no harm.
    pub fn remove(&self, name: &str, id: &str) {
        if self.get(name).as_deref() == Some(id)
            && let Some(path) = self.path(name)
        {
            let _ = std::fs::remove_file(path);
        }
    }

    /// `None` for what can be no name.
    fn path(&self, name: &str) -> Option<PathBuf> {
        super::state::check_name(name).ok().map(|()| self.directory.join(name))
    }
}

fn boot() -> String {
    std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_changed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let names = Names::of(dir.path());
        assert!(!names.is_of_this_boot());
        names.rebuild([("web", "1"), ("db", "2")].into_iter()).unwrap();
        assert!(names.is_of_this_boot());
        assert_eq!(names.get("web").as_deref(), Some("1"));
        names.put("web", "3").unwrap();
        assert!(!names.claim("web", "5").unwrap() && names.claim("free", "5").unwrap());
        names.remove("web", "1");
        assert_eq!(names.get("web").as_deref(), Some("3"), "it is another's");
        names.remove("web", "3");
        for none in ["web", "nobody_s", "", "..", "../names/db", ".boot", "nobody"] {
            assert_eq!(names.get(none), None, "{none}");
        }
        names.rebuild([("own", "4")].into_iter()).unwrap();
        assert_eq!((names.get("db"), names.get("own").as_deref()), (None, Some("4")));
    }
}
