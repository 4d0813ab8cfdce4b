//! Choosing volumes: `--filter`, and the API's `filters`.

use std::collections::BTreeMap;

use super::Volume;
use crate::engine::error::{Error, Result};

/// Filters by name, checked. A volume is chosen where of each filter one value fits; of `label` all
/// must.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// Where filters are used: `ls` and `prune` know different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// `volume ls`.
    List,
    /// `volume prune`.
    Prune,
}

impl Filters {
    /// Checks filters.
    ///
    /// # Errors
    /// [`Error::Refused`] for one that is none.
    pub fn new(
        filters: impl IntoIterator<Item = (String, String)>,
        purpose: For,
    ) -> Result<Filters> {
        let known: &[&str] = match purpose {
            For::List => &["dangling", "name", "driver", "label"],
            For::Prune => &["all", "label", "label!"],
        };
        let mut checked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in filters {
            if !known.contains(&name.as_str()) {
                return Err(Error::refused(format!("invalid filter '{name}'")));
            }
            if ["dangling", "all"].contains(&name.as_str()) && truth(&value).is_none() {
                return Err(Error::refused(format!("invalid filter '{name}={value}'")));
            }
            checked.entry(name).or_default().push(value);
        }
        Ok(Filters(checked))
    }

    /// Reads `NAME=VALUE`s of a command line.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn parse(texts: &[String], purpose: For) -> Result<Filters> {
        let split = |text: &String| match text.split_once('=') {
            // `label!=KEY` has the name `label!`.
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => {
                Err(Error::refused(format!("bad format of filter (expected name=value): {text:?}")))
            }
        };
        Filters::new(texts.iter().map(split).collect::<Result<Vec<_>>>()?, purpose)
    }

    fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether it matters who uses a volume.
    pub(super) fn wants_users(&self) -> bool {
        self.0.contains_key("dangling")
    }

    /// Whether volumes with a name are meant, too.
    pub(super) fn all(&self) -> bool {
        self.values("all").iter().any(|value| truth(value) == Some(true))
    }

    /// Whether it is chosen.
    pub(super) fn choose(&self, volume: &Volume, used: bool) -> bool {
        let one_of = |name: &str, fits: &dyn Fn(&String) -> bool| {
            let values = self.values(name);
            values.is_empty() || values.iter().any(fits)
        };
        let labelled = |text: &String| match text.split_once('=') {
            Some((name, value)) => volume.labels.get(name).is_some_and(|own| own == value),
            None => volume.labels.contains_key(text),
        };
        one_of("dangling", &|value| truth(value) == Some(!used))
            && one_of("name", &|part| volume.name.contains(part.as_str()))
            && one_of("driver", &|driver| volume.driver == *driver)
            && self.values("label").iter().all(labelled)
            && !self.values("label!").iter().any(labelled)
    }
}

/// As Go reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
