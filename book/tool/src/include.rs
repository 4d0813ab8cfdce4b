//! `{{#include PATH}}` and `{{#include PATH:ANCHOR}}`; `{{#tasks PATH}}` is a [table](crate::tasks),
//! `{{#errnos PATH}}` and `{{#calls PATH}}` are made of [all pages](crate::atlas).
//!
//! mdBook itself prints a log line for a missing file, leaves an empty block for a missing anchor,
//! and exits 0 for both. So this crate expands the directives, and one function serves the checker
//! and the renderer: what was checked is what is printed.

use std::path::Path;

use crate::finding::Finding;
use crate::page::Page;
use crate::{atlas, tasks};

/// A directive in a page.
#[derive(Debug)]
struct Directive<'a> {
    /// Its place in the text, `{{` to `}}`.
    start: usize,
    end: usize,
    path: &'a str,
    anchor: Option<&'a str>,
    /// What is made of it, where it is no `include`.
    made: Option<Made>,
}

/// Makes a text of a directory.
type Made = fn(&Path) -> Result<String, String>;

/// The directives that make something.
const MADE: [(&str, Made); 3] =
    [("tasks ", tasks::table), ("errnos ", atlas::errnos), ("calls ", atlas::calls)];

/// The page's text with every directive replaced by what it names.
///
/// # Errors
/// A finding for each directive that names nothing.
pub fn expand(page: &Page) -> Result<String, Vec<Finding>> {
    let mut findings = Vec::new();
    let mut text = String::with_capacity(page.text.len());
    let mut last = 0;
    for parsed in directives(&page.text) {
        let (at, content) = match parsed {
            Ok(directive) => {
                text.push_str(&page.text[last..directive.start]);
                last = directive.end;
                (directive.start, read(page, &directive))
            }
            Err((at, why)) => (at, Err(why)),
        };
        match content {
            Ok(content) => {
                let margin = format!("\n{}", margin(&page.text, at));
                text.push_str(&content.trim_end_matches('\n').replace('\n', &margin));
            }
            Err(why) => findings.push(Finding::new(&page.name, page.line_of(at), why)),
        }
    }
    text.push_str(&page.text[last..]);
    if findings.is_empty() { Ok(text) } else { Err(findings) }
}

/// What the line of byte `at` begins with, where that is only the mark of a quotation or an
/// indentation: what is included there has to stay inside of it.
pub fn margin(text: &str, at: usize) -> &str {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let margin = &text[line..at];
    if margin.chars().all(|c| c == ' ' || c == '>') { margin } else { "" }
}

/// All directives of `text`. `\{{#` is text.
fn directives(text: &str) -> Vec<Result<Directive<'_>, (usize, String)>> {
    text.match_indices("{{#")
        .filter(|(start, _)| !text[..*start].ends_with('\\'))
        .map(|(start, _)| {
            let rest = &text[start..];
            let line = rest.lines().next().unwrap_or_default();
            let end = line.find("}}").ok_or_else(|| (start, format!("`{line}` is not closed")))?;
            let inner = line[3..end].trim();
            let end = start + end + 2;
            for (name, made) in MADE {
                if let Some(path) = inner.strip_prefix(name).map(str::trim) {
                    return Ok(Directive { start, end, path, anchor: None, made: Some(made) });
                }
            }
            let (path, anchor) = match inner.strip_prefix("include ").map(str::trim) {
                None => {
                    let why = format!(
                        "`{{{{#{inner}}}}}`: only include, tasks, errnos and calls are known"
                    );
                    return Err((start, why));
                }
                Some(argument) => match argument.split_once(':') {
                    Some((path, anchor)) => (path, Some(anchor)),
                    None => (argument, None),
                },
            };
            Ok(Directive { start, end, path, anchor, made: None })
        })
        .collect()
}

/// The file and anchor that the first include of a fence's body names, for its caption.
pub fn source_of(body: &str) -> Option<(String, Option<String>)> {
    let directive = directives(body).into_iter().next()?.ok()?;
    Some((directive.path.to_owned(), directive.anchor.map(str::to_owned)))
}

fn read(page: &Page, directive: &Directive<'_>) -> Result<String, String> {
    let file = page.path.parent().unwrap_or(Path::new("")).join(directive.path);
    if let Some(made) = directive.made {
        return made(&file);
    }
    let content = std::fs::read_to_string(&file)
        .map_err(|error| format!("include of {}: {error}", directive.path))?;
    let content = match directive.anchor {
        None => without_anchors(content.lines()),
        Some(anchor) => anchored(&content, anchor)
            .map_err(|why| format!("include of {}: {why}", directive.path))?,
    };
    if content.trim().is_empty() {
        return Err(format!("include of {} yields nothing", directive.path));
    }
    Ok(content)
}

/// The lines between `ANCHOR: name` and `ANCHOR_END: name`, moved to the left margin.
fn anchored(content: &str, anchor: &str) -> Result<String, String> {
    if anchor.chars().all(|c| c.is_ascii_digit() || c == ':') {
        return Err("lines are included by anchor, never by number".into());
    }
    let mut found = Vec::new();
    let (mut inside, mut seen) = (false, false);
    for line in content.lines() {
        match marker(line) {
            Some(("ANCHOR", name)) if name == anchor => (inside, seen) = (true, true),
            Some(("ANCHOR_END", name)) if name == anchor => {
                if !inside {
                    return Err(format!("`ANCHOR_END: {anchor}` before its ANCHOR"));
                }
                inside = false;
            }
            _ if inside => found.push(line),
            _ => {}
        }
    }
    match (seen, inside) {
        (false, _) => Err(format!("no `ANCHOR: {anchor}` in it")),
        (true, true) => Err(format!("no `ANCHOR_END: {anchor}` in it")),
        (true, false) => Ok(without_anchors(dedent(&found).iter().map(String::as_str))),
    }
}

/// `("ANCHOR", name)` for a line `// ANCHOR: name`, in any comment syntax.
fn marker(line: &str) -> Option<(&'static str, &str)> {
    for kind in ["ANCHOR_END", "ANCHOR"] {
        if let Some(at) = line.find(&format!("{kind}:")) {
            let name = line[at + kind.len() + 1..].split_whitespace().next()?;
            return Some((kind, name));
        }
    }
    None
}

fn without_anchors<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let kept = lines.filter(|line| marker(line).is_none());
    kept.fold(String::new(), |text, line| text + line + "\n")
}

fn dedent(lines: &[&str]) -> Vec<String> {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let margin = lines.iter().filter(|l| !l.trim().is_empty()).map(indent).min().unwrap_or(0);
    lines.iter().map(|line| line.get(margin..).unwrap_or_default().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let code = "// ANCHOR: a\n    fn x() {\n    // ANCHOR: b\n        y\n    // ANCHOR_END: b\n    }\n\
                    // ANCHOR_END: a\n// ANCHOR: none\n// ANCHOR_END: none\n// ANCHOR: open\nz\n";
        std::fs::write(dir.path().join("code.rs"), code).unwrap();
        let page = Page::parse(&dir.path().join("p.md"), "p.md".into(), text.into());
        expand(&page).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    fn one(text: &str, part: &str) {
        let faults = expanded(text).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
    }

    #[test]
    fn an_anchor_is_included_without_markers_and_margin() {
        assert_eq!(expanded("<{{#include code.rs:a}}>").unwrap(), "<fn x() {\n    y\n}>");
        assert_eq!(expanded("{{#include code.rs:b}}").unwrap(), "y");
        assert_eq!(expanded("\\{{#include x}}").unwrap(), "\\{{#include x}}");
    }

    #[test]
    fn what_is_included_in_a_quotation_stays_in_it() {
        let page = "> ```rust\n> {{#include code.rs:a}}\n> ```\n";
        assert_eq!(expanded(page).unwrap(), "> ```rust\n> fn x() {\n>     y\n> }\n> ```\n");
    }

    #[test]
    fn a_missing_file_is_a_fault() {
        one("a\n{{#include nope.rs:a}}", "p.md:2: include of nope.rs: No such file");
    }

    #[test]
    fn a_missing_or_open_anchor_is_a_fault() {
        one("{{#include code.rs:nope}}", "no `ANCHOR: nope` in it");
        one("{{#include code.rs:open}}", "no `ANCHOR_END: open` in it");
        one("{{#include code.rs:1:5}}", "never by number");
    }

    #[test]
    fn an_include_that_yields_nothing_is_a_fault() {
        one("{{#include code.rs:none}}", "yields nothing");
    }

    #[test]
    fn other_directives_are_faults() {
        one("{{#rustdoc_include code.rs:a}}", "only include, tasks, errnos and calls are known");
        one("{{#include code.rs", "is not closed");
    }
}
