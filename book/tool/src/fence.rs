//! Code fences: what they may hold, and the attributes after the language.
//!
//! ```text
//! rust                          only `{{#include PATH:ANCHOR}}` lines, never typed code
//! console,replay=01-ls          a session that `corten-book replay` runs on this machine
//! console,replay=01-ls,user     the same as uid 1000
//! console,replay=vm:01-ls       the same in the lab VM
//! console,replay=vm:a,tools=lsns+strace   with these programs of this machine in it
//! console,norun="why"           a session that is not replayed, and why
//! ```

use std::ops::Range;

use crate::finding::Finding;
use crate::page::Page;

/// The languages that a fence may name.
const LANGUAGES: [&str; 12] = [
    "rust",
    "console",
    "sh",
    "text",
    "toml",
    "c",
    "json",
    "diff",
    "ini",
    "dockerfile",
    "yaml",
    "markdown",
];

/// A code block.
#[derive(Debug)]
pub struct Fence {
    /// The first word after the backticks; empty where there is none or the block is indented.
    pub language: String,
    /// What follows the language, `name` or `name=value`.
    pub attributes: Vec<(String, Option<String>)>,
    /// What it holds.
    pub body: String,
    /// The line of the opening fence, from 1.
    pub line: usize,
    /// The whole block in the page's text.
    pub range: Range<usize>,
    /// The body in the page's text; empty for an empty block.
    pub body_range: Range<usize>,
    /// Whether the fence stands inside a list or a quotation.
    pub indented: bool,
}

impl Fence {
    /// A block that begins; `info` is what follows the backticks.
    pub fn open(info: Option<String>, line: usize, range: Range<usize>, indented: bool) -> Fence {
        let mut parts = split_attributes(info.as_deref().unwrap_or_default()).into_iter();
        let language = parts.next().map(|(name, _)| name).unwrap_or_default();
        let body_range = range.end..range.end;
        let attributes = parts.collect();
        Fence { language, attributes, body: String::new(), line, range, body_range, indented }
    }

    /// Adds a piece of the body.
    pub fn push(&mut self, text: &str, range: Range<usize>) {
        if self.body.is_empty() {
            self.body_range.start = range.start;
        }
        self.body_range.end = range.end;
        self.body.push_str(text);
    }

    /// The value of an attribute; `Some("")` where it has none.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(attribute, _)| attribute == name)
            .map(|(_, value)| value.as_deref().unwrap_or_default())
    }
}

/// Splits `console,norun="a, b"` at the commas outside quotation marks.
fn split_attributes(info: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in info.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    let pair = |part: String| match part.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), Some(value.to_owned())),
        None => (part.trim().to_owned(), None),
    };
    parts.into_iter().map(pair).collect()
}

/// Faults in the page's fences, apart from their includes.
pub fn check(page: &Page) -> Vec<Finding> {
    let mut findings = Vec::new();
    for fence in &page.fences {
        let mut fault =
            |message: String| findings.push(Finding::new(&page.name, fence.line, message));
        match fence.language.as_str() {
            "" => fault("code fence without a language: say ```text, ```console, …".into()),
            "rust" => {
                let typed = |line: &&str| !line.trim().is_empty() && !is_include(line);
                if let Some(line) = fence.body.lines().find(typed) {
                    fault(format!("Rust typed by hand (`{}`): include it by anchor", line.trim()));
                }
            }
            "console" => check_console(fence, &mut fault),
            other if !LANGUAGES.contains(&other) => {
                fault(format!("unknown fence language `{other}`: one of {}", LANGUAGES.join(", ")));
            }
            _ => {}
        }
        if fence.body.trim().is_empty() {
            fault("empty code fence".into());
        }
    }
    findings
}

fn is_include(line: &str) -> bool {
    let line = line.trim();
    line.starts_with("{{#include ") && line.ends_with("}}")
}

fn check_console(fence: &Fence, fault: &mut impl FnMut(String)) {
    match (fence.attribute("replay"), fence.attribute("norun")) {
        (None, None) => fault("console block with neither replay=ID nor norun=\"why\"".into()),
        (Some(_), Some(_)) => fault("console block with both replay and norun".into()),
        (Some(id), None) if id.trim_start_matches("vm:").is_empty() => {
            fault("replay without an id".into());
        }
        (None, Some(why)) if why.trim().is_empty() => fault("norun does not say why".into()),
        (Some(_), None) if fence.indented => {
            fault("a replayed block may not stand in a list or a quotation".into());
        }
        _ => {}
    }
    let prompt = |line: &str| line.starts_with("$ ") || line.starts_with("# ");
    if !fence.body.lines().next().is_some_and(prompt) {
        fault("a console block begins with a `$ ` or `# ` command line".into());
    }
    for line in fence.body.lines().filter(|line| prompt(line)) {
        let here = |place: &&str| ["$PWD", "$OLDPWD", "~"].iter().any(|word| place.contains(word));
        let removed =
            line.split("rm -").skip(1).filter_map(|rest| rest.split([';', '&', '|']).next());
        if removed.into_iter().any(|arguments| here(&arguments)) {
            fault(format!(
                "`{line}` removes whatever directory the reader is in, if a line before it failed: \
                 name it by a variable"
            ));
        }
    }
    for (name, _) in &fence.attributes {
        if !["replay", "norun", "user", "tools"].contains(&name.as_str()) {
            fault(format!("unknown attribute `{name}`: replay, norun, user or tools"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let page = Page::parse("p.md".as_ref(), "p.md".into(), text.into());
        check(&page).iter().map(ToString::to_string).collect()
    }

    fn one(text: &str, part: &str) {
        let faults = faults(text);
        assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
    }

    #[test]
    fn no_session_removes_the_directory_that_it_happens_to_be_in() {
        one("```console,replay=a\n# cd $(mktemp -d)\n# rm -r \"$PWD\"\n```\n", "by a variable");
        one("```console,replay=a\n# cd; rm -rf $OLDPWD\n```\n", "by a variable");
        let good = "```console,replay=a\n# D=$(mktemp -d); ls $PWD; rm -r $D; cd ~-\n```\n";
        assert_eq!(faults(good), [""; 0]);
    }

    #[test]
    fn an_unlabelled_fence_is_a_fault() {
        one("a\n\n```\nx\n```\n", "p.md:3: code fence without a language");
        one("a\n\n    indented\n", "without a language");
        one("```brainfuck\nx\n```\n", "unknown fence language");
    }

    #[test]
    fn rust_is_included_never_typed() {
        one("```rust\nfn main() {}\n```\n", "typed by hand (`fn main() {}`)");
        one("```rust\n{{#include a.rs:b}}\nlet x = 1;\n```\n", "typed by hand");
        assert_eq!(faults("```rust\n{{#include a.rs:b}}\n```\n"), [""; 0]);
    }

    #[test]
    fn a_console_block_is_replayed_or_says_why_not() {
        one("```console\n$ ls\n```\n", "neither replay=ID nor norun");
        one("```console,norun=\"\"\n$ ls\n```\n", "does not say why");
        one("```console,replay=vm:\n$ ls\n```\n", "without an id");
        one("```console,replay=a,norun=\"b\"\n$ ls\n```\n", "both");
        one("- a\n\n  ```console,replay=a\n  $ ls\n  ```\n", "list");
        one("```console,replay=a\nls\n```\n", "begins with");
        one("```console,replay=a,replai\n$ ls\n```\n", "unknown attribute");
        assert_eq!(faults("```console,norun=\"needs two, machines\"\n$ ls\n```\n"), [""; 0]);
        assert_eq!(faults("```console,replay=vm:a\n# ls\n```\n"), [""; 0]);
    }

    #[test]
    fn an_empty_fence_is_a_fault() {
        one("```text\n```\n", "empty");
    }
}
