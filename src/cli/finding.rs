//! A requirement that was looked at. `./x doctor` has this source, too: it has to work before anything of the
//! engine is built.

use std::fmt;

/// How much a requirement matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is there.
    Good,
    /// It is not there, and something that the line names is slower or left out.
    Lesser,
    /// It is not there, and nothing works without it.
    Missing,
}

/// One requirement, checked.
#[derive(Debug)]
pub struct Finding {
    state: State,
    /// What was looked for.
    pub what: &'static str,
    found: String,
    remedy: Option<String>,
}

impl Finding {
    /// It is there.
    pub fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { state: State::Good, what, found: found.into(), remedy: None }
    }

    /// It is not there, and the rest works.
    pub fn lesser(
        what: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Lesser, what, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// It is not there, and nothing works without it.
    pub fn missing(
        what: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { state: State::Missing, what, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Whether nothing works without it.
    pub fn is_missing(&self) -> bool {
        self.state == State::Missing
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "ok",
            State::Lesser => "lesser",
            State::Missing => "MISSING",
        };
        write!(f, "{state:<8} {:<18} {}", self.what, self.found)?;
        match self.remedy.as_deref() {
            None | Some("") => Ok(()),
            Some(remedy) => write!(f, "\n{:<28}→ {remedy}", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_is_for() {
        let good = Finding::good("kernel", "Linux 6.1");
        assert_eq!(good.to_string(), "ok       kernel             Linux 6.1");
        let bad = Finding::missing("root", "you are not root", "use sudo");
        let expected =
            "MISSING  root               you are not root\n                            → use sudo";
        assert!(bad.is_missing() && bad.to_string() == expected, "{bad}");
        assert_eq!(Finding::lesser("a", "b", "").to_string().lines().count(), 1);
    }
}
