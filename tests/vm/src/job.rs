//! Jobs: what the guest runs, and how it is told.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::mark::JobStatus;

/// Where a job's standard input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Input {
    /// /dev/null.
    #[default]
    None,
    /// The standard input of this process, to its end. For one job of a VM only.
    Host,
    /// The job is connected with this process's terminal, input and output.
    Terminal,
}

/// A command that the guest runs as root, in a session of its own, in /root.
#[derive(Debug, Clone)]
pub struct Job {
    /// Program and arguments; the program is searched in the guest's PATH.
    pub argv: Vec<String>,
    /// Variables set beside the guest's own.
    pub env: Vec<(String, String)>,
    /// After this time it is killed, with its session.
    pub limit: Duration,
    /// Where its input comes from.
    pub input: Input,
}

impl Job {
    /// A job with a limit of five minutes and no input: emulation beside other work may take ten times its
    /// time alone.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Job {
        Job {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            limit: Duration::from_secs(300),
            input: Input::None,
        }
    }

    /// A job that runs a line of shell.
    pub fn shell(line: &str) -> Job {
        Job::new(["sh", "-c", line])
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Job {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Job {
        self.limit = limit;
        self
    }

    /// Sets where the input comes from.
    #[must_use]
    pub fn input(mut self, input: Input) -> Job {
        self.input = input;
        self
    }
}

/// What became of a job.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// How it ended.
    pub status: JobStatus,
    /// What it wrote to standard output and standard error, in order; the end of it, where it wrote
    /// more than 8 MiB.
    pub output: Vec<u8>,
    /// From its start to its end, by the host's clock.
    pub time: Duration,
}

impl JobResult {
    /// The output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

/// What the guest's init reads: variables, then a call of `job` for each job (guest/init.sh).
pub(crate) struct JobList<'a> {
    pub nonce: &'a str,
    pub cgroup: &'a str,
    pub address: Option<&'a str>,
    pub size: Option<(u16, u16)>,
    pub scratch: bool,
    pub jobs: &'a [Job],
}

impl JobList<'_> {
    pub(crate) fn to_shell(&self) -> Result<String> {
        let size = self.size.map(|(rows, columns)| format!("rows {rows} cols {columns}"));
        let mut text = String::new();
        for (name, value) in [
            ("nonce", self.nonce),
            ("cgroup", self.cgroup),
            ("address", self.address.unwrap_or_default()),
            ("size", size.as_deref().unwrap_or_default()),
            ("scratch", if self.scratch { "yes" } else { "" }),
        ] {
            text.push_str(&format!("{name}={}\n", quoted(value)));
        }
        for (index, job) in self.jobs.iter().enumerate() {
            let input = match job.input {
                Input::None => "none",
                Input::Host => "port",
                Input::Terminal => "terminal",
            };
            // Whole seconds, at least one: busybox's sleep takes nothing else everywhere.
            let limit = job.limit.as_secs_f64().ceil().max(1.0);
            text.push_str(&format!("job {index} {limit} {input}"));
            if !job.env.is_empty() {
                text.push_str(" env");
            }
            let variables = job.env.iter().map(|(name, value)| format!("{name}={value}"));
            for word in variables.chain(job.argv.iter().cloned()) {
                if word.contains('\0') {
                    return Err(Error::invalid(word, "an argument can't hold a NUL"));
                }
                text.push(' ');
                text.push_str(&quoted(&word));
            }
            text.push('\n');
        }
        Ok(text)
    }
}

/// `word` as one word of the shell, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reaches_the_guest_as_it_is() {
        let jobs = [Job::new(["echo", "it's", "$HOME\n"]).env("K", "a b")];
        let list = JobList {
            nonce: "n",
            cgroup: "v2",
            address: None,
            size: Some((24, 80)),
            scratch: false,
            jobs: &jobs,
        };
        let text = list.to_shell().unwrap();
        assert!(text.starts_with("nonce='n'\ncgroup='v2'\n"), "{text}");
        assert!(text.contains("size='rows 24 cols 80'\n"), "{text}");
        let job = "job 0 300 none env 'K=a b' 'echo' 'it'\\''s' '$HOME\n'\n";
        assert!(text.ends_with(job), "{text}");
    }
}
