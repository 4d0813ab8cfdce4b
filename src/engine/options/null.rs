//! Reading what clients write: null for what they have nothing to say about.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};

/// A value, or its type's default for null.
///
/// # Errors
/// Where it is neither.
pub fn tolerant<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Tolerant<'de>,
{
    T::tolerant(from)
}

/// A type that null has a meaning for.
pub trait Tolerant<'de>: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// Where the JSON is of another type.
    fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

macro_rules! by_default {
    ($($type:ty),*) => {
        $(impl<'de> Tolerant<'de> for $type {
            fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Option::deserialize(from)?.unwrap_or_default())
            }
        })*
    };
}
by_default!(bool, i32, i64, u16, u32, u64, String, [u32; 2]);
by_default!(super::LogConfig, super::RestartPolicy, super::MountType, super::config::Words);

impl<'de, T: Deserialize<'de>> Tolerant<'de> for Option<T> {
    fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from)
    }
}

/// Null in a list is passed over.
impl<'de, T: Deserialize<'de>> Tolerant<'de> for Vec<T> {
    fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let list: Option<Vec<Option<T>>> = Option::deserialize(from)?;
        Ok(list.unwrap_or_default().into_iter().flatten().collect())
    }
}

/// A value of null is the type's default: `"80/tcp": null` names a port all the same.
impl<'de, T: Deserialize<'de> + Default> Tolerant<'de> for BTreeMap<String, T> {
    fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map: Option<BTreeMap<String, Option<T>>> = Option::deserialize(from)?;
        let map = map.unwrap_or_default().into_iter();
        Ok(map.map(|(name, value)| (name, value.unwrap_or_default())).collect())
    }
}

/// Its fields stand among those of what it is a part of, so it cannot be null.
impl<'de> Tolerant<'de> for super::host::Resources {
    fn tolerant<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}
