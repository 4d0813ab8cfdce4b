//! What students' code may name.
//!
//! Rust makes no names at run time, so whoever wants to call something must name it, be it in a macro. So the
//! tokens are looked at, and not what they mean.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use crate::error::{Error, Result};

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

/// What is well, or the reason why it is refused.
pub type Checked<T> = std::result::Result<T, String>;

/// The names in a piece of source, also in macros.
///
/// # Errors
/// Where it is no Rust.
pub fn names(source: &str) -> Result<BTreeSet<String>> {
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
pub struct Rules {
    /// The names in the engine's own code of the task.
    pub solution: BTreeSet<String>,
    /// The names in the whole file.
    pub file: BTreeSet<String>,
}

impl Rules {
    /// Looks at a function's body, or an item.
    ///
    /// # Errors
    /// The reason, where it is refused.
    pub fn look(&self, source: &str) -> Checked<()> {
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
