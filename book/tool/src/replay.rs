//! Terminal sessions in the book are replayed: the commands of a `console,replay=ID` block are run
//! and what they print is compared with the block.
//!
//! A block is one shell session: `$ ` and `# ` lines are commands (a line after a trailing `\`
//! continues one), everything else is output. `[..]` stands for anything within a line, a line
//! `...` for any lines, as in snapbox. Numbers of namespaces, `uts:[4026531838]`, differ from run to
//! run: what is compared is which of a block's numbers are equal. `$ROOTFS` is a small system made of
//! busybox. Blocks `replay=vm:ID` run in the lab VM, all in one boot.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use snapbox::Data;
use snapbox::filter::NormalizeToExpected;

use crate::error::{Context, Error, Result};
use crate::fence::Fence;
use crate::finding::Finding;
use crate::layout::Layout;
use crate::page::Page;

mod defaults;
mod rootfs;
pub(crate) mod session;

/// Printed before and after each command's output; no program of the book prints it.
const MARK: char = '\u{1e}';
/// How long all blocks of one shell or VM may take together.
const PATIENCE: Duration = Duration::from_secs(240);

/// A block to be replayed.
struct Block<'a> {
    page: &'a Page,
    fence: &'a Fence,
    /// Without `vm:`.
    id: &'a str,
    in_vm: bool,
    steps: Vec<Step>,
}

/// A command of a block and the output that the book shows.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// The lines as printed, prompts included.
    shown: String,
    /// What the shell is given.
    command: String,
    /// What the book says it prints.
    expected: String,
}

/// What to do with a block whose output has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// It is a fault.
    Fails,
    /// The block is rewritten with what was printed.
    Rewrites,
}

/// Ids are unique in the whole book.
pub fn check(pages: &[Page]) -> Vec<Finding> {
    let mut seen: HashMap<&str, (&Path, usize)> = HashMap::new();
    let mut findings = Vec::new();
    for block in blocks(pages) {
        let here = (block.page.name.as_path(), block.fence.line);
        if let Some((file, line)) = seen.insert(block.id, here) {
            let message = format!("replay id {} is taken by {}:{line}", block.id, file.display());
            findings.push(Finding::new(here.0, here.1, message));
        }
    }
    findings
}

/// Replays the blocks whose id is one of `ids`, or all where it is empty. Returns how many were
/// replayed and what differed.
///
/// # Errors
/// Where an id names no block, or a shell or the VM cannot be run.
pub fn replay(
    layout: &Layout,
    ids: &[String],
    difference: Difference,
) -> Result<(usize, Vec<Finding>)> {
    let pages = layout.pages()?;
    let mut blocks = blocks(&pages);
    for id in ids {
        if !blocks.iter().any(|block| block.id == id.trim_start_matches("vm:")) {
            return Err(Error::Usage(format!("no block `console,replay={id}` in the book")));
        }
    }
    blocks.retain(|b| ids.is_empty() || ids.iter().any(|id| id.trim_start_matches("vm:") == b.id));
    let outputs = session::run(layout, &blocks)?;
    let mut findings = Vec::new();
    let mut rewrites: HashMap<&Path, Vec<(&Block<'_>, String)>> = HashMap::new();
    for (block, outputs) in blocks.iter().zip(&outputs) {
        let differing = compare(block, outputs);
        match difference {
            Difference::Rewrites if !differing.is_empty() => {
                let body = rewritten(block, outputs);
                rewrites.entry(&block.page.path).or_default().push((block, body));
            }
            _ => findings.extend(differing),
        }
    }
    for (path, blocks) in rewrites {
        rewrite(path, blocks)?;
    }
    Ok((blocks.len(), findings))
}

/// Replays the blocks of one page: how many commands they have, and how many of these printed what the
/// page says.
///
/// # Errors
/// Where a shell or the VM cannot be run.
pub fn of_page(layout: &Layout, page: &Page) -> Result<(usize, usize)> {
    let blocks = blocks(std::slice::from_ref(page));
    let outputs = session::run(layout, &blocks)?;
    let commands: usize = blocks.iter().map(|block| block.steps.len()).sum();
    let differ: usize =
        blocks.iter().zip(&outputs).map(|(block, outputs)| compare(block, outputs).len()).sum();
    Ok((commands, commands - differ))
}

/// How many commands a block has.
pub fn commands(body: &str) -> usize {
    steps(body).len()
}

fn blocks(pages: &[Page]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for page in pages {
        for fence in page.fences.iter().filter(|fence| fence.language == "console") {
            let Some(id) = fence.attribute("replay") else { continue };
            let in_vm = id.starts_with("vm:");
            let id = id.trim_start_matches("vm:");
            blocks.push(Block { page, fence, id, in_vm, steps: steps(&fence.body) });
        }
    }
    blocks
}

fn steps(body: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut continued = false;
    for line in body.lines() {
        let command = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
        match (command, steps.last_mut()) {
            (None, Some(step)) if continued => {
                step.shown.push_str(&format!("{line}\n"));
                step.command.push_str(&format!("\n{}", line.strip_prefix("> ").unwrap_or(line)));
                continued = line.ends_with('\\');
            }
            (Some(command), _) => {
                let (shown, command) = (format!("{line}\n"), command.to_owned());
                continued = command.ends_with('\\');
                steps.push(Step { shown, command, expected: String::new() });
            }
            (None, Some(step)) => step.expected.push_str(&format!("{line}\n")),
            (None, None) => {}
        }
    }
    steps
}

/// One finding for each command whose output differs.
fn compare(block: &Block<'_>, outputs: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut line = block.fence.line + 1;
    let (mut ours, mut theirs) = (Identities::default(), Identities::default());
    for (index, step) in block.steps.iter().enumerate() {
        let actual = outputs.get(index).map(String::as_str);
        let expected = ours.rename(&step.expected);
        let renamed = theirs.rename(actual.unwrap_or_default());
        if actual.is_none() || !matches(&expected, &renamed) {
            let actual = actual.unwrap_or("(the session ended before this command)\n");
            let message = format!(
                "replay {}: `{}` prints\n{}instead of\n{}",
                block.id,
                step.command,
                indent(actual),
                indent(&step.expected)
            );
            findings.push(Finding::new(&block.page.name, line, message));
        }
        line += step.shown.lines().count() + step.expected.lines().count();
    }
    findings
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// Whether `actual` is `expected` with its elisions filled.
fn matches(expected: &str, actual: &str) -> bool {
    let expected = Data::text(expected.to_owned());
    let normalized =
        NormalizeToExpected::new().redact().normalize(Data::text(actual.to_owned()), &expected);
    normalized.render() == expected.render()
}

/// Names for the numbers of namespaces, in the order in which they appear.
#[derive(Default)]
struct Identities {
    seen: Vec<String>,
}

impl Identities {
    /// `text` with `uts:[4026531838]` as `uts:[#0]`.
    fn rename(&mut self, text: &str) -> String {
        let mut pieces = text.split(":[");
        let mut renamed = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            renamed.push_str(":[");
            match piece.split_once(']') {
                Some((number, rest)) if number.len() == 10 && number.parse::<u32>().is_ok() => {
                    let known = self.seen.iter().position(|seen| seen == number);
                    let index = known.unwrap_or_else(|| {
                        self.seen.push(number.to_owned());
                        self.seen.len() - 1
                    });
                    renamed.push_str(&format!("#{index}]{rest}"));
                }
                _ => renamed.push_str(piece),
            }
        }
        renamed
    }
}

/// The block's body with what was printed, keeping the elisions of steps that still match.
fn rewritten(block: &Block<'_>, outputs: &[String]) -> String {
    let (mut ours, mut theirs) = (Identities::default(), Identities::default());
    let step = |(index, step): (usize, &Step)| {
        let expected = ours.rename(&step.expected);
        let output = match outputs.get(index) {
            Some(actual) if !matches(&expected, &theirs.rename(actual)) => actual,
            _ => &step.expected,
        };
        format!("{}{output}", step.shown)
    };
    block.steps.iter().enumerate().map(step).collect()
}

fn rewrite(path: &Path, mut blocks: Vec<(&Block<'_>, String)>) -> Result<()> {
    // From the end, so that the ranges before stay valid.
    blocks.sort_by_key(|(block, _)| std::cmp::Reverse(block.fence.body_range.start));
    let Some((first, _)) = blocks.first() else { return Ok(()) };
    let mut text = first.page.text.clone();
    for (block, body) in &blocks {
        text.replace_range(block.fence.body_range.clone(), body);
        println!("{}:{}: rewritten", block.page.name.display(), block.fence.line);
    }
    std::fs::write(path, text).on("write", path)
}

#[cfg(test)]
mod tests;
