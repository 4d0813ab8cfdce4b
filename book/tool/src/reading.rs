//! The book as its most patient reader finds it: who types every command and compares what it prints.
//!
//! For each page with sessions: how many commands it has, how many printed what the page says, how long
//! they took, and how long the text is. Commands of blocks that are not replayed are counted apart.

use std::time::Instant;

use serde::Serialize;

use crate::error::Result;
use crate::fence::Fence;
use crate::layout::Layout;
use crate::page::Page;
use crate::replay;

/// What was found on a page.
#[derive(Debug, Serialize)]
pub struct Reading {
    /// The page's name in the book.
    pub page: String,
    /// Words outside of code.
    pub words: usize,
    /// Commands that were typed.
    pub typed: usize,
    /// Commands that printed what the page says.
    pub as_shown: usize,
    /// Commands that were not, because they change a machine, need another one or show a mistake.
    pub left_out: usize,
    /// For how long the typed ones ran, with the boot of the lab VM where it is used.
    pub seconds: f64,
}

/// Reads all pages that have commands, in the order of their names, and tells `progress` of each.
///
/// # Errors
/// Where a page cannot be read, or its commands cannot be run.
pub fn read(layout: &Layout, mut progress: impl FnMut(&Reading)) -> Result<Vec<Reading>> {
    let pages = layout.pages()?;
    let mut readings = Vec::new();
    for page in pages.iter().filter(|page| page.fences.iter().any(is_session)) {
        let begin = Instant::now();
        let (typed, as_shown) = replay::of_page(layout, page)?;
        let reading = Reading {
            page: page.path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            words: words(page),
            typed,
            as_shown,
            left_out: left_out(page),
            seconds: (begin.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        };
        progress(&reading);
        readings.push(reading);
    }
    Ok(readings)
}

fn is_session(fence: &Fence) -> bool {
    fence.language == "console"
}

fn left_out(page: &Page) -> usize {
    let blocks = page.fences.iter().filter(|fence| is_session(fence));
    blocks
        .filter(|fence| fence.attribute("replay").is_none())
        .map(|fence| replay::commands(&fence.body))
        .sum()
}

/// Of the text and of tables, without code.
fn words(page: &Page) -> usize {
    let mut in_code = false;
    let is_text = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !fence && !in_code
    };
    page.text.lines().filter(is_text).flat_map(str::split_whitespace).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_no_text_and_what_is_not_replayed_is_counted() {
        let text = "# A title\n\nThree words here.\n\n```console,norun=\"why\"\n$ one \\\n  goes on\nit prints\n# two\n```\n";
        let page =
            Page::parse(std::path::Path::new("/book/01.md"), "01.md".into(), text.to_owned());
        assert_eq!(words(&page), "# A title Three words here.".split(' ').count());
        assert_eq!(left_out(&page), 2);
    }
}
