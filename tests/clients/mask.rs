//! What varies from one daemon to another, made the same.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

/// Patterns, and what stands for what they match. The order counts.
const PATTERNS: [(&str, &str); 9] = [
    (r"\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{12}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"\b\d+ (seconds?|minutes?)( ago)?\b", "<while>"),
    (r"(Less than|About) an? (second|minute)( ago)?", "<while>"),
    (r"Total reclaimed space: .*", "Total reclaimed space: <size>"),
    (r"[ \t]+(\n|$)", "$1"),
    // Newer versions do not shout; and the runtime here is not runc.
    (r"Invalid filter", "invalid filter"),
    (r"runc create failed: ", ""),
];

/// A text with what varies masked; `root` is the peer's own directory.
pub fn masked(text: &str, root: &Path) -> String {
    let mut text = text.replace(&root.display().to_string(), "<root>").replace('\r', "");
    for (pattern, with) in PATTERNS {
        text = Regex::new(pattern).unwrap().replace_all(&text, with).into_owned();
    }
    text
}

/// Each field of a JSON document, with its type: `.State.Running: bool`.
pub fn fields(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // A request's answer ends with its status.
    let end = text.trim_end().rfind(['}', ']']).map_or(0, |end| end + 1);
    match serde_json::from_str::<Value>(&text[..end]) {
        Ok(value) => walk("", &value, &mut found),
        Err(why) => found.push(format!("no JSON: {why}: {text}")),
    }
    found.sort();
    found.dedup();
    found
}

fn walk(path: &str, value: &Value, found: &mut Vec<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(list) => {
            list.iter().for_each(|value| walk(&format!("{path}[]"), value, found));
            "list"
        }
        Value::Object(map) => {
            for (name, value) in map {
                let name = if name.len() == 64 { "<id>" } else { name };
                walk(&format!("{path}.{name}"), value, found);
            }
            "object"
        }
    };
    found.push(format!("{path}: {kind}"));
}
