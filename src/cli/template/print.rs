//! Values as Go prints them.

use serde_json::Value;

/// What Go prints for nothing.
pub(super) const NO_VALUE: &str = "<no value>";

/// `%v`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(name, _)| name.as_str());
            let pairs: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float != 0.0 && !(1e-4..1e21).contains(&float.abs()) => {
                scientific(float)
            }
            Some(float) => format!("{float}"),
            None => number.to_string(),
        },
        Value::Bool(yes) => yes.to_string(),
    }
}

/// `1e+21`: with a sign and two digits at least.
fn scientific(float: f64) -> String {
    let text = format!("{float:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `printf`: %s %v %d %q %t %f %x %%, with flags, width and precision.
pub(super) fn formatted(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let length = after.find(|c: char| !"+-# 0.123456789".contains(c)).unwrap_or(after.len());
        let (options, after) = after.split_at(length);
        let Some(verb) = after.chars().next() else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        rest = after.get(verb.len_utf8()..).unwrap_or_default();
        if verb == '%' {
            out.push('%');
            continue;
        }
        match arguments.next() {
            Some(value) => out.push_str(&padded(options, &verbatim(verb, options, value))),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
    }
    out + rest
}

fn precision(options: &str) -> Option<usize> {
    options.split_once('.').map(|(_, digits)| digits.parse().unwrap_or_default())
}

fn verbatim(verb: char, options: &str, value: &Value) -> String {
    let cut = |text: String| match precision(options) {
        Some(length) => text.chars().take(length).collect(),
        None => text,
    };
    match (verb, value) {
        ('v', value) => plain(value),
        ('s', Value::String(_) | Value::Array(_) | Value::Object(_)) => cut(plain(value)),
        ('q', Value::String(text)) => Value::from(cut(text.clone())).to_string(),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('x', Value::Number(number)) if number.is_i64() || number.is_u64() => {
            format!("{:x}", number.as_i64().unwrap_or_default())
        }
        ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
        ('t', Value::Bool(yes)) => yes.to_string(),
        ('f', Value::Number(number)) if number.is_f64() => {
            let float = number.as_f64().unwrap_or_default();
            format!("{float:.*}", precision(options).unwrap_or(6))
        }
        (verb, value) => format!("%!{verb}({})", plain(value)),
    }
}

/// To the width: on the left, unless a `-` says otherwise; with zeros where a `0` does.
fn padded(options: &str, text: &str) -> String {
    let width = options.split('.').next().unwrap_or_default();
    let zeros = width.starts_with('0');
    let left = width.contains('-');
    let width: usize = width.trim_start_matches(['+', '-', '#', ' ', '0']).parse().unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    match (left, zeros) {
        (true, _) => text.to_owned() + &" ".repeat(missing),
        (false, true) => "0".repeat(missing) + text,
        (false, false) => " ".repeat(missing) + text,
    }
}
