//! Platforms as clients write them, and dockerd's words for those that are none.

use corten_daemon::{Failure, Outcome};
use corten_registry::{Image, Platform};

/// Operating systems that a word alone may mean.
const SYSTEMS: [&str; 8] =
    ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "windows"];

/// Processors that a word alone may mean, and what they are called elsewhere.
const PROCESSORS: [(&str, &str); 14] = [
    ("386", "386"),
    ("aarch64", "arm64"),
    ("amd64", "amd64"),
    ("arm", "arm"),
    ("arm64", "arm64"),
    ("armhf", "arm"),
    ("i386", "386"),
    ("loong64", "loong64"),
    ("mips64le", "mips64le"),
    ("ppc64le", "ppc64le"),
    ("riscv64", "riscv64"),
    ("s390x", "s390x"),
    ("x86-64", "amd64"),
    ("x86_64", "amd64"),
];

/// A platform; `None` where nothing was said.
///
/// # Errors
/// 400.
pub(super) fn read(text: &str) -> Outcome<Option<Platform>> {
    let invalid = |why: &str| Err(Failure::invalid(format!("{text:?}: {why}: invalid argument")));
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('/') {
        return match text.parse() {
            Ok(platform) => Ok(Some(platform)),
            Err(_) => invalid("cannot parse platform specifier"),
        };
    }
    let host = Platform::host();
    let word = text.to_ascii_lowercase();
    if SYSTEMS.contains(&word.as_str()) {
        return Ok(Some(Platform::new(&word, &host.architecture, None)));
    }
    match PROCESSORS.iter().find(|(known, _)| *known == word) {
        Some((_, name)) => Ok(Some(Platform::new(&host.os, name, None))),
        None => invalid("unknown operating system or architecture"),
    }
}

/// Whether an image, called `name`, is for the platform that was asked for.
///
/// # Errors
/// 404, as dockerd has it: such an image is not there.
pub(super) fn check(name: &str, image: &Image, wanted: &Platform) -> Outcome<()> {
    let spec = image.config.spec();
    let (os, processor) = (spec.os().to_string(), spec.architecture().to_string());
    let own = Platform::new(&os, &processor, spec.variant().as_deref());
    // What an image does not tell is not held against it.
    if os.is_empty() || processor.is_empty() || wanted.choose([&own].into_iter()).is_some() {
        return Ok(());
    }
    Err(Failure::missing(format!(
        "image with reference {name} was found but does not match the specified platform: wanted \
         {wanted}, actual: {own}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_a_system_or_a_processor() {
        let shown = |text: &str| read(text).unwrap().unwrap().to_string();
        assert_eq!(read("").unwrap(), None);
        assert_eq!(shown("linux/arm64"), "linux/arm64");
        assert_eq!(shown("aarch64"), "linux/arm64");
        assert_eq!(shown("linux"), format!("linux/{}", Platform::host().architecture));
        let why = |text: &str| read(text).unwrap_err().message;
        let words = "\"foo\": unknown operating system or architecture: invalid argument";
        assert_eq!(why("foo"), words);
        let words = "\"a/b/c/d\": cannot parse platform specifier: invalid argument";
        assert_eq!(why("a/b/c/d"), words);
    }
}
