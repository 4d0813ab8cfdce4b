//! Platforms as clients write them, and dockerd's words for those that are none.

use corten_daemon::{Failure, Outcome};
use corten_registry::{Image, Platform};
use serde::Deserialize;
use serde_json::Value;

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

/// A platform of the OCI's image specification.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    os: String,
    architecture: String,
    variant: String,
    #[serde(rename = "os.version")]
    os_version: String,
    #[serde(rename = "os.features")]
    os_features: Vec<String>,
}

/// Platforms as JSON: each text is one, or a list of them.
///
/// # Errors
/// 400, in dockerd's words.
pub(super) fn decoded(texts: &[String]) -> Outcome<Vec<Platform>> {
    let invalid =
        |why: serde_json::Error| Failure::invalid(format!("failed to parse platform: {why}"));
    let mut all = Vec::new();
    for text in texts {
        let list: Vec<Written> = match serde_json::from_str::<Value>(text).map_err(invalid)? {
            list @ Value::Array(_) => serde_json::from_value(list).map_err(invalid)?,
            one => vec![serde_json::from_value(one).map_err(invalid)?],
        };
        all.extend(list.into_iter().map(Written::checked).collect::<Outcome<Vec<_>>>()?);
    }
    Ok(all)
}

impl Written {
    fn checked(self) -> Outcome<Platform> {
        let Written { os, architecture, variant, os_version, os_features } = self;
        let more = !(variant.is_empty() && os_version.is_empty() && os_features.is_empty());
        match (os.is_empty(), architecture.is_empty()) {
            (false, false) => {
                let variant = Some(variant.as_str()).filter(|variant| !variant.is_empty());
                Ok(Platform::new(&os, &architecture, variant))
            }
            (true, true) if more => Err(Failure::invalid(
                "optional platform fields provided, but OS and Architecture are missing",
            )),
            _ => Err(Failure::invalid("both OS and Architecture must be provided")),
        }
    }
}

/// Whether an image, called `name`, is for one of the platforms that were asked for; where none was, it
/// is.
///
/// # Errors
/// 404, as dockerd has it: such an image is not there.
pub(super) fn check(name: &str, image: &Image, wanted: &[Platform]) -> Outcome<()> {
    check_any(name, &[image.config.platform()], wanted)
}

/// The same of a name that may have images for several.
///
/// # Errors
/// As [`check`].
pub(super) fn check_any(name: &str, actual: &[Platform], wanted: &[Platform]) -> Outcome<()> {
    // What an image does not tell is not held against it.
    let untold = |own: &Platform| own.os.is_empty() || own.architecture.is_empty();
    let runs = |own: &Platform| wanted.iter().any(|wanted| wanted.runs(own));
    if wanted.is_empty() || actual.iter().any(|own| untold(own) || runs(own)) {
        return Ok(());
    }
    let listed = |all: &[Platform], between: &str| {
        all.iter().map(Platform::to_string).collect::<Vec<_>>().join(between)
    };
    Err(Failure::missing(format!(
        "image with reference {name} was found but does not match the specified platform: wanted {}, \
         actual: {}",
        listed(wanted, " or "),
        listed(actual, ", "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_as_json_are_one_or_a_list() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let one = r#"{"os":"linux","architecture":"arm","variant":"v6"}"#;
        let list =
            r#"[{"os":"linux","architecture":"amd64"},{"os":"linux","architecture":"arm64"}]"#;
        let shown: Vec<String> =
            decoded(&texts(&[one, list])).unwrap().iter().map(Platform::to_string).collect();
        assert_eq!(shown, ["linux/arm/v6", "linux/amd64", "linux/arm64"]);
        for (text, why) in [
            ("linux/amd64", "failed to parse platform: "),
            (r#"{"os":1}"#, "failed to parse platform: "),
            ("{}", "both OS and Architecture must be provided"),
            (r#"{"os":"linux"}"#, "both OS and Architecture must be provided"),
            (r#"{"variant":"v7"}"#, "optional platform fields provided"),
        ] {
            let failure = decoded(&texts(&[text])).unwrap_err();
            assert!(failure.status == 400 && failure.message.contains(why), "{text}: {failure:?}");
        }
    }

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
