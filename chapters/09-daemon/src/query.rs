//! Parameters, as dockerd reads them: everything is text, and most texts are true.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::failure::{Failure, Outcome};

/// The parameters of a request. Names that nobody knows are passed over.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// `filters`: names, and for each the values.
pub type Filters = BTreeMap<String, Vec<String>>;

impl Query {
    /// Reads what follows the question mark.
    pub fn parse(text: &str) -> Query {
        Query(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of a name; empty is none.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The first value, or the empty string.
    pub fn string(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// Whether the name is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(own, _)| own == name);
        values.map(|(_, value)| value.clone()).filter(|value| !value.is_empty()).collect()
    }

    // ANCHOR: flag
    /// Whether it is neither empty nor a word for no (moby's httputils.BoolValue).
    pub fn flag(&self, name: &str) -> bool {
        let value = self.text(name).unwrap_or_default().trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }
    // ANCHOR_END: flag

    /// The same with a value for a name that is not there.
    pub fn flag_or(&self, name: &str, otherwise: bool) -> bool {
        if self.has(name) { self.flag(name) } else { otherwise }
    }

    /// A truth as Go reads it (`strconv.ParseBool`); nothing where nothing was said.
    ///
    /// # Errors
    /// For what is none, in dockerd's words.
    pub fn truth(&self, name: &str) -> Outcome<Option<bool>> {
        let read = |text: &str| match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(Failure::invalid(format!("invalid value for {name}: {other}"))),
        };
        self.text(name).map(read).transpose()
    }

    /// A whole number.
    ///
    /// # Errors
    /// For what is none, in the words of Go's library.
    pub fn number(&self, name: &str) -> Outcome<Option<i64>> {
        let wrong =
            |text| Failure::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        self.text(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
    }

    /// `filters`, in the form of today and in that of long ago.
    ///
    /// # Errors
    /// For what is no such JSON.
    pub fn filters(&self) -> Outcome<Filters> {
        self.text("filters").map_or_else(|| Ok(Filters::new()), filters)
    }

    /// A map of strings as JSON: `buildargs`, `labels`.
    ///
    /// # Errors
    /// For what is no such JSON.
    pub fn json<T: serde::de::DeserializeOwned + Default>(&self, name: &str) -> Outcome<T> {
        let read = |text| {
            serde_json::from_str(text)
                .map_err(|why| Failure::invalid(format!("error reading {name}: {why}")))
        };
        self.text(name).map_or_else(|| Ok(T::default()), read)
    }
}

/// `{"name":{"x":true}}` or `{"name":["x"]}`.
fn filters(text: &str) -> Outcome<Filters> {
    let wrong = |why: String| Failure::invalid(format!("invalid filter: {why}"));
    let value: Value = serde_json::from_str(text).map_err(|why| wrong(why.to_string()))?;
    let all = match value {
        Value::Object(all) => all,
        Value::Null => return Ok(Filters::new()),
        _ => return Err(wrong("it is no JSON object".to_owned())),
    };
    let mut found = Filters::new();
    for (name, values) in all {
        let values: Vec<String> = match values {
            Value::Object(set) => {
                let is_bool = set.values().all(Value::is_boolean);
                if !is_bool {
                    return Err(wrong(format!("the values of {name} are not true or false")));
                }
                set.into_iter().filter(|(_, on)| *on == Value::Bool(true)).map(|(v, _)| v).collect()
            }
            Value::Array(list) => list
                .into_iter()
                .map(|value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong(format!("a value of {name} is no string"))),
                })
                .collect::<Outcome<_>>()?,
            Value::Null => Vec::new(),
            _ => return Err(wrong(format!("{name} is neither a list nor an object"))),
        };
        if !values.is_empty() {
            found.insert(name, values);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_texts_are_true() {
        let query = Query::parse("a=1&b=0&c=no&d=None&e=x&f=&all=true&a=2");
        let flags = ["a", "b", "c", "d", "e", "f", "all", "none"].map(|name| query.flag(name));
        assert_eq!(flags, [true, false, false, false, true, false, true, false]);
        assert!(query.flag_or("none", true) && !query.flag_or("f", true));
        assert_eq!(query.all("a"), ["1", "2"]);
    }

    #[test]
    fn some_truths_are_go_s() {
        let query = Query::parse("a=1&b=False&c=&d=yes");
        let truths = ["a", "b", "c", "e"].map(|name| query.truth(name).unwrap());
        assert_eq!(truths, [Some(true), Some(false), None, None]);
        assert_eq!(query.truth("d").unwrap_err().message, "invalid value for d: yes");
    }

    #[test]
    fn filters_have_two_forms() {
        let new = filters(r#"{"label":{"a=b":true,"c":false}}"#).unwrap();
        assert_eq!(new, filters(r#"{"label":["a=b"]}"#).unwrap());
        assert!(filters("null").unwrap().is_empty() && filters("{}").unwrap().is_empty());
        for bad in ["x", "[]", r#"{"label":"x"}"#, r#"{"label":[1]}"#, r#"{"label":{"a":1}}"#] {
            assert_eq!(filters(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn a_number_is_one_or_is_refused() {
        let query = Query::parse("t=-1&u=x&v=");
        assert_eq!(query.number("t"), Ok(Some(-1)));
        assert_eq!(query.number("v"), Ok(None));
        assert!(query.number("u").unwrap_err().message.contains("invalid syntax"));
    }
}
