//! Which images a list has: `images --filter`, and the API's `filters`.

use corten_registry::{Image, Reference};

use super::clock;
use super::error::{Error, Result};
use super::filter::{Filters, truth};
use super::options::Config;

/// The names of the filters.
pub const KNOWN: [&str; 7] =
    ["before", "dangling", "label", "label!", "reference", "since", "until"];

/// What an image must be to be listed.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    filters: Filters,
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
        let invalid = |text: &str| Error::refused(format!("invalid filter 'dangling={text}'"));
        let dangling = filters.values("dangling").last();
        let dangling = dangling.map(|text| truth(text).ok_or_else(|| invalid(text))).transpose()?;
        let point = |name: &str| match filters.values(name).last() {
            Some(name) => find(name).map(|image| Some(created(&image))),
            None => Ok(None),
        };
        let (before, since) = (point("before")?, point("since")?);
        let until: Option<&String> = filters.values("until").last();
        let until = until.map(|text| clock::until(text)).transpose()?;
        let until = until.as_deref().map(clock::seconds);
        Ok(Choice { filters, dangling, before, since, until })
    }

    /// Whether an image fits, whatever its names; a dangling one has none.
    pub fn fits(&self, image: &Image, is_dangling: bool) -> bool {
        let when = created(image);
        self.dangling.is_none_or(|wanted| wanted == is_dangling)
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
        self.filters.has("reference")
    }

    /// Whether a name fits one of the patterns.
    pub fn name_fits(&self, name: &Reference) -> bool {
        self.filters.one_of("reference", |pattern| {
            matches(pattern, &name.familiar()) || matches(pattern, &name.familiar_name())
        })
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

/// Whether a name fits a pattern: `*` and `?` stand for anything but a slash.
fn matches(pattern: &str, text: &str) -> bool {
    let mut expression = String::from("^");
    for character in pattern.chars() {
        match character {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '[' | ']' => expression.push(character),
            other => expression.push_str(&regex::escape(&other.to_string())),
        }
    }
    expression.push('$');
    regex::Regex::new(&expression).is_ok_and(|expression| expression.is_match(text))
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
        assert!(matches("busy*", "busybox:1") && matches("*/app", "me/app"));
        assert!(!matches("*", "me/app") && !matches("busybo", "busybox"));
        assert!(matches("v[0-9]", "v1") && !matches("v.", "v1"));
    }
}
