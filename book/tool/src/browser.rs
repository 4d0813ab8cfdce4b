//! stub
use crate::{error::Result, finding::Finding, layout::Layout};
use std::path::Path;
/// stub
///
/// # Errors
/// never
pub fn check(_: &Layout, _: &Path, _: Option<&Path>) -> Result<Vec<Finding>> {
    Ok(vec![])
}
