//! Reading JSON: by one of serde_json's four readers, and that is worth a module.
//!
//! Each reader (of text, of bytes, of a stream, of a [`Value`]) is another copy of the code that
//! reads each of the types of a configuration. The program with two of them is a twelfth larger,
//! and it starts twice for each container.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Result, Value};

/// A value of JSON text.
///
/// # Errors
/// Where it is no JSON, or no `T`.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text)
}

/// The same of what has been read already, and changed.
///
/// # Errors
/// Where it is no `T`.
pub fn convert<T: DeserializeOwned>(value: &Value) -> Result<T> {
    parse(&value.to_string())
}
