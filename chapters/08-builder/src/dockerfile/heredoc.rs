//! Heredocs: `RUN <<EOF`, `COPY <<"a.txt" /etc/`.

use crate::expand::{NoVariables, Rules, expand};

/// A text in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heredoc {
    /// The word that ends it; for `COPY`, the file's name.
    pub name: String,
    /// The number before `<<`.
    pub descriptor: u32,
    /// Whether variables in it count: no part of the word was quoted.
    pub expands: bool,
    /// `<<-`: tabs at the beginning of lines do not count.
    pub chomp: bool,
    /// The lines, each with its end.
    pub content: String,
}

impl Heredoc {
    /// What is in it: without tabs at the beginning of lines, where that was asked for.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The instructions that take heredocs.
const TAKERS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// The heredocs that an instruction announces, without their content.
pub(super) fn announced(line: &str) -> Vec<Heredoc> {
    let mut words = line.split_whitespace();
    let mut name = words.next().unwrap_or_default().to_ascii_uppercase();
    if name == "ONBUILD" {
        name = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    // Most lines have none, and need no further look.
    if !TAKERS.contains(&name.as_str()) || !line.contains("<<") || is_exec(line) {
        return Vec::new();
    }
    let rules = Rules { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Rules::new('\\') };
    // A line that cannot be split is told of where it is read.
    let words = expand(line, rules, &NoVariables).map(|line| line.words).unwrap_or_default();
    words.iter().filter_map(|word| parse(word)).collect()
}

/// Whether the arguments are a JSON array.
fn is_exec(line: &str) -> bool {
    let start = line.find('[').and_then(|at| line.get(at..));
    start.is_some_and(|text| serde_json::from_str::<Vec<String>>(text.trim()).is_ok())
}

/// A word that announces a heredoc.
pub fn parse(word: &str) -> Option<Heredoc> {
    let (number, rest) = word.split_once("<<")?;
    if !number.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let read = |raw_quotes| {
        let rules = Rules { raw_quotes, keep_unset: true, ..Rules::new('\\') };
        let words = expand(rest, rules, &NoVariables).ok()?.words;
        <[String; 1]>::try_from(words).ok().map(|[word]| word)
    };
    let (name, quoted) = (read(false)?, read(true)?);
    let expands = name == quoted;
    let descriptor = number.parse().unwrap_or(0);
    Some(Heredoc { name, descriptor, expands, chomp, content: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_announce_one() {
        let short = |word: &str| {
            let found = parse(word)?;
            Some((found.name, found.descriptor, found.expands, found.chomp))
        };
        assert_eq!(short("<<EOF"), Some(("EOF".into(), 0, true, false)));
        assert_eq!(short("3<<-\"a b\""), Some(("a b".into(), 3, false, true)));
        assert_eq!(short("<<'E'OF"), Some(("EOF".into(), 0, false, false)));
        for none in ["<<", "<<<x", "a<<b", "x"] {
            assert_eq!(short(none), None, "{none}");
        }
    }

    #[test]
    fn only_some_instructions_take_them() {
        let names = |line: &str| -> Vec<String> {
            announced(line).into_iter().map(|heredoc| heredoc.name).collect()
        };
        assert_eq!(names("RUN <<A cat <<B"), ["A", "B"]);
        assert_eq!(names("onbuild copy <<A /x"), ["A"]);
        assert_eq!(names("CMD <<A"), [""; 0]);
        assert_eq!(names("RUN [\"echo\", \"<<A\"]"), [""; 0]);
        assert_eq!(names("RUN echo $((1<<2))"), [""; 0]);
    }

    #[test]
    fn tabs_go_where_that_is_asked_for() {
        let heredoc =
            Heredoc { chomp: true, content: "\t\ta\n b\tc\n".into(), ..Heredoc::default() };
        assert_eq!(heredoc.text(), "a\n b\tc\n");
    }
}
