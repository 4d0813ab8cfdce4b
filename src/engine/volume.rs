//! What a user mounts into a container: `-v SRC:DST[:ro]` and `--tmpfs DST[:OPTIONS]`.

use std::path::{Component, Path, PathBuf};

use corten_namespaces::mount::{Mount, attribute};
use serde::{Deserialize, Serialize};

use super::error::{At, Error, Result};

/// A mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Volume {
    /// A file or directory of the host.
    #[serde(rename_all = "camelCase")]
    Bind {
        /// Where it is on the host.
        source: PathBuf,
        /// Where it is seen inside.
        target: PathBuf,
        /// With all that is mounted below it.
        read_only: bool,
    },
    /// A file system in memory.
    #[serde(rename_all = "camelCase")]
    Tmpfs {
        /// Where it is seen inside.
        target: PathBuf,
        /// The file system's own options: `size=64m,mode=1777`.
        options: String,
        /// `MOUNT_ATTR_*`.
        attributes: u64,
    },
}

impl Volume {
    /// Reads the value of `-v`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for all that is not `/SRC:/DST`, `/SRC:/DST:ro` or `/SRC:/DST:rw`.
    pub fn parse_bind(text: &str) -> Result<Volume> {
        let bad = |why: &str| Err(Error::invalid(format!("volume `{text}`"), why));
        let fields: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match fields[..] {
            [_] => {
                return bad("is an anonymous volume, which Corten does not have yet: give \
                            /HOST/PATH:/CONTAINER/PATH");
            }
            [source, target] => (source, target, "rw"),
            [source, target, mode] => (source, target, mode),
            _ => return bad("has too many colons: it is /HOST/PATH:/CONTAINER/PATH[:ro]"),
        };
        let read_only = match mode {
            "ro" => true,
            "rw" => false,
            _ => return bad("ends in an unknown option: ro and rw are known"),
        };
        if source.starts_with('.') || source.contains('/') && !source.starts_with('/') {
            return bad("has a relative host path: it must begin with /");
        }
        if !source.starts_with('/') {
            return bad(
                "is a named volume, which Corten does not have yet: give an absolute host \
                        path",
            );
        }
        let target = clean(text, target)?;
        Ok(Volume::Bind { source: PathBuf::from(source), target, read_only })
    }

    /// Reads the value of `--tmpfs`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a relative path; options that only the kernel knows are its to check.
    pub fn parse_tmpfs(text: &str) -> Result<Volume> {
        use attribute::{NODEV, NOEXEC, NOSUID, RDONLY};
        let (target, list) = text.split_once(':').unwrap_or((text, ""));
        let target = clean(text, target)?;
        // Docker's defaults: a place for data, not for programs or devices.
        let mut attributes = NODEV | NOEXEC | NOSUID;
        let mut options = Vec::new();
        for option in list.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => attributes |= RDONLY,
                "rw" => attributes &= !RDONLY,
                "noexec" => attributes |= NOEXEC,
                "exec" => attributes &= !NOEXEC,
                "nosuid" => attributes |= NOSUID,
                "suid" => attributes &= !NOSUID,
                "nodev" => attributes |= NODEV,
                "dev" => attributes &= !NODEV,
                other => options.push(other),
            }
        }
        Ok(Volume::Tmpfs { target, options: options.join(","), attributes })
    }

    /// Where it is seen inside.
    pub fn target(&self) -> &Path {
        match self {
            Volume::Bind { target, .. } | Volume::Tmpfs { target, .. } => target,
        }
    }

    /// Makes the host's directory where it is missing, as Docker's `-v` does.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn prepare(&self) -> Result<()> {
        match self {
            // A link that dangles counts as there: making its target is not asked for.
            Volume::Bind { source, .. } if source.symlink_metadata().is_err() => {
                std::fs::create_dir_all(source).at("make the host directory", source)
            }
            _ => Ok(()),
        }
    }

    /// The mount for chapter 1.
    ///
    /// # Errors
    /// For a NUL byte in a path or an option.
    pub fn mount(&self) -> Result<Mount> {
        Ok(match self {
            Volume::Bind { source, target, read_only } => {
                Mount::bind(source, target, if *read_only { attribute::RDONLY } else { 0 })?
            }
            Volume::Tmpfs { target, options, attributes } => {
                Mount::file_system("tmpfs", target, *attributes, options)?
            }
        })
    }
}

/// Sorts by depth, so that no mount hides another; two on one path are a mistake.
///
/// # Errors
/// [`Error::Invalid`], naming the path.
pub fn ordered(mut volumes: Vec<Volume>) -> Result<Vec<Volume>> {
    volumes.sort_by_key(|volume| volume.target().components().count());
    for (index, volume) in volumes.iter().enumerate() {
        if volumes.iter().skip(index + 1).any(|other| other.target() == volume.target()) {
            let what = format!("{}", volume.target().display());
            return Err(Error::invalid(what, "two volumes have this place in the container"));
        }
    }
    Ok(volumes)
}

fn clean(text: &str, target: &str) -> Result<PathBuf> {
    let bad = |why: &str| Error::invalid(format!("volume `{text}`"), why);
    if !target.starts_with('/') {
        return Err(bad("has a relative path in the container: it must begin with /"));
    }
    let cleaned = lexical(Path::new(target));
    if cleaned == Path::new("/") {
        return Err(bad("would replace the container's whole root"));
    }
    Ok(cleaned)
}

/// `/a/./b/../c` as `/a/c`, without a look at the file system, as Docker reads paths of the user;
/// what is relative is taken from `/`.
pub fn lexical(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_source_target_and_mode() {
        let bind = |source: &str, target: &str, read_only| Volume::Bind {
            source: source.into(),
            target: target.into(),
            read_only,
        };
        for (text, want) in [
            ("/a:/b", bind("/a", "/b", false)),
            ("/a:/b:ro", bind("/a", "/b", true)),
            ("/a:/b:rw", bind("/a", "/b", false)),
            ("/a b/é:/x/../b/./c/", bind("/a b/é", "/b/c", false)),
        ] {
            assert_eq!(Volume::parse_bind(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_bind_says_why() {
        for (text, why) in [
            ("/a", "anonymous volume"),
            ("data:/b", "named volume"),
            ("./a:/b", "relative host path"),
            ("a/b:/b", "relative host path"),
            ("/a:b", "relative path in the container"),
            ("/a:/", "whole root"),
            ("/a:/x/..", "whole root"),
            ("/a:/b:rx", "unknown option"),
            ("/a:/b:ro:z", "too many colons"),
            (":/b", "named volume"),
            ("", "anonymous volume"),
        ] {
            let error = Volume::parse_bind(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn tmpfs_options_become_attributes_or_go_to_the_kernel() {
        let Volume::Tmpfs { target, options, attributes } =
            Volume::parse_tmpfs("/run:size=1m,exec,ro,mode=700").unwrap()
        else {
            panic!("a tmpfs")
        };
        assert_eq!((target, options.as_str()), (PathBuf::from("/run"), "size=1m,mode=700"));
        assert_eq!(attributes, attribute::RDONLY | attribute::NOSUID | attribute::NODEV);
        assert!(Volume::parse_tmpfs("run").is_err());
    }

    #[test]
    fn the_outer_mount_comes_first_and_none_comes_twice() {
        let parse = |list: &[&str]| list.iter().map(|t| Volume::parse_bind(t).unwrap()).collect();
        let sorted = ordered(parse(&["/x:/a/b", "/y:/a"])).unwrap();
        assert_eq!(sorted[0].target(), Path::new("/a"));
        let error = ordered(parse(&["/x:/a", "/y:/a/"])).unwrap_err().to_string();
        assert!(error.contains("/a: two volumes"), "{error}");
    }
}
