//! Variables in a Dockerfile's words: `$name`, `${name}` and the forms with a modifier.
//!
//! The rules are BuildKit's, which resemble a shell's: single quotes take all as it is, in double
//! quotes variables count, the escape character takes the next one as it is. A word can be expanded
//! to one string, or be split at white space after that.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// The variables that there are.
pub trait Variables {
    /// The value of one.
    fn value(&self, name: &str) -> Option<String>;
}

impl Variables for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// None at all.
#[derive(Debug, Clone, Copy)]
pub struct NoVariables;

impl Variables for NoVariables {
    fn value(&self, _: &str) -> Option<String> {
        None
    }
}

/// How words are read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// `\`, or what the directive `escape` says.
    pub escape: char,
    /// Quotes stay.
    pub raw_quotes: bool,
    /// Escape characters stay.
    pub raw_escapes: bool,
    /// Quotes mean nothing: the content of a heredoc.
    pub skip_quotes: bool,
    /// A variable that is not there stays as it is written.
    pub keep_unset: bool,
}

impl Rules {
    /// The usual ones.
    pub fn new(escape: char) -> Rules {
        let off = false;
        Rules { escape, raw_quotes: off, raw_escapes: off, skip_quotes: off, keep_unset: off }
    }
}

/// What a word has become.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// As one string.
    pub text: String,
    /// Split at white space.
    pub words: Vec<String>,
    /// The variables that were asked for.
    pub names: BTreeSet<String>,
}

/// Expands `word`.
///
/// # Errors
/// What is wrong with it, as a part of a sentence.
pub fn expand(word: &str, rules: Rules, variables: &dyn Variables) -> Result<Expanded, String> {
    let names = RefCell::default();
    let mut reader = Reader { rest: word.chars().peekable(), rules, variables, names: &names };
    let (text, words) = reader
        .until(None, rules.raw_escapes)
        .map_err(|why| format!("failed to process {word:?}: {why}"))?;
    Ok(Expanded { text, words, names: names.take() })
}

/// Words on their way.
#[derive(Default)]
struct Words {
    word: String,
    done: Vec<String>,
    inside: bool,
}

impl Words {
    fn character(&mut self, c: char) {
        match (c.is_whitespace(), self.inside) {
            (true, true) if !self.word.is_empty() => {
                self.done.push(std::mem::take(&mut self.word));
                self.inside = false;
            }
            (true, _) => {}
            (false, _) => self.raw(c),
        }
    }

    fn raw(&mut self, c: char) {
        self.word.push(c);
        self.inside = true;
    }

    fn raw_text(&mut self, text: &str) {
        self.word.push_str(text);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    rules: Rules,
    variables: &'a dyn Variables,
    names: &'a RefCell<BTreeSet<String>>,
}

type Text = Result<String, String>;

impl Reader<'_> {
    /// Reads up to `stop`, which is taken, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), String> {
        let before = std::mem::replace(&mut self.rules.raw_escapes, raw_escapes);
        let read = self.read(stop);
        self.rules.raw_escapes = before;
        read
    }

    fn read(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(&c) = self.rest.peek() {
            if stop == Some(c) {
                self.rest.next();
                return Ok((text, words.finish()));
            }
            match c {
                '\'' | '"' if !self.rules.skip_quotes => {
                    let quoted = if c == '"' { self.double()? } else { self.single()? };
                    text.push_str(&quoted);
                    words.raw_text(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|c| words.character(c));
                }
                _ => {
                    self.rest.next();
                    if c != self.rules.escape {
                        text.push(c);
                        words.character(c);
                        continue;
                    }
                    if self.rules.raw_escapes {
                        text.push(c);
                        words.raw(c);
                    }
                    // At the end there is nothing to escape.
                    let Some(next) = self.rest.next() else { break };
                    text.push(next);
                    words.raw(next);
                }
            }
        }
        match stop {
            None => Ok((text, words.finish())),
            Some(stop) => {
                Err(format!("unexpected end of statement while looking for matching {stop}"))
            }
        }
    }

    fn single(&mut self) -> Text {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            match self.rest.peek() {
                None => {
                    return Err("unexpected end of statement while looking for matching \
                                single-quote"
                        .into());
                }
                Some('\'') => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                Some(_) => text.extend(self.rest.next()),
            }
        }
    }

    /// Takes a quote, and keeps it where quotes stay.
    fn quote(&mut self, text: &mut String) {
        let quote = self.rest.next();
        if self.rules.raw_quotes {
            text.extend(quote);
        }
    }

    fn double(&mut self) -> Text {
        let mut text = String::new();
        self.quote(&mut text);
        loop {
            let Some(&c) = self.rest.peek() else {
                return Err(
                    "unexpected end of statement while looking for matching double-quote".into()
                );
            };
            match c {
                '"' => {
                    self.quote(&mut text);
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                _ => {
                    self.rest.next();
                    if c != self.rules.escape {
                        text.push(c);
                        continue;
                    }
                    if self.rules.raw_escapes {
                        text.push(c);
                    }
                    match self.rest.peek() {
                        None => {}
                        Some(&n) if n == '"' || n == '$' || n == self.rules.escape => {
                            text.extend(self.rest.next());
                        }
                        Some(_) => text.push(c),
                    }
                }
            }
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.names.borrow_mut().insert(name.to_owned());
        self.variables.value(name)
    }

    fn dollar(&mut self) -> Text {
        self.rest.next();
        if self.rest.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".into());
            }
            let value = self.value(&name);
            return Ok(match value {
                None if self.rules.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.rest.next();
        match self.rest.peek() {
            None => return Err(MISSING.into()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".into()),
            Some(_) => {}
        }
        let name = self.name();
        self.braces(&name)
    }

    /// What comes after the name in braces.
    fn braces(&mut self, name: &str) -> Text {
        let Some(first) = self.rest.next() else { return Err(MISSING.into()) };
        let mut written = first.to_string();
        match first {
            '}' => match self.value(name) {
                None if self.rules.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            '/' => self.replacement(name),
            ':' | '+' | '-' | '?' | '#' | '%' => {
                let mut modifier = first;
                if first == ':' {
                    modifier = self.rest.next().ok_or(MISSING)?;
                    written.push(modifier);
                }
                let raw = matches!(modifier, '#' | '%');
                let (word, _) = self.until(Some('}'), raw).map_err(|why| self.or_missing(why))?;
                let value = self.value(name);
                if value.is_none() && self.rules.keep_unset {
                    return Ok(format!("${{{name}{written}{word}}}"));
                }
                modified(name, value, (modifier, first == ':'), &word)
                    .ok_or(written)
                    .unwrap_or_else(|written| {
                        Err(format!("unsupported modifier ({written}) in substitution"))
                    })
            }
            _ => Err(format!("unsupported modifier ({written}) in substitution")),
        }
    }

    fn or_missing(&mut self, why: String) -> String {
        if self.rest.peek().is_none() { MISSING.into() } else { why }
    }

    fn replacement(&mut self, name: &str) -> Text {
        let all = self.rest.peek() == Some(&'/');
        if all {
            self.rest.next();
        }
        let (pattern, _) = match self.until(Some('/'), true) {
            Err(_) if self.rest.peek().is_none() => {
                return Err("syntax error: missing '/' in ${}".into());
            }
            other => other?,
        };
        let (new, _) = self.until(Some('}'), true).map_err(|why| self.or_missing(why))?;
        let Some(value) = self.value(name) else {
            return Ok(match self.rules.keep_unset {
                true => format!("${{{name}/{pattern}/{new}}}"),
                false => String::new(),
            });
        };
        let regex = regex(&pattern, true, false).map_err(|why| bad_pattern(&pattern, &why))?;
        Ok(match all {
            true => regex.replace_all(&value, new.as_str()).into_owned(),
            false => regex.replacen(&value, 1, regex::NoExpand(&new)).into_owned(),
        })
    }

    /// A name: letters, digits and `_`; digits only; or one special character.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&c) = self.rest.peek() {
            if name.is_empty() && c.is_ascii_digit() {
                while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && "@*#?-$!".contains(c) {
                self.rest.next();
                return c.to_string();
            }
            if !c.is_alphanumeric() && c != '_' {
                break;
            }
            name.extend(self.rest.next());
        }
        name
    }
}

const MISSING: &str = "syntax error: missing '}'";

// ANCHOR: modified
/// The value by its modifier; `None` for one that there is not.
fn modified(
    name: &str,
    value: Option<String>,
    (modifier, colon): (char, bool),
    word: &str,
) -> Option<Text> {
    let empty = value.as_ref().is_none_or(String::is_empty);
    let lacks = value.is_none() || (colon && empty);
    Some(match modifier {
        '-' => Ok(if lacks { word.to_owned() } else { value.unwrap_or_default() }),
        '+' => Ok(if lacks { String::new() } else { word.to_owned() }),
        '?' if lacks => {
            let what = if value.is_none() { "unset" } else { "empty" };
            let usual = format!("is not allowed to be {what}");
            Err(format!("{name}: {}", if word.is_empty() { &usual } else { word }))
        }
        '?' => Ok(value.unwrap_or_default()),
        '#' | '%' => {
            let greedy = word.starts_with(modifier);
            let pattern = if greedy { word.get(1..).unwrap_or_default() } else { word };
            cut(&value.unwrap_or_default(), pattern, greedy, modifier == '%')
        }
        _ => return None,
    })
}
// ANCHOR_END: modified

/// Cuts what `pattern` matches off the beginning of `value`, or off its `end`.
fn cut(value: &str, pattern: &str, greedy: bool, end: bool) -> Text {
    let regex = regex(pattern, greedy, true).map_err(|why| bad_pattern(pattern, &why))?;
    // The shortest or longest match is looked for among all, since a match at the end has no
    // anchor that decides it.
    let mut matches = value.char_indices().map(|(at, _)| at).chain([value.len()]).filter(|&at| {
        let part = if end { value.get(at..) } else { value.get(..at) };
        part.is_some_and(|part| regex.is_match(part))
    });
    let found = if greedy == end { matches.next() } else { matches.next_back() };
    Ok(match found {
        None => value.to_owned(),
        Some(at) if end => value.get(..at).unwrap_or_default().to_owned(),
        Some(at) => value.get(at..).unwrap_or_default().to_owned(),
    })
}

fn bad_pattern(pattern: &str, why: &str) -> String {
    format!("invalid pattern ({pattern}) in substitution: {why}")
}

/// A shell's pattern of `*` and `?` as a regular expression.
fn regex(pattern: &str, greedy: bool, whole: bool) -> Result<Regex, String> {
    let mut out = String::from(if whole { "(?s)^(?:" } else { "(?s)" });
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' => out.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => out.push('.'),
            '\\' if matches!(rest.peek(), Some('}' | '/')) => {}
            '\\' => match rest.next() {
                Some(next @ ('*' | '?' | '\\')) => out.extend(['\\', next]),
                next => return Err(format!("invalid escape '\\{}'", next.unwrap_or_default())),
            },
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    if whole {
        out.push_str(")$");
    }
    Regex::new(&out).map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
