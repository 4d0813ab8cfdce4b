//! Splitting an instruction's arguments: words with quotes that stay, pairs, JSON arrays.

use super::Pair;

/// Words at white space outside of quotes. Quotes and escapes stay, for the expansion.
pub(super) fn words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut blank_counts = false;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            if blank_counts || !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            blank_counts = false;
            continue;
        }
        match quote {
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                blank_counts = true;
            }
            Some(q) if c == q => quote = None,
            _ => {}
        }
        // In single quotes nothing is escaped.
        if c == escape && quote != Some('\'') {
            // At the very end it stands for nothing.
            let Some(next) = characters.next() else { continue };
            word.extend([c, next]);
            continue;
        }
        word.push(c);
    }
    if blank_counts || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The white space that separates arguments: not every one of Unicode's.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Splits at white space, quotes or not.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `A=1 B=2`, or the older `A the rest`.
pub(super) fn pairs(text: &str, instruction: &str, escape: char) -> Result<Vec<Pair>, String> {
    let words = words(text, escape);
    let Some(first) = words.first() else {
        return Err(format!("{instruction} requires at least one argument"));
    };
    if !first.contains('=') {
        let (name, value) = text
            .split_once(is_blank)
            .ok_or_else(|| format!("{instruction} must have two arguments"))?;
        return Ok(vec![(name.to_owned(), value.trim_start_matches(is_blank).to_owned())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        None => {
            Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
        }
        Some(("", _)) => Err(format!("{instruction} names can not be blank")),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
    };
    words.iter().map(pair).collect()
}

/// A JSON array of strings; `None` where it is something else that shall be taken as text.
///
/// # Errors
/// For an array of other things.
pub(super) fn json(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => {
            Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned())
        }
    });
    strings.collect::<Result<_, _>>().map(Some)
}

/// A duration as Go writes it (`1m30s`, `1.5h`), in nanoseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    let bad = || format!("time: invalid duration {text:?}: write it as 30s, 1m30s or 500ms");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(bad());
    }
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        total += number.parse::<f64>().map_err(|_| bad())? * scale;
        rest = next;
    }
    if total > i64::MAX as f64 {
        return Err(bad());
    }
    let nanoseconds = total.round() as i64;
    Ok(if negative { -nanoseconds } else { nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_stay() {
        assert_eq!(
            words("a 'b c' d\\ e \"f\\\" g\" ''", '\\'),
            ["a", "'b c'", "d\\ e", "\"f\\\" g\"", "''"]
        );
        assert_eq!(words("'a\\' b", '\\'), ["'a\\'", "b"]);
    }

    #[test]
    fn pairs_in_both_forms() {
        let read = |text: &str| pairs(text, "ENV", '\\').unwrap();
        assert_eq!(read("A the  rest"), [("A".to_owned(), "the  rest".to_owned())]);
        assert_eq!(read("A=1 B='x y'").len(), 2);
        for (text, why) in [
            ("A", "ENV must have two arguments"),
            ("", "ENV requires at least one argument"),
            ("A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
            ("=x", "ENV names can not be blank"),
        ] {
            assert_eq!(pairs(text, "ENV", '\\').unwrap_err(), why);
        }
    }

    #[test]
    fn arrays_hold_strings() {
        assert_eq!(json("[\"a\", \"b\"]").unwrap(), Some(vec!["a".into(), "b".into()]));
        assert_eq!(json("[ -f x ]").unwrap(), None);
        assert!(json("[1]").unwrap_err().contains("strings only"));
    }

    #[test]
    fn durations_are_go_s() {
        for (text, value) in
            [("0", 0), ("1s", 1_000_000_000), ("1m30s", 90_000_000_000), ("1.5ms", 1_500_000)]
        {
            assert_eq!(duration(text), Ok(value), "{text}");
        }
        for text in ["", "1", "x", "1d", "-"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
