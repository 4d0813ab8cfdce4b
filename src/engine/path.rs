//! Paths that a user or an image names.

use std::path::{Component, Path, PathBuf};

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
    fn nothing_leads_above_the_root() {
        for (text, clean) in
            [("/a/./b/../c/", "/a/c"), ("/..", "/"), ("a/../../b", "/b"), ("", "/")]
        {
            assert_eq!(lexical(Path::new(text)), Path::new(clean), "{text}");
        }
    }
}
