//! Filters by name: `--filter NAME=VALUE`, and the API's `filters`.

use std::collections::BTreeMap;

use super::clock;
use super::error::{Error, Result};

/// What `prune` of containers, images and networks is filtered by.
pub const OF_PRUNE: [&str; 3] = ["label", "label!", "until"];

/// Filters whose names are known where they are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Checks the names.
    ///
    /// # Errors
    /// [`Error::Refused`] for one that is not `known`.
    pub fn new(
        filters: impl IntoIterator<Item = (String, String)>,
        known: &[&str],
    ) -> Result<Filters> {
        let mut checked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in filters {
            if !known.contains(&name.as_str()) {
                return Err(Error::refused(format!("invalid filter '{name}'")));
            }
            checked.entry(name).or_default().push(value);
        }
        Ok(Filters(checked))
    }

    /// Reads `NAME=VALUE`s of a command line.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Filters> {
        let split = |text: &String| match text.split_once('=') {
            // `label!=KEY` has the name `label!`.
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                Err(Error::refused(format!("bad format of filter (expected name=value): {text:?}")))
            }
        };
        Filters::new(texts.iter().map(split).collect::<Result<Vec<_>>>()?, known)
    }

    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values of one name.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The point in time of `until`, in RFC 3339.
    ///
    /// # Errors
    /// [`Error::Refused`] for what is none, and for several.
    pub fn until(&self) -> Result<Option<String>> {
        match self.values("until") {
            [] => Ok(None),
            [one] => clock::until(one).map(Some),
            _ => Err(Error::refused("more than one until filter specified")),
        }
    }

    /// Whether the name is used.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether one value of the name fits, or there is none.
    pub fn one_of(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// Whether labels fit: all of `label`, and none of `label!`.
    pub fn labels_fit(&self, labels: &BTreeMap<String, String>) -> bool {
        let fits = |text: &String| match text.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
            None => labels.contains_key(text),
        };
        self.values("label").iter().all(fits) && !self.values("label!").iter().any(fits)
    }
}

/// What is said of a filter that wants yes or no.
pub fn no_truth(name: &str, text: &str) -> Error {
    Error::refused(format!("invalid filter '{name}=[{text}]'"))
}

/// As Go reads it.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
