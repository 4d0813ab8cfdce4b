//! What is taken of a student's file, and what is refused.
//!
//! Taken are the bodies of the functions of a task, and functions and constants of the student's own beside
//! them; they are put into the engine's own file. All else that the student's file, or tree, has is not even
//! looked at: no build script, no manifest, no attribute, no test.
//!
//! What is taken is compiled on this machine and run in the VM, maybe as root. It is refused, with the
//! reason, where it names
//!
//! - what reads files while it is compiled (`include!`, `include_str!`, `env!`, …), or any other macro than
//!   the usual ones and those of the engine's own code of the task: nothing but what is written there is
//!   compiled;
//! - `unsafe`, `extern`, `asm!`, attributes such as `#[no_mangle]` and `#[path]`, modules, macros and
//!   implementations of traits: with these, tests could be made to run other code, or none;
//! - what ends or replaces the process, starts others, or reaches files and the system (`exit`, `exec`,
//!   `Command`, `fs`, `libc`, …), unless the engine's own code of the task does so, too.
//!
//! Rust makes no names at run time, so whoever wants to call something must name it. The list is a belt
//! beside the braces: what counts as passed ([`trial`](super::trial)) does not hang on it alone.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::rules::{Checked, Rules, names};
use super::starter::{range, region};
use super::task::Task;
use crate::error::{Error, OnPath, Result};

/// No task is nearly as long.
const MOST: u64 = 256 << 10;

/// Puts what is the student's in `text` into the engine's file.
///
/// # Errors
/// With the reason, where it is refused.
pub fn admit(engine: &str, text: &str, task: &Task) -> Result<String> {
    let refuse = |why: String| Error::failed(format!("{}: {why}", task.name));
    let own = region(text, &task.anchor)?;
    // A part whose brackets match cannot end what it stands in.
    own.parse::<TokenStream>()
        .map_err(|why| refuse(format!("the anchor's part is no Rust: {why}")))?;
    let part = range(engine, &task.anchor)?;
    let mut whole = engine.to_owned();
    whole.replace_range(part.clone(), own);
    let theirs = Items::of(&whole, part.start..part.start + own.len()).map_err(refuse)?;
    let ours = Items::of(engine, part.clone()).map_err(refuse)?;
    let rules = Rules { solution: names(region(engine, &task.anchor)?)?, file: names(engine)? };

    if let Some(other) = theirs.others.iter().find(|other| !ours.others.contains(*other)) {
        return Err(refuse(format!("only functions and constants are taken, not `{other}`")));
    }
    let mut admitted = engine.get(part.clone()).unwrap_or_default().to_owned();
    let last = ours.functions.iter().map(|function| function.whole.end).max().unwrap_or(part.end);
    let more = additions(&whole, &theirs, &ours, &rules).map_err(refuse)?;
    // From the end on, so that the places before stay where they are.
    admitted.insert_str(last - part.start, &more);
    for function in ours.functions.iter().rev() {
        let body = body(&whole, &theirs, function, &rules).map_err(refuse)?;
        let place = function.body.start - part.start..function.body.end - part.start;
        admitted.replace_range(place, body);
    }
    let mut new = engine.to_owned();
    new.replace_range(part, &admitted);
    Ok(new)
}

/// The student's body of one of our functions.
fn body<'t>(text: &'t str, theirs: &Items, ours: &Function, rules: &Rules) -> Checked<&'t str> {
    let mut of_that_name = theirs.functions.iter().filter(|own| own.name == ours.name);
    let Some(own) = of_that_name.next() else {
        return Err(format!("the function {} is not there", ours.name));
    };
    if of_that_name.next().is_some() {
        return Err(format!("there are two functions {}", ours.name));
    }
    if own.head != ours.head {
        return Err(format!("the tests rely on the head of {}: `{}`", ours.name, ours.head));
    }
    let body = text.get(own.body.clone()).unwrap_or_default();
    rules.look(body)?;
    Ok(body)
}

/// The student's own functions and constants beside ours.
fn additions(text: &str, theirs: &Items, ours: &Items, rules: &Rules) -> Checked<String> {
    let functions = theirs.functions.iter().map(|function| (&function.name, &function.whole));
    let constants = theirs.constants.iter().map(|(name, place)| (name, place));
    let mut more = String::new();
    for (name, place) in functions.chain(constants) {
        let is_ours = ours.functions.iter().any(|function| function.name == *name)
            || ours.constants.iter().any(|(constant, _)| constant == name);
        if !is_ours {
            let item = text.get(place.clone()).unwrap_or_default();
            rules.look(item)?;
            more += &format!("\n\n{item}");
        }
    }
    Ok(more)
}

/// Reads a file of the student's: a regular one, not too long, and not by a link that leads out of `from`.
///
/// # Errors
/// Where it is not so.
pub fn read(from: &Path, file: &str) -> Result<String> {
    let path = from.join(file);
    let base = fs::canonicalize(from).on("find", from)?;
    let real = fs::canonicalize(&path).on("find", &path)?;
    if !real.starts_with(&base) {
        return Err(Error::failed(format!(
            "{file} is a link that leads out of {}",
            from.display()
        )));
    }
    // A FIFO would be waited for.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let opened =
        fs::File::options().read(true).custom_flags(flags).open(&real).on("open", &path)?;
    let metadata = opened.metadata().on("read", &path)?;
    if !metadata.is_file() || metadata.len() > MOST {
        return Err(Error::failed(format!("{file} is no file of at most {MOST} bytes")));
    }
    let mut text = String::new();
    opened.take(MOST).read_to_string(&mut text).on("read", &path)?;
    Ok(text)
}

/// A function in a region.
struct Function {
    name: String,
    /// Its attributes and signature, as tokens; its documentation is anybody's.
    head: String,
    /// Between the braces.
    body: Range<usize>,
    /// With its attributes.
    whole: Range<usize>,
}

/// The items of a region.
struct Items<'t> {
    source: &'t str,
    region: Range<usize>,
    functions: Vec<Function>,
    constants: Vec<(String, Range<usize>)>,
    /// All other items, as tokens.
    others: BTreeSet<String>,
}

impl<'t> Items<'t> {
    fn of(source: &'t str, region: Range<usize>) -> Checked<Items<'t>> {
        let file = syn::parse_file(source).map_err(|why| {
            let at = why.span().start();
            format!("it is no Rust: {why} (line {}, column {})", at.line, at.column + 1)
        })?;
        let mut items = Items {
            source,
            region,
            functions: Vec::new(),
            constants: Vec::new(),
            others: BTreeSet::new(),
        };
        items.visit_file(&file);
        Ok(items)
    }

    fn is_inside(&self, place: &Range<usize>) -> bool {
        self.region.start <= place.start && place.end <= self.region.end
    }

    fn text(&self, place: Range<usize>) -> &'t str {
        self.source.get(place).unwrap_or_default()
    }

    fn function(&mut self, name: &syn::Ident, block: &syn::Block, whole: Range<usize>) {
        let braces = block.brace_token.span;
        let body = braces.open().byte_range().end..braces.close().byte_range().start;
        let head = without_documentation(self.text(whole.start..body.start - 1));
        self.functions.push(Function { name: name.to_string(), head, body, whole });
    }
}

impl<'ast> Visit<'ast> for Items<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let place = item.span().byte_range();
        if !self.is_inside(&place) {
            // An implementation that the region is a part of.
            return syn::visit::visit_item(self, item);
        }
        match item {
            syn::Item::Fn(f) => self.function(&f.sig.ident, &f.block, place),
            syn::Item::Const(c) => self.constants.push((c.ident.to_string(), place)),
            // Its head is an item; its functions are taken.
            syn::Item::Impl(of) => {
                let head = place.start..of.brace_token.span.open().byte_range().start;
                self.others.insert(without_documentation(self.text(head)));
                syn::visit::visit_item_impl(self, of);
            }
            _ => drop(self.others.insert(without_documentation(self.text(place)))),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let place = item.span().byte_range();
        if !self.is_inside(&place) {
            return;
        }
        match item {
            syn::ImplItem::Fn(f) => self.function(&f.sig.ident, &f.block, place),
            syn::ImplItem::Const(c) => self.constants.push((c.ident.to_string(), place)),
            _ => drop(self.others.insert(without_documentation(self.text(place)))),
        }
    }
}

/// Source as its tokens, one blank between two, without documentation.
fn without_documentation(source: &str) -> String {
    let tokens: Vec<TokenTree> =
        source.parse::<TokenStream>().map(|all| all.into_iter().collect()).unwrap_or_default();
    let is_documentation = |at: usize| {
        matches!(tokens.get(at), Some(TokenTree::Punct(sign)) if sign.as_char() == '#')
            && matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
                if group.stream().to_string().starts_with("doc ="))
    };
    let mut text = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_documentation(at) {
            at += 2;
            continue;
        }
        text.push(token.to_string());
        at += 1;
    }
    text.join(" ")
}

#[cfg(test)]
#[path = "submission_tests.rs"]
mod tests;
