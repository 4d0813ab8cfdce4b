//! Which images a list has: `images --filter`, and the API's `filters`.

use corten_builder::glob::Glob;
use corten_registry::{Image, Reference};

use super::clock;
use super::error::{Error, Result};
use super::filter::{Filters, no_truth, truth};
use super::options::Config;

/// The names of the filters.
pub const KNOWN: [&str; 7] =
    ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// What an image must be to be listed.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    filters: Filters,
    /// Patterns of names.
    names: Vec<Glob>,
    dangling: Option<bool>,
    /// Seconds since 1970.
    before: Option<i64>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Choice {
    /// Reads filters; `find` knows images by their names.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Refused`] for values that are none; what `find` answers.
    pub fn new<E: From<Error>>(
        filters: Filters,
        find: impl Fn(&str) -> std::result::Result<Image, E>,
    ) -> std::result::Result<Choice, E> {
        let dangling = filters.values("dangling").last();
        let dangling = dangling
            .map(|text| truth(text).ok_or_else(|| no_truth("dangling", text)))
            .transpose()?;
        let point = |name: &str| match filters.values(name).last() {
            Some(name) => find(name).map(|image| Some(created(&image))),
            None => Ok(None),
        };
        let (before, since) = (point("before")?, point("since")?);
        let until = filters.until()?;
        let until = until.as_deref().map(clock::seconds);
        let patterns = filters.values("reference").iter();
        let names = patterns.map(|pattern| Glob::parse(pattern, false).map_err(Error::refused));
        let names = names.collect::<Result<_>>()?;
        Ok(Choice { filters, names, dangling, before, since, until })
    }

    /// Whether an image fits, whatever its names. A dangling one has no tag; one that is not dangling has a
    /// name of some kind: so one that a registry's digest is left of is either, as with dockerd.
    pub fn fits(&self, image: &Image) -> bool {
        let when = created(image);
        let dangles = |wanted| match wanted {
            true => image.is_dangling(),
            false => !image.names.is_empty(),
        };
        self.dangling.is_none_or(dangles)
            && self.before.is_none_or(|before| when < before)
            && self.since.is_none_or(|since| when > since)
            && self.until.is_none_or(|until| when < until)
            && (!self.asks_for_labels() || self.filters.labels_fit(&labels(image)))
    }

    fn asks_for_labels(&self) -> bool {
        self.filters.has("label") || self.filters.has("label!")
    }

    /// Whether names are chosen from.
    pub fn asks_for_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a name fits one of the patterns.
    pub fn name_fits(&self, name: &Reference) -> bool {
        let fits =
            |glob: &Glob| glob.matches(&name.familiar()) || glob.matches(&name.familiar_name());
        self.names.is_empty() || self.names.iter().any(fits)
    }
}

/// When an image was made, in seconds since 1970.
pub fn created(image: &Image) -> i64 {
    image.config.spec().created().as_deref().map_or(0, clock::seconds)
}

/// The labels of an image.
pub fn labels(image: &Image) -> std::collections::BTreeMap<String, String> {
    Config::of_image(image).map(|config| config.labels).unwrap_or_default()
}

impl super::Engine {
    /// Reads filters of a command line.
    ///
    /// # Errors
    /// As [`Choice::new`]; an unknown one.
    pub fn choice(&self, filters: &[String]) -> Result<Choice> {
        Choice::new(Filters::parse(filters, &KNOWN)?, |name| Ok(self.images.image(name)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_parts_of_a_path() {
        let fits = |pattern: &str, name: &str| {
            let filters = Filters::new([("reference".to_owned(), pattern.to_owned())], &KNOWN)?;
            let choice = Choice::new(filters, |name| Err(Error::refused(name)))?;
            Ok::<_, Error>(choice.asks_for_names() && choice.name_fits(&Reference::parse(name)?))
        };
        for (pattern, name, expected) in [
            ("busy*", "busybox:1", true),
            ("*box:latest", "busybox", true),
            ("busybo", "busybox", false),
            ("*", "me/app", false),
            ("*/app", "me/app", true),
            ("a.b/c", "axb/c", false),
            ("app:v[0-9]", "app:v1", true),
            ("app:v[^0-9]", "app:v1", false),
        ] {
            assert_eq!(fits(pattern, name).unwrap(), expected, "{pattern} {name}");
        }
        let refused = fits("app:[", "app").unwrap_err().to_string();
        assert!(refused.starts_with("syntax error in pattern"), "{refused}");
    }
}
