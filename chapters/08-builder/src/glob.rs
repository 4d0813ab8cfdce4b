//! Patterns of file names: Go's `filepath.Match`, and `**` as .dockerignore adds it.

/// A pattern's meaning, one path component after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    /// `**`: any number of components.
    Any,
    /// One component.
    One(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// `*`.
    Star,
    /// `?`.
    Question,
    /// A character as it is.
    Character(char),
    /// `[a-z]`; negated by `^`.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern; `deep` tells whether `**` stands for any number of components.
    ///
    /// # Errors
    /// `syntax error in pattern`, as Go says it.
    pub fn parse(pattern: &str, deep: bool) -> Result<Glob, String> {
        let parts = pattern.split('/').filter(|part| !part.is_empty());
        let component = |part: &str| match part {
            "**" if deep => Ok(Component::Any),
            // Within a component it is a star, and matches no separator.
            part => pieces(part).map(Component::One),
        };
        Ok(Glob { components: parts.map(component).collect::<Result<_, _>>()? })
    }

    /// Whether it matches all of `path`, whose components are separated by `/`.
    pub fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        matches(&self.components, &parts)
    }

    /// Whether something below the directory `path` could match.
    pub fn may_match_below(&self, path: &str) -> bool {
        let mut components = self.components.as_slice();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match components {
                [Component::Any, ..] => return true,
                [Component::One(pieces), rest @ ..] if matches_one(pieces, part) => {
                    components = rest;
                }
                _ => return false,
            }
        }
        !components.is_empty()
    }
}

/// Whether a name has one of the characters that make it a pattern.
pub fn is_pattern(name: &str) -> bool {
    let mut characters = name.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A name without the escapes of a pattern.
pub fn unescape(name: &str) -> String {
    let (mut text, mut characters) = (String::new(), name.chars());
    while let Some(c) = characters.next() {
        text.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    text
}

fn matches(components: &[Component], parts: &[&str]) -> bool {
    match (components, parts) {
        ([], []) => true,
        ([Component::Any, rest @ ..], _) => {
            (0..=parts.len()).any(|skip| matches(rest, &parts[skip..]))
        }
        ([Component::One(pieces), rest @ ..], [part, parts @ ..]) => {
            matches_one(pieces, part) && matches(rest, parts)
        }
        _ => false,
    }
}

fn matches_one(pieces: &[Piece], text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    // Where the last star was, and what it has taken so far: no more is needed for one component.
    let (mut at, mut piece, mut star) = (0, 0, None);
    while at < characters.len() {
        let fits = match pieces.get(piece) {
            Some(Piece::Star) => {
                star = Some((piece, at));
                piece += 1;
                continue;
            }
            Some(Piece::Question) => true,
            Some(Piece::Character(c)) => *c == characters[at],
            Some(Piece::Class { negated, ranges }) => {
                let inside = |(from, to): &(char, char)| (*from..=*to).contains(&characters[at]);
                ranges.iter().any(inside) != *negated
            }
            None => false,
        };
        match (fits, star) {
            (true, _) => (at, piece) = (at + 1, piece + 1),
            (false, Some((from, taken))) => {
                star = Some((from, taken + 1));
                (at, piece) = (taken + 1, from + 1);
            }
            (false, None) => return false,
        }
    }
    pieces.get(piece..).unwrap_or_default().iter().all(|piece| *piece == Piece::Star)
}

fn pieces(part: &str) -> Result<Vec<Piece>, String> {
    let bad = || format!("syntax error in pattern {part:?}");
    let (mut pieces, mut rest) = (Vec::new(), part.chars().peekable());
    while let Some(c) = rest.next() {
        pieces.push(match c {
            '*' => Piece::Star,
            '?' => Piece::Question,
            '\\' => Piece::Character(rest.next().ok_or_else(bad)?),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let next =
                        |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next()? {
                            '\\' => rest.next(),
                            ']' | '-' => None,
                            c => Some(c),
                        };
                    if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
                        break;
                    }
                    let from = next(&mut rest).ok_or_else(bad)?;
                    let to = match rest.next_if_eq(&'-') {
                        Some(_) => next(&mut rest).ok_or_else(bad)?,
                        None => from,
                    };
                    ranges.push((from, to));
                }
                Piece::Class { negated, ranges }
            }
            c => Piece::Character(c),
        });
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, path, expected) in [
            ("*.go", "a.go", true),
            ("*.go", "d/a.go", false),
            ("d/*", "d/a", true),
            ("d/*", "d/e/a", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbxx", false),
            ("**/a", "a", true),
            ("**/a", "x/y/a", true),
            ("x/**", "x/y/z", true),
            ("x/**/z", "x/z", true),
            ("**", "anything/at/all", true),
            ("x/**/*.o", "x/a/b/c.o", true),
        ] {
            assert_eq!(
                Glob::parse(pattern, true).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for pattern in ["[", "[a", "a\\", "[]a]", "[-]"] {
            assert!(Glob::parse(pattern, true).is_err(), "{pattern}");
        }
    }

    #[test]
    fn directories_that_hold_nothing_need_not_be_looked_at() {
        let glob = Glob::parse("a/*/c", true).unwrap();
        assert!(glob.may_match_below("a") && glob.may_match_below("a/b"));
        assert!(!glob.may_match_below("b") && !glob.may_match_below("a/b/c"));
        assert!(Glob::parse("**/x", true).unwrap().may_match_below("any/where"));
    }
}
