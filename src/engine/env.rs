//! The environment of a container's program.

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

/// What is set where neither the image nor the user says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Defaults<'a> {
    /// `HOSTNAME`.
    pub hostname: &'a str,
    /// `HOME`, which comes after all others, as with Docker.
    pub home: &'a str,
    /// Whether there is a terminal: sets `TERM`.
    pub terminal: bool,
}

/// The whole environment: Docker's defaults, over them the image's, over them the user's. A
/// variable keeps the place where it was first set.
pub fn merge(defaults: Defaults<'_>, image: &[String], user: &[Variable]) -> Vec<String> {
    let mut merged: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match merged.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => value.clone_into(old),
        None => merged.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", corten_namespaces::config::DEFAULT_PATH);
    set("HOSTNAME", defaults.hostname);
    if defaults.terminal {
        set("TERM", "xterm");
    }
    for variable in image {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        set(name, value);
    }
    for variable in user {
        if let Variable::Set(name, value) = variable {
            set(name, value);
        }
    }
    let unset = |name: &str| {
        let last = user.iter().rev().find(|v| match v {
            Variable::Set(n, _) | Variable::Unset(n) => n == name,
        });
        matches!(last, Some(Variable::Unset(_)))
    };
    merged.retain(|(name, _)| !name.is_empty() && !unset(name));
    if !merged.iter().any(|(name, value)| name == "HOME" && !value.is_empty()) {
        merged.retain(|(name, _)| name != "HOME");
        merged.push(("HOME".to_owned(), defaults.home.to_owned()));
    }
    merged.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Defaults<'_> = Defaults { hostname: "h", home: "/root", terminal: false };

    fn user(list: &[&str]) -> Vec<Variable> {
        let lookup = |name: &str| (name == "CALLER").then(|| "c".to_owned());
        list.iter().map(|text| Variable::parse(text, lookup).unwrap()).collect()
    }

    fn merged(image: &[&str], own: &[&str]) -> Vec<String> {
        let image: Vec<_> = image.iter().map(|&s| s.to_owned()).collect();
        merge(DEFAULTS, &image, &user(own))
    }

    #[test]
    fn the_user_wins_over_the_image_and_the_image_over_the_defaults() {
        let path = format!("PATH={}", corten_namespaces::config::DEFAULT_PATH);
        assert_eq!(merged(&[], &[]), [path.as_str(), "HOSTNAME=h", "HOME=/root"]);
        assert_eq!(
            merged(&["PATH=/bin", "A=1", "B=x=y"], &["A=2", "HOSTNAME=other", "CALLER"]),
            ["PATH=/bin", "HOSTNAME=other", "A=2", "B=x=y", "CALLER=c", "HOME=/root"]
        );
        assert_eq!(merged(&["HOME=/srv"], &[])[2], "HOME=/srv");
        assert_eq!(merged(&["HOME="], &[])[2], "HOME=/root");
    }

    #[test]
    fn a_name_that_the_caller_lacks_takes_the_image_s_away() {
        assert!(!merged(&["A=1"], &["A"]).iter().any(|v| v.starts_with("A")));
        assert!(merged(&["A=1"], &["A", "A=2"]).contains(&"A=2".to_owned()));
        assert!(merged(&[], &["EMPTY="]).contains(&"EMPTY=".to_owned()));
    }

    #[test]
    fn term_is_set_for_a_terminal_only() {
        let merged = merge(Defaults { terminal: true, ..DEFAULTS }, &[], &[]);
        assert!(merged.contains(&"TERM=xterm".to_owned()));
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
