//! Choosing volumes.

use super::Volume;
use crate::engine::error::Result;
use crate::engine::filter::{self, truth};

/// Filters by name, checked. A volume is chosen where of each filter one value fits; of `label` all
/// must.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(filter::Filters);

/// Where filters are used: `ls` and `prune` know different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// `volume ls`.
    List,
    /// `volume prune`.
    Prune,
}

impl For {
    fn known(self) -> &'static [&'static str] {
        match self {
            For::List => &["dangling", "name", "driver", "label"],
            For::Prune => &["all", "label", "label!"],
        }
    }
}

impl Filters {
    /// Checks filters.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::engine::Error::Refused) for one that is none.
    pub fn new(
        filters: impl IntoIterator<Item = (String, String)>,
        purpose: For,
    ) -> Result<Filters> {
        Filters::checked(filter::Filters::new(filters, purpose.known())?)
    }

    /// Reads `NAME=VALUE`s of a command line.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::engine::Error::Refused).
    pub fn parse(texts: &[String], purpose: For) -> Result<Filters> {
        Filters::checked(filter::Filters::parse(texts, purpose.known())?)
    }

    fn checked(filters: filter::Filters) -> Result<Filters> {
        for name in ["dangling", "all"] {
            if let Some(value) = filters.values(name).iter().find(|value| truth(value).is_none()) {
                return Err(filter::no_truth(name, value));
            }
        }
        Ok(Filters(filters))
    }

    /// Whether it matters who uses a volume.
    pub(super) fn wants_users(&self) -> bool {
        self.0.has("dangling")
    }

    /// Whether volumes with a name are meant, too.
    pub(super) fn all(&self) -> bool {
        self.0.values("all").iter().any(|value| truth(value) == Some(true))
    }

    /// Whether it is chosen.
    pub(super) fn choose(&self, volume: &Volume, used: bool) -> bool {
        self.0.one_of("dangling", |value| truth(value) == Some(!used))
            && self.0.one_of("name", |part| volume.name.contains(part))
            && self.0.one_of("driver", |driver| volume.driver == driver)
            && self.0.labels_fit(&volume.labels)
    }
}
