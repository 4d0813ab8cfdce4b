//! Sources without what is to be written.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::task::{Chapter, Task};
use crate::error::{Error, OnPath, Result};
use crate::tree::{copy_checkout, share_others_crates};
use crate::workspace;

/// Of no use in a student's tree: the book's text, and what would work on that tree and not on the checkout.
fn belongs(name: &str) -> bool {
    name != "x" && !name.starts_with("book/src/")
}

/// Writes a copy of the checkout to `to`, in which the functions of all tasks have no bodies, and a page with
/// the tasks.
///
/// # Errors
/// Where a task's anchor or functions are not there, or it cannot be written. Nothing is left then.
pub fn write(chapter: &Chapter, to: &Path) -> Result<()> {
    let target = workspace::target().join("lab").join(&chapter.number).join("own");
    let written = copy_checkout(to, &belongs, &BTreeMap::new()).and_then(|()| {
        for (file, text) in blanked_files(chapter)? {
            let path = to.join(&file);
            fs::write(&path, text).on("write", &path)?;
        }
        let page = to.join("README.md");
        fs::write(&page, readme(chapter)).on("write", &page)?;
        // For an editor's or the student's own cargo. `check` has another one: cargo takes what was built in
        // one copy of a workspace for that of another.
        let config = to.join(".cargo/config.toml");
        let text = fs::read_to_string(&config).on("read", &config)?;
        let more = format!(
            "target-dir = {:?}\n\n[profile.dev]\nopt-level = 0\n",
            target.display().to_string()
        );
        fs::write(&config, text.trim_end().to_owned() + "\n" + &more).on("write", &config)?;
        share_others_crates(&target)
    });
    if written.is_err() {
        let _ = fs::remove_dir_all(to);
    }
    written
}

/// Whether a student's file has something else for a task than the starter.
///
/// # Errors
/// Where an anchor is not there.
pub fn is_begun(text: &str, task: &Task, chapter: &str) -> Result<bool> {
    let blank = blank(&task.source()?, task, chapter)?;
    Ok(region(text, &task.anchor)? != region(&blank, &task.anchor)?)
}

/// The files of a chapter's tasks, without what is to be written.
///
/// # Errors
/// As [`blank`].
pub fn blanked_files(chapter: &Chapter) -> Result<BTreeMap<String, String>> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for task in &chapter.tasks {
        let source = match files.get(&task.file) {
            Some(text) => text.clone(),
            None => task.source()?,
        };
        files.insert(task.file.clone(), blank(&source, task, &chapter.number)?);
    }
    Ok(files)
}

/// The page that stands in the student's tree.
fn readme(chapter: &Chapter) -> String {
    let Chapter { number, package, tasks, .. } = chapter;
    let mut page = format!(
        "# Lab {number}\n\nThis is the engine without {} things that you write. Each is a function or a few, \
         between the lines\n`// ANCHOR: …` and `// ANCHOR_END: …`, which must stay; all else may be read, and \
         is as it is in the engine.\nIn the root of the checkout:\n\n```text\n\
         ./x lab check {number} TASK       test what you have written, in the lab VM\n\
         ./x lab hint {number} TASK        a push; again with 2 and 3 for more\n\
         ./x lab solution {number} TASK    the engine's own code; yours is kept\n\
         ./x lab reset {number} TASK       the starter again; yours is kept\n```\n\n\
         Here, `cargo check -p {package}` says in a second whether it compiles.\n",
        tasks.len()
    );
    for task in tasks {
        page += &format!(
            "\n## {}: {}\n\n`{}`, anchor `{}`; about {} minutes, {} points, {} tests\n\n{}\n",
            task.name,
            task.title,
            task.file,
            task.anchor,
            task.minutes,
            task.points,
            task.tests.len(),
            task.text
        );
    }
    page
}

/// Takes the bodies out of the functions in a task's anchor.
///
/// # Errors
/// Where the anchor is not there, or there is no function in it.
pub fn blank(source: &str, task: &Task, chapter: &str) -> Result<String> {
    let region = range(source, &task.anchor)?;
    let file =
        syn::parse_file(source).map_err(|why| Error::failed(format!("{}: {why}", task.file)))?;
    let mut bodies = Bodies { region, found: Vec::new() };
    bodies.visit_file(&file);
    if bodies.found.is_empty() {
        return Err(Error::failed(format!(
            "{}: no function in the anchor {}",
            task.file, task.anchor
        )));
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
        if !self.take(
            function.sig.span().byte_range().start..function.block.span().byte_range().end,
            &function.block,
        ) {
            syn::visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !self.take(
            function.sig.span().byte_range().start..function.block.span().byte_range().end,
            &function.block,
        ) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }
}

/// The bytes between the lines of an anchor.
///
/// # Errors
/// Where the anchor is not there.
pub fn range(source: &str, anchor: &str) -> Result<Range<usize>> {
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
            text: String::new(),
            minutes: 10,
            targets: Vec::new(),
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
        assert!(blanked.contains(
            "/// Opens it.\n    pub fn open(&self, path: &str) -> io::Result<()> { todo!"
        ));
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
