//! All checks of the sources, in one list.

use crate::error::Result;
use crate::finding::Finding;
use crate::layout::Layout;
use crate::{chapter, fence, include, link, measurement, replay};

/// Every fault of the book, sorted by file and line.
///
/// # Errors
/// Where a page or a measurement cannot be read.
pub fn check(layout: &Layout) -> Result<Vec<Finding>> {
    let pages = layout.pages()?;
    let mut findings = Vec::new();
    for page in &pages {
        findings.extend(fence::check(page));
        findings.extend(include::expand(page).err().into_iter().flatten());
        findings.extend(chapter::check(layout, page));
    }
    findings.extend(replay::check(&pages));
    findings.extend(link::check(layout, &pages));
    findings.extend(measurement::check(layout)?);
    findings.sort();
    findings.dedup();
    Ok(findings)
}
