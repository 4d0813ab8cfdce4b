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

use super::starter::{range, region};
use super::task::Task;
use crate::error::{Error, OnPath, Result};

/// No task is nearly as long.
const MOST: u64 = 256 << 10;

/// Macros that read nothing and declare nothing.
const MACROS: [&str; 24] = [
    "assert",
    "assert_eq",
    "assert_ne",
    "cfg",
    "concat",
    "debug_assert",
    "debug_assert_eq",
    "dbg",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "format_args",
    "matches",
    "panic",
    "print",
    "println",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
    "stringify",
];

/// Attributes that change no meaning.
const ATTRIBUTES: [&str; 7] = ["allow", "cold", "derive", "doc", "expect", "inline", "must_use"];

/// Names by which the process is ended or replaced, others are started, files and the system are reached, or
/// Rust's promises are given up.
const NAMES: [&str; 54] = [
    "Command",
    "CommandExt",
    "File",
    "OpenOptions",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "_exit",
    "abort",
    "asm",
    "atexit",
    "chroot",
    "clone3",
    "env",
    "exec",
    "execat",
    "execute",
    "execv",
    "execve",
    "execveat",
    "execvp",
    "execvpe",
    "exit",
    "exit_now",
    "extern",
    "fexecve",
    "fork",
    "fs",
    "global_asm",
    "kill",
    "libc",
    "macro_rules",
    "mod",
    "mount",
    "naked_asm",
    "net",
    "nix",
    "os",
    "pidfd_send_signal",
    "posix_spawn",
    "process",
    "ptrace",
    "raise",
    "reboot",
    "set_hook",
    "sys",
    "syscall",
    "take_hook",
    "transmute",
    "unsafe",
    "vfork",
];

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

type Checked<T> = std::result::Result<T, String>;

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

/// The names in a piece of source, also in macros.
fn names(source: &str) -> Result<BTreeSet<String>> {
    fn add(tokens: TokenStream, names: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Ident(name) => drop(names.insert(plain(&name))),
                TokenTree::Group(group) => add(group.stream(), names),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    let tokens: TokenStream =
        source.parse().map_err(|why| Error::failed(format!("no Rust: {why}")))?;
    let mut all = BTreeSet::new();
    add(tokens, &mut all);
    Ok(all)
}

/// `r#exit` is `exit`.
fn plain(name: &proc_macro2::Ident) -> String {
    let name = name.to_string();
    name.strip_prefix("r#").unwrap_or(&name).to_owned()
}

/// What a task's code may name beside what is usual.
struct Rules {
    /// The names in the engine's own code of the task.
    solution: BTreeSet<String>,
    /// The names in the whole file.
    file: BTreeSet<String>,
}

impl Rules {
    /// Refuses a function's body, or an item, with the reason.
    fn look(&self, source: &str) -> Checked<()> {
        let no_rust = |why: &dyn std::fmt::Display| format!("it is no Rust: {why}");
        let block: syn::Block =
            syn::parse_str(&format!("{{ {source}\n }}")).map_err(|why| no_rust(&why))?;
        let mut nested = Nested(None);
        nested.visit_block(&block);
        if let Some(what) = nested.0 {
            return Err(format!("{what} in a function is refused: it counts for the whole crate"));
        }
        self.walk(source.parse().map_err(|why| no_rust(&why))?)
    }

    fn walk(&self, tokens: TokenStream) -> Checked<()> {
        let all: Vec<TokenTree> = tokens.into_iter().collect();
        let sign = |at: usize| match all.get(at) {
            Some(TokenTree::Punct(sign)) => Some(sign.as_char()),
            _ => None,
        };
        for (at, token) in all.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let before = |back: usize| at.checked_sub(back).and_then(sign);
                    if before(1) == Some('#') || (before(1), before(2)) == (Some('!'), Some('#')) {
                        attribute(group.stream())?;
                    }
                    self.walk(group.stream())?;
                }
                TokenTree::Ident(name) => {
                    let name = plain(name);
                    self.name(&name)?;
                    let group = matches!(all.get(at + 2), Some(TokenTree::Group(_)));
                    if sign(at + 1) == Some('!') && group {
                        self.invocation(&name)?;
                    }
                    if is_root(&name) {
                        let path = sign(at + 1) == Some(':') && sign(at + 2) == Some(':');
                        self.path(&name, all.get(at + 3).filter(|_| path))?;
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Checked<()> {
        match NAMES.contains(&name) && !self.solution.contains(name) {
            true => Err(format!("`{name}` is refused: the task needs no such thing")),
            false => Ok(()),
        }
    }

    fn invocation(&self, name: &str) -> Checked<()> {
        match MACROS.contains(&name) || self.solution.contains(name) {
            true => Ok(()),
            false => Err(format!("the macro `{name}!` is refused: it is none of the usual ones")),
        }
    }

    /// Out of the file leads only what the file itself uses: a function of another module may do anything.
    fn path(&self, root: &str, next: Option<&TokenTree>) -> Checked<()> {
        let next = match next {
            // What is named of it is looked at by itself.
            Some(_) if is_library(root) => return Ok(()),
            Some(TokenTree::Ident(next)) => plain(next),
            _ => return Err(format!("`{root}` is refused but in a path with one name after it")),
        };
        match self.file.contains(&next) {
            true => Ok(()),
            false => Err(format!("`{root}::{next}` is refused: the engine's file does not use it")),
        }
    }
}

fn is_library(name: &str) -> bool {
    ["alloc", "core", "std"].contains(&name)
}

fn is_root(name: &str) -> bool {
    is_library(name) || ["crate", "super"].contains(&name) || name.starts_with("corten_")
}

/// Items in functions that change what others mean.
struct Nested(Option<&'static str>);

impl<'ast> Visit<'ast> for Nested {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Impl(of) if of.trait_.is_some() => self.0 = Some("a trait's implementation"),
            syn::Item::Mod(_) => self.0 = Some("a module"),
            syn::Item::ForeignMod(_) | syn::Item::ExternCrate(_) => self.0 = Some("extern"),
            _ => syn::visit::visit_item(self, item),
        }
    }
}

fn attribute(tokens: TokenStream) -> Checked<()> {
    let name = tokens.into_iter().next().map(|token| token.to_string()).unwrap_or_default();
    match ATTRIBUTES.contains(&name.as_str()) {
        true => Ok(()),
        false => Err(format!("the attribute `{name}` is refused")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "\
use std::fs;

pub struct Layer;

impl Layer {
    // ANCHOR: open
    /// Adds them.
    pub fn add(&self, a: u32, b: u32) -> u32 {
        let sum = a.checked_add(b);
        sum.unwrap_or_else(|| crate::limit::most(a))
    }
    // ANCHOR_END: open

    fn secret(&self) -> bool { false }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_adds() { assert_eq!(super::Layer.add(1, 2), 3); }
}
";

    fn task() -> Task {
        Task {
            name: "add".to_owned(),
            title: String::new(),
            text: String::new(),
            minutes: 10,
            file: "x.rs".to_owned(),
            anchor: "open".to_owned(),
            targets: Vec::new(),
            tests: Vec::new(),
            hints: Vec::new(),
            points: 1,
        }
    }

    fn with(region: &str) -> Result<String> {
        let text = super::super::starter::with_region(ENGINE, "open", region).unwrap();
        admit(ENGINE, &text, &task())
    }

    fn body(body: &str) -> Result<String> {
        with(&format!("    pub fn add(&self, a: u32, b: u32) -> u32 {{ {body} }}\n"))
    }

    /// That it is refused, and that the reason names what is wrong.
    fn refused(submission: Result<String>, what: &str) {
        let why = submission.expect_err(what).to_string();
        assert!(why.contains(what), "{what}: {why}");
    }

    #[test]
    fn an_honest_function_is_taken_with_its_helpers_and_nothing_else() {
        let text = ENGINE
            .replace("fn secret(&self) -> bool { false }", "fn secret(&self) -> bool { true }")
            .replace("assert_eq!(super::Layer.add(1, 2), 3)", "assert!(true)")
            .replace("let sum = a.checked_add(b);", "let sum = Self::sum(a, b);")
            .replace("/// Adds them.", "/// My words.")
            .replace(
                "    // ANCHOR_END: open",
                "    fn sum(a: u32, b: u32) -> Option<u32> { a.checked_add(b) }\n    // ANCHOR_END: open",
            );
        let admitted = admit(ENGINE, &text, &task()).unwrap();
        assert!(admitted.contains("let sum = Self::sum(a, b);"), "{admitted}");
        assert!(admitted.contains("fn sum(a: u32, b: u32) -> Option<u32> { a.checked_add(b) }"));
        assert!(
            admitted.contains("{ false }") && admitted.contains("/// Adds them."),
            "{admitted}"
        );
        assert!(admitted.contains("assert_eq!(super::Layer.add(1, 2), 3)"), "tests are ours");
        assert!(syn::parse_file(&admitted).is_ok(), "{admitted}");
    }

    #[test]
    fn the_solution_is_admitted_as_it_is() {
        assert_eq!(admit(ENGINE, ENGINE, &task()).unwrap(), ENGINE);
        for chapter in super::super::task::Chapter::all().unwrap() {
            for task in &chapter.tasks {
                let engine = task.source().unwrap();
                assert_eq!(admit(&engine, &engine, task).unwrap(), engine, "{}", task.name);
                let blank = super::super::starter::blank(&engine, task, &chapter.number).unwrap();
                assert_eq!(admit(&engine, &blank, task).unwrap(), blank, "{}", task.name);
            }
        }
    }

    #[test]
    fn nothing_is_read_while_it_is_compiled() {
        refused(body("include_bytes!(\"/etc/shadow\").len() as u32"), "include_bytes!");
        refused(body("let _ = include_str ! { \"/etc/shadow\" }; 1"), "include_str!");
        refused(body("let _ = std::include!(\"/etc/shadow\"); 1"), "include!");
        refused(body("println!(\"{}\", env!(\"HOME\")); 1"), "`env`");
        refused(body("option_env!(\"HOME\"); 1"), "option_env!");
        refused(body("use std::include_bytes as vec2; vec2!(\"/etc/shadow\"); 1"), "vec2!");
        refused(body("macro_rules! m { () => { 1 } } m!()"), "macro_rules");
        refused(body("#[path = \"/etc/shadow\"] mod shadow; 1"), "module");
    }

    #[test]
    fn the_process_and_the_system_are_not_reached() {
        refused(body("std::process::exit(0)"), "`process`");
        refused(body("use std::{process::exit as leave}; leave(0)"), "`process`");
        refused(body("use std as s; s::process::exit(0)"), "`std`");
        refused(body("use crate as c; c::sys::exit_now(0)"), "`crate`");
        refused(body("std::r#process::abort()"), "`process`");
        refused(body("std::fs::write(\"/x\", \"\").unwrap(); 1"), "`fs`");
        refused(body("crate::other::erase(); 1"), "crate::other");
        refused(body("use super::*; 1"), "`super`");
        refused(body("unsafe { std::hint::unreachable_unchecked() }"), "`unsafe`");
        refused(body("extern \"C\" { fn _exit(c: i32) -> !; } 1"), "extern");
        refused(body("libc::_exit(0)"), "`libc`");
        refused(body("assert!({ std::process::exit(0); true }); 1"), "`process`");
    }

    #[test]
    fn tests_and_other_code_stay_what_they_are() {
        refused(body("1 } } #[test] fn it_adds() { } impl Layer { fn b() { "), "");
        refused(
            with(
                "    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n    #[test]\n    fn it_adds() {}\n",
            ),
            "`test`",
        );
        refused(with("    pub fn add(&self, a: u32, b: u32) -> u64 { 1 }\n"), "head");
        refused(
            with("    #[cfg(any())]\n    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n"),
            "head",
        );
        refused(with("    fn other() {}\n"), "is not there");
        refused(
            body("impl PartialEq for super::Layer { fn eq(&self, _: &Self) -> bool { true } } 1"),
            "trait",
        );
        refused(body("#[no_mangle] fn main() {} 1"), "no_mangle");
        refused(body("#[unsafe(link_section = \".init_array\")] static A: u8 = 1; 1"), "`unsafe`");
        refused(body("#[cfg(test)] fn a() {} 1"), "`cfg`");
        let twice = "    pub fn add(&self, a: u32, b: u32) -> u32 { 1 }\n";
        refused(with(&twice.repeat(2)), "two functions");
    }

    #[test]
    fn a_link_or_a_pipe_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("x.rs")).unwrap();
        refused(read(place.path(), "x.rs"), "leads out");
        std::os::unix::fs::symlink("/etc", place.path().join("src")).unwrap();
        refused(read(place.path(), "src/passwd"), "leads out");
        nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused(read(place.path(), "pipe"), "no file");
        fs::write(place.path().join("long"), vec![b' '; 300 << 10]).unwrap();
        refused(read(place.path(), "long"), "no file");
        assert!(read(place.path(), "none").is_err());
    }
}
