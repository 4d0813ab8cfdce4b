//! `.dockerignore`: which files of a context a build does not see.
//!
//! A pattern excludes what it matches and all below; a later pattern with `!` takes something back.
//! The last one that matches counts.

use crate::error::{Error, Result};
use crate::glob::Glob;

/// The patterns of a file, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    glob: Glob,
    takes_back: bool,
    /// As it was written, for `--explain`.
    text: String,
}

impl Ignore {
    // ANCHOR: parse
    /// Reads the file `name`.
    ///
    /// # Errors
    /// With the line of a pattern that is none.
    pub fn parse(name: &str, text: &str) -> Result<Ignore> {
        let mut rules = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            // A comment begins with the line, before white space is taken off.
            let pattern = line.trim();
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let (takes_back, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, pattern),
            };
            let bad = |why: &str| Error::invalid(format!("{name}:{number}"), why);
            if pattern.is_empty() {
                return Err(bad("illegal exclusion pattern: \"!\""));
            }
            let cleaned = clean(pattern);
            if cleaned.is_empty() {
                // The context itself is never left out.
                continue;
            }
            let glob = Glob::parse(&cleaned, true).map_err(|why| bad(&why))?;
            rules.push(Rule { glob, takes_back, text: line.to_owned() });
        }
        Ok(Ignore { rules })
    }
    // ANCHOR_END: parse

    /// Patterns of `--exclude`.
    ///
    /// # Errors
    /// For one that is none.
    pub fn of_patterns(patterns: &[String]) -> Result<Ignore> {
        Ignore::parse("--exclude", &patterns.join("\n"))
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a build does not see `path` (without `/` at its beginning).
    pub fn excludes(&self, path: &str) -> bool {
        self.rule(path).is_some_and(|rule| !rule.takes_back)
    }

    /// The pattern that decides about `path`, as it was written.
    pub fn decided_by(&self, path: &str) -> Option<&str> {
        self.rule(path).map(|rule| rule.text.as_str())
    }

    // ANCHOR: rule
    fn rule(&self, path: &str) -> Option<&Rule> {
        let matches = |rule: &&Rule| {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.into_iter().any(|end| rule.glob.matches(path.get(..end).unwrap_or_default()))
        };
        self.rules.iter().rev().find(matches)
    }
    // ANCHOR_END: rule

    /// Whether something below the excluded directory `path` may be seen all the same.
    pub fn may_see_below(&self, path: &str) -> bool {
        let mut back = self.rules.iter().filter(|rule| rule.takes_back);
        back.any(|rule| rule.glob.may_match_below(path))
    }
}

/// A path without `.`, `..` that leads out, and slashes at both ends: Go's `filepath.Clean` of a
/// path below the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str, path: &str) -> bool {
        !Ignore::parse(".dockerignore", text).unwrap().excludes(path)
    }

    #[test]
    fn the_last_pattern_that_matches_counts() {
        for (text, path, expected) in [
            ("", "a", true),
            ("a", "a", false),
            ("a", "a/b", false),
            ("a", "b/a", true),
            ("**/a", "b/a", false),
            ("*.md\n!README.md", "README.md", true),
            ("*.md\n!README.md", "x.md", false),
            ("!README.md\n*.md", "README.md", false),
            ("d\n!d/keep", "d/keep", true),
            ("d\n!d/keep", "d/drop", false),
            ("# a\n\n /b/ ", "b", false),
            ("#a", "#a", true),
            ("./a/../b", "b", false),
            ("*", "x/y", false),
            ("*\n!x", "x/y", true),
            (".", "a", true),
            ("d/*.o", "d/e.o", false),
        ] {
            assert_eq!(seen(text, path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_has_a_line() {
        let error = Ignore::parse("x/.dockerignore", "a\n[").unwrap_err().to_string();
        assert_eq!(error, "x/.dockerignore:2: syntax error in pattern \"[\"");
        assert!(Ignore::parse("f", "!").unwrap_err().to_string().contains("illegal exclusion"));
    }

    #[test]
    fn an_excluded_directory_is_entered_for_what_is_taken_back() {
        let ignore = Ignore::parse("f", "d\n!d/e/keep").unwrap();
        assert!(ignore.may_see_below("d") && ignore.may_see_below("d/e"));
        assert!(!ignore.may_see_below("d/x"));
    }
}
