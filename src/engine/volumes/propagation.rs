//! Whether a mount of the host can do what a bind mount's propagation asks of it.

use std::path::Path;

use super::MountPoint;
use crate::engine::error::{At, Error, Result};
use crate::engine::options::MountType;

/// Checks the mounts that want to be shared with the host's.
///
/// # Errors
/// [`Error::Refused`], naming the mount that is private.
pub fn check(points: &[MountPoint]) -> Result<()> {
    let wants = |point: &&MountPoint| {
        point.kind == MountType::Bind && !point.propagation.ends_with("private")
    };
    let mut wanting = points.iter().filter(wants).peekable();
    if wanting.peek().is_none() {
        return Ok(());
    }
    let path = Path::new("/proc/self/mountinfo");
    let mounts = std::fs::read_to_string(path).at("read", path)?;
    for point in wanting {
        let source = Path::new(&point.source);
        let source = source.canonicalize().at("resolve", source)?;
        let Some((mount, optional)) = mount_of(&mounts, &source) else { continue };
        let has = |tag: &str| optional.iter().any(|field| field.starts_with(tag));
        let slave = point.propagation.ends_with("slave");
        if !(has("shared:") || slave && has("master:")) {
            let kind = if slave { "shared or slave" } else { "shared" };
            return Err(Error::refused(format!(
                "path {} is mounted on {mount} but it is not a {kind} mount",
                point.source
            )));
        }
    }
    Ok(())
}

/// The mount that `path` is on: its point, and its optional fields (proc(5)).
fn mount_of<'a>(mountinfo: &'a str, path: &Path) -> Option<(String, Vec<&'a str>)> {
    let mut best: Option<(String, Vec<&str>)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ');
        let Some(point) = fields.nth(4).map(unescape) else { continue };
        // Of two on one path, the later covers the other.
        let longer = best.as_ref().is_none_or(|(other, _)| point.len() >= other.len());
        if path.starts_with(&point) && longer {
            best = Some((point, fields.skip(1).take_while(|field| *field != "-").collect()));
        }
    }
    best
}

/// mountinfo writes a space as `\040`.
fn unescape(text: &str) -> String {
    let text = text.replace("\\040", " ").replace("\\011", "\t");
    text.replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts() {
        let info = "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
                    2 1 8:2 / /a\\040b rw,nosuid - tmpfs t rw\n\
                    3 1 8:3 / /s rw master:7 propagate_from:1 - tmpfs t rw\n";
        let found = |path: &str| mount_of(info, Path::new(path)).unwrap();
        assert_eq!(found("/a b/c"), ("/a b".to_owned(), vec![]));
        assert_eq!(found("/a bc"), ("/".to_owned(), vec!["shared:1"]));
        assert_eq!(found("/s").1, ["master:7", "propagate_from:1"]);
    }
}
