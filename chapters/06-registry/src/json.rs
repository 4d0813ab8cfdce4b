//! JSON bombs: documents that are small and need much memory once they are parsed.
//!
//! `{}` in an image's history takes three bytes with its comma and becomes a structure of some
//! hundred; a configuration of 8 MiB would need half a gigabyte. So a document from outside is
//! looked through before it is parsed: how deep it is, and how many values it has.

use crate::error::{Error, Result};

/// More than any document of the specifications needs.
const MAX_DEPTH: usize = 64;
/// An index of a thousand platforms, or a history of ten thousand steps, has fewer.
const MAX_VALUES: usize = 100_000;

/// Refuses a document that is too deep or has too many values. Whether it is JSON at all is left to
/// the parser.
pub(crate) fn check(what: &str, raw: &[u8]) -> Result<()> {
    let bomb = |why: String| Err(Error::malformed(what, format!("a JSON bomb: {why}: refused")));
    let (mut depth, mut values, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in raw {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return bomb(format!("nested more than {MAX_DEPTH} deep"));
        }
        if values > MAX_VALUES {
            return bomb(format!("more than {MAX_VALUES} values"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_number_of_values_count_outside_of_strings_only() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let text = format!("{{\"a\": \"{}\\\"{}\"}}", deep(100), ",".repeat(200_000));
        for sound in ["", "{}", "no JSON", &deep(64), &text] {
            check("x", sound.as_bytes()).unwrap();
        }
        for bomb in [deep(65), format!("[{}]", "{},".repeat(60_000)), ",".repeat(100_001)] {
            let error = check("x", bomb.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("a JSON bomb"), "{error}");
        }
    }
}
