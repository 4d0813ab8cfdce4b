//! The environment of a container's program.

use std::fmt;

use super::error::{Error, Result};

/// One `-e` or line of an environment file: a variable to be set, or one to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `NAME=VALUE`.
    Set(String, String),
    /// `NAME` alone, which the caller's environment does not have: not even the image's is kept.
    Unset(String),
}

impl Variable {
    /// Reads `NAME=VALUE`, or `NAME` to be looked up by `lookup` (the caller's environment).
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no name.
    pub fn parse(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Variable> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, lookup(text)),
        };
        if name.is_empty() {
            return Err(Error::invalid(
                format!("environment variable `{text}`"),
                "has no name: write NAME=VALUE or NAME",
            ));
        }
        let name = name.to_owned();
        Ok(value.map_or(Variable::Unset(name.clone()), |value| Variable::Set(name, value)))
    }

    /// Reads an environment file as Docker does: a variable per line, nothing quoted; lines that
    /// are empty or begin with `#` do not count.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line's number for a name with white space in it.
    pub fn parse_file(
        path: &str,
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Variable>> {
        let mut variables = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split('=').next().unwrap_or(line);
            if name.contains(char::is_whitespace) {
                return Err(Error::invalid(
                    format!("{path} line {number}"),
                    format!("`{name}` has white space in the name of a variable"),
                ));
            }
            variables.push(Variable::parse(line, &lookup)?);
        }
        Ok(variables)
    }
}

impl fmt::Display for Variable {
    /// As a container's configuration has it: a name alone takes the variable away.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variable::Set(name, value) => write!(out, "{name}={value}"),
            Variable::Unset(name) => out.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_the_caller_s_or_takes_the_image_s_away() {
        let lookup = |name: &str| (name == "CALLER").then(|| "c".to_owned());
        for (text, written) in
            [("A=x=y", "A=x=y"), ("CALLER", "CALLER=c"), ("B", "B"), ("EMPTY=", "EMPTY=")]
        {
            assert_eq!(Variable::parse(text, lookup).unwrap().to_string(), written);
        }
    }

    #[test]
    fn an_environment_file_has_comments_and_no_quotes() {
        let parsed =
            Variable::parse_file("f", "\u{feff}# c\n\n  A=1\nB=\"q\" # no comment\nC\n", |_| None);
        let set = |name: &str, value: &str| Variable::Set(name.into(), value.into());
        assert_eq!(
            parsed.unwrap(),
            [set("A", "1"), set("B", "\"q\" # no comment"), Variable::Unset("C".into())]
        );
        let error = Variable::parse_file("f", "A=1\nexport B=2", |_| None).unwrap_err().to_string();
        assert!(error.contains("f line 2") && error.contains("white space"), "{error}");
        assert!(Variable::parse("=x", |_| None).is_err());
    }
}
