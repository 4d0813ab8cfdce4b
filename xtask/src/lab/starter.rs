//! Sources without what is to be written.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::task::{Chapter, Task};
use crate::error::{Error, OnPath, Result};
use crate::{process, workspace};

/// Writes a copy of the checkout to `to`, in which the functions of all tasks have no bodies.
///
/// # Errors
/// Where a task's anchor or functions are not there, or it cannot be written. Nothing is left then.
pub fn write(chapter: &Chapter, to: &Path) -> Result<()> {
    let written = copy(to).and_then(|()| {
        for task in &chapter.tasks {
            let path = to.join(&task.file);
            let source = fs::read_to_string(&path).on("read", &path)?;
            let blanked = blank(&source, task, &chapter.number)?;
            fs::write(&path, blanked).on("write", &path)?;
        }
        Ok(())
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(to);
    }
    written
}

/// All that git would commit, but for the book's text.
pub fn copy(to: &Path) -> Result<()> {
    let root = workspace::root();
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listing = process::read(&mut list)?;
    for name in listing.split('\0').filter(|name| !name.is_empty() && !name.starts_with("book/src/")) {
        let (from, to) = (root.join(name), to.join(name));
        if !from.is_file() {
            continue;
        }
        let directory = to.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).on("make", directory)?;
        fs::copy(&from, &to).on("copy", &from)?;
    }
    quieten(&to.join("Cargo.toml"))
}

/// What a body that is not there leaves unused is not news.
fn quieten(manifest: &Path) -> Result<()> {
    const LINTS: &str = "[workspace.lints.rust]\n";
    let text = fs::read_to_string(manifest).on("read", manifest)?;
    let quiet = format!("{LINTS}warnings = {{ level = \"allow\", priority = 1 }}\n");
    fs::write(manifest, text.replacen(LINTS, &quiet, 1)).on("write", manifest)
}

/// Takes the bodies out of the functions in a task's anchor.
///
/// # Errors
/// Where the anchor is not there, or there is no function in it.
pub fn blank(source: &str, task: &Task, chapter: &str) -> Result<String> {
    let region = range(source, &task.anchor)?;
    let file = syn::parse_file(source)
        .map_err(|why| Error::failed(format!("{}: {why}", task.file)))?;
    let mut bodies = Bodies { region, found: Vec::new() };
    bodies.visit_file(&file);
    if bodies.found.is_empty() {
        return Err(Error::failed(format!("{}: no function in the anchor {}", task.file, task.anchor)));
    }
    let mut blanked = source.to_owned();
    bodies.found.sort_by_key(|body| std::cmp::Reverse(body.start));
    let body = format!(" todo!(\"./x lab hint {chapter} {}\") ", task.name);
    for found in bodies.found {
        blanked.replace_range(found, &body);
    }
    Ok(blanked)
}

/// The bodies of functions within a part of a file; those of functions in them are theirs.
struct Bodies {
    region: Range<usize>,
    found: Vec<Range<usize>>,
}

impl Bodies {
    fn take(&mut self, whole: Range<usize>, block: &syn::Block) -> bool {
        let inside = self.region.start <= whole.start && whole.end <= self.region.end;
        if inside {
            let braces = block.brace_token.span;
            self.found.push(braces.open().byte_range().end..braces.close().byte_range().start);
        }
        inside
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !self.take(function.sig.span().byte_range().start..function.block.span().byte_range().end, &function.block) {
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !self.take(function.sig.span().byte_range().start..function.block.span().byte_range().end, &function.block) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
}

/// The bytes between the lines of an anchor.
fn range(source: &str, anchor: &str) -> Result<Range<usize>> {
    let line = |mark: &str| {
        let mut at = 0;
        source.split_inclusive('\n').find_map(|line| {
            let begin = at;
            at += line.len();
            (line.trim() == format!("// {mark}: {anchor}")).then_some(begin..at)
        })
    };
    match (line("ANCHOR"), line("ANCHOR_END")) {
        (Some(begin), Some(end)) if begin.end <= end.start => Ok(begin.end..end.start),
        _ => Err(Error::failed(format!("there is no anchor {anchor}"))),
    }
}

/// What is between the lines of an anchor.
///
/// # Errors
/// Where the anchor is not there.
pub fn region<'a>(source: &'a str, anchor: &str) -> Result<&'a str> {
    Ok(source.get(range(source, anchor)?).unwrap_or_default())
}

/// The same source with something else between the lines of an anchor.
///
/// # Errors
/// Where the anchor is not there: it must stay.
pub fn with_region(source: &str, anchor: &str, part: &str) -> Result<String> {
    let mut new = source.to_owned();
    new.replace_range(range(source, anchor)?, part);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
use std::io;

impl Layer {
    // ANCHOR: open
    /// Opens it.
    pub fn open(&self, path: &str) -> io::Result<()> {
        fn inner() { let x = \"}\"; }
        inner();
        Ok(())
    }

    fn helper(&self) -> usize { 7 }
    // ANCHOR_END: open

    fn other(&self) -> usize { 8 }
}
";

    fn task() -> Task {
        Task {
            name: "open".to_owned(),
            title: String::new(),
            file: "x.rs".to_owned(),
            anchor: "open".to_owned(),
            tests: Vec::new(),
            hints: Vec::new(),
            points: 1,
        }
    }

    #[test]
    fn bodies_in_the_anchor_go_and_all_else_stays() {
        let blanked = blank(SOURCE, &task(), "03").unwrap();
        assert_eq!(blanked.matches("{ todo!(\"./x lab hint 03 open\") }").count(), 2, "{blanked}");
        assert!(blanked.contains("/// Opens it.\n    pub fn open(&self, path: &str) -> io::Result<()> { todo!"));
        assert!(blanked.contains("fn other(&self) -> usize { 8 }") && !blanked.contains("inner"));
        assert!(syn::parse_file(&blanked).is_ok());
        let again = with_region(&blanked, "open", region(SOURCE, "open").unwrap()).unwrap();
        assert_eq!(again, SOURCE);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let none = Task { anchor: "none".to_owned(), ..task() };
        assert!(blank(SOURCE, &none, "03").unwrap_err().to_string().contains("no anchor none"));
        let empty = "// ANCHOR: open\nconst A: u8 = 1;\n// ANCHOR_END: open\n";
        assert!(blank(empty, &task(), "03").unwrap_err().to_string().contains("no function"));
    }
}
