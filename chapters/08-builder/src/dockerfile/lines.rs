//! From text to logical lines: directives, comments, continuation, heredocs.

use super::heredoc::{self, Heredoc};
use super::{Span, place};
use crate::error::Error;

/// What is said at the top of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`.
    pub syntax: Option<String>,
    /// `# escape=`.
    pub escape: char,
    /// `# check=`.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { syntax: None, escape: '\\', check: None }
    }
}

/// One instruction as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its lines, joined.
    pub text: String,
    /// Where it is.
    pub at: Span,
    /// For parts of the text, where they come from: the offset, the line, the column.
    pieces: Vec<(usize, usize, usize)>,
    /// What follows it.
    pub heredocs: Vec<Heredoc>,
}

impl Line {
    /// A line that is no Dockerfile's: a trigger of an image.
    pub fn alone(text: &str) -> Line {
        let at = Span { line: 1, column: 1, end: 1 };
        Line { text: text.to_owned(), at, pieces: vec![(0, 1, 1)], heredocs: Vec::new() }
    }

    // ANCHOR: position
    /// Where the byte `offset` of the text is.
    pub fn position(&self, offset: usize) -> Span {
        let piece = self.pieces.iter().rev().find(|(from, _, _)| *from <= offset);
        let Some(&(from, line, column)) = piece else { return self.at };
        let before = self.text.get(from..offset).unwrap_or_default();
        Span { line, column: column + before.chars().count(), end: line }
    }
    // ANCHOR_END: position
}

/// The lines of a Dockerfile.
#[derive(Debug)]
pub(super) struct Lines {
    pub source: Vec<String>,
    pub directives: Directives,
    pub lines: Vec<Line>,
    pub warnings: Vec<String>,
}

/// Reads `text`, the Dockerfile `name`.
pub(super) fn read(name: &str, text: &str) -> Result<Lines, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source: Vec<String> = text.lines().map(str::to_owned).collect();
    let (directives, from) = directives(name, &source)?;
    let mut reader = Reader { name, source: &source, at: from, escape: directives.escape };
    let (mut lines, mut warnings) = (Vec::new(), Vec::new());
    while let Some(line) = reader.next(&mut warnings)? {
        lines.push(line);
    }
    Ok(Lines { directives, lines, warnings, source })
}

/// The directives, and how many lines they take.
fn directives(name: &str, source: &[String]) -> Result<(Directives, usize), Error> {
    let mut directives = Directives::default();
    let mut seen = Vec::new();
    for (index, line) in source.iter().enumerate() {
        let Some((key, value)) = directive(line) else { return Ok((directives, index)) };
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let at = Span { line: index + 1, column, end: index + 1 };
        let error = |message| Err(Error::Syntax { place: place(name, source, at).into(), message });
        if seen.contains(&key) {
            return error(format!("only one {key} parser directive can be used"));
        }
        match key.as_str() {
            "syntax" => directives.syntax = Some(value),
            "check" => directives.check = Some(value),
            _ => match value.as_str() {
                "\\" => {}
                "`" => directives.escape = '`',
                _ => {
                    return error(format!("invalid escape token '{value}' does not match ` or \\"));
                }
            },
        }
        seen.push(key);
    }
    Ok((directives, source.len()))
}

/// `# key=value`, where the key is a directive's.
fn directive(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    let known = matches!(key.as_str(), "syntax" | "escape" | "check");
    (known && !value.is_empty()).then(|| (key, value.to_owned()))
}

struct Reader<'a> {
    name: &'a str,
    source: &'a [String],
    /// The next line, from 0.
    at: usize,
    escape: char,
}

impl Reader<'_> {
    fn next(&mut self, warnings: &mut Vec<String>) -> Result<Option<Line>, Error> {
        loop {
            let Some(raw) = self.source.get(self.at) else { return Ok(None) };
            self.at += 1;
            let trimmed = raw.trim_start();
            let column = raw.chars().count() - trimmed.chars().count() + 1;
            let trimmed = if trimmed.starts_with('#') { "" } else { trimmed };
            let (part, continues) = self.continuation(trimmed);
            if part.is_empty() && !continues {
                continue;
            }
            let first = self.at;
            let at = Span { line: first, column, end: first };
            let pieces = vec![(0, first, column)];
            let mut line = Line { text: part.to_owned(), at, pieces, heredocs: Vec::new() };
            if continues {
                self.join(&mut line, warnings);
            }
            if line.text.trim().is_empty() {
                continue;
            }
            line.at.end = self.at;
            self.heredocs(&mut line)?;
            return Ok(Some(line));
        }
    }

    /// Adds the lines that continue it.
    fn join(&mut self, line: &mut Line, warnings: &mut Vec<String>) {
        let mut empty = false;
        while let Some(raw) = self.source.get(self.at) {
            self.at += 1;
            if raw.trim_start().starts_with('#') {
                continue;
            }
            if raw.trim().is_empty() {
                empty = true;
                continue;
            }
            if line.text.trim().is_empty() {
                // The instruction begins here.
                let column = raw.chars().take_while(|c| c.is_whitespace()).count() + 1;
                (line.at.line, line.at.column) = (self.at, column);
            }
            line.pieces.push((line.text.len(), self.at, 1));
            let (part, continues) = self.continuation(raw);
            line.text.push_str(part);
            if !continues {
                break;
            }
        }
        if empty {
            let text = line.text.trim();
            warnings.push(format!("Empty continuation line found in:\n    {text}"));
        }
    }

    // ANCHOR: continuation
    /// A line without the escape character at its end, and whether there was one. Two of them stand
    /// for the character itself.
    fn continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        let blank = [' ', '\t'];
        match line.trim_end_matches(blank).strip_suffix(self.escape) {
            Some(rest) if !rest.ends_with(self.escape) => (rest, true),
            _ => (line, false),
        }
    }
    // ANCHOR_END: continuation

    fn heredocs(&mut self, line: &mut Line) -> Result<(), Error> {
        for mut heredoc in heredoc::announced(&line.text) {
            let mut ended = false;
            while let Some(raw) = self.source.get(self.at) {
                self.at += 1;
                let possible = if heredoc.chomp { raw.trim_start_matches('\t') } else { raw };
                if possible == heredoc.name {
                    ended = true;
                    break;
                }
                heredoc.content.push_str(raw);
                heredoc.content.push('\n');
            }
            if !ended {
                let message = format!(
                    "unterminated heredoc: there is no line `{}` after this instruction",
                    heredoc.name
                );
                let place = Box::new(place(self.name, self.source, line.at));
                return Err(Error::Syntax { place, message });
            }
            line.at.end = self.at;
            line.heredocs.push(heredoc);
        }
        Ok(())
    }
}

/// The lines of instructions that stand in no file, each with its continuation.
///
/// # Errors
/// What is wrong with their form.
pub fn lines_of(text: &str) -> Result<Vec<String>, String> {
    let lines = read("instructions", text).map_err(|error| error.classic())?.lines;
    Ok(lines.into_iter().map(|line| line.text).collect())
}
