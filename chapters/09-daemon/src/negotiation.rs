//! The form in which lines of JSON go to a client: what it can read, it says in `Accept` (RFC 9110,
//! section 12.5.1).

use crate::version::Version;

/// The version from which on a client may choose.
const CHOICE: Version = Version(1, 52);

/// The version from which on lines have the name `application/jsonl`, too.
const JSON_LINES: Version = Version(1, 53);

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Lines under the name of one document, as it has always been.
    Json,
    /// The same under this name of their own.
    Lines(&'static str),
    /// Records of RFC 7464.
    Sequence,
}

/// What there is to choose from; of what a client likes equally well, the first.
const FORMS: [(Form, Version); 3] = [
    (Form::Lines("application/jsonl"), JSON_LINES),
    (Form::Lines("application/x-ndjson"), CHOICE),
    (Form::Sequence, CHOICE),
];

impl Form {
    /// Its media type.
    pub fn kind(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Lines(kind) => kind,
            Form::Sequence => "application/json-seq",
        }
    }

    // ANCHOR: choose
    /// The form that `accept` likes best. Whoever takes anything, as curl does, takes what has always
    /// come.
    pub fn choose(accept: &str, version: Version) -> Form {
        let mut best = (Form::Json, 0.0);
        for (form, since) in FORMS {
            let weight = weight(accept, form.kind());
            if version >= since && weight > best.1 {
                best = (form, weight);
            }
        }
        best.0
    }
    // ANCHOR_END: choose
}

/// How much a client likes a type that it names: from 0, not at all, to 1.
fn weight(accept: &str, kind: &str) -> f32 {
    let named = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(kind) {
            return None;
        }
        let quality = parts.find_map(|part| part.strip_prefix("q=").map(str::parse::<f32>));
        Some(quality.map_or(1.0, |quality| quality.unwrap_or(0.0)))
    });
    named.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_what_it_likes_best_of_what_its_version_has() {
        let chosen = |accept: &str, minor: u16| Form::choose(accept, Version(1, minor)).kind();
        for accept in ["", "*/*", "application/json", "text/html", "application/jsonl;q=0"] {
            assert_eq!(chosen(accept, 53), "application/json", "{accept}");
        }
        let all = "application/json-seq, application/x-ndjson;q=0.9,application/jsonl ; q=0.8";
        assert_eq!(chosen(all, 53), "application/json-seq");
        assert_eq!(chosen(all, 51), "application/json");
        let lines = "application/jsonl, application/x-ndjson, application/json-seq;q=0.5";
        assert_eq!(chosen(lines, 53), "application/jsonl");
        assert_eq!(chosen(lines, 52), "application/x-ndjson");
        assert_eq!(chosen("Application/JSONL;q=0.1, */*", 53), "application/jsonl");
    }
}
