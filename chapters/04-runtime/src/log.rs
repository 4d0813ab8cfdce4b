//! The log that callers read: containerd and Docker take the reason of a failure from the last line
//! of level `error` in the file of `--log`.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use corten_namespaces::error::Context;
use serde_json::json;

use crate::clock;
use crate::error::Result;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// `time=… level=… msg="…"`
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where messages go.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

impl Log {
    /// Opens the file `path` for appending; without one, messages go to standard error.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Log> {
        let open = |path: &Path| {
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .on("open the log", path)
        };
        Ok(Log { file: path.map(open).transpose()?, format, debug })
    }

    /// A detail that helps to find a fault; only with `--debug`.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message, true);
        }
    }

    /// Something that the caller asked for and does not get. Standard error stays empty where
    /// nothing failed, so without a log file this is silent unless `--debug` is given.
    pub fn warn(&self, message: &str) {
        self.write("warning", message, self.debug);
    }

    /// Why the program fails: to the log, and to standard error for a person.
    pub fn error(&self, message: &str) {
        self.write("error", message, false);
        eprintln!("corten-runtime: error: {message}");
    }

    fn write(&self, level: &str, message: &str, to_stderr: bool) {
        let time = clock::now();
        let line = match self.format {
            Format::Json => json!({"level": level, "msg": message, "time": time}).to_string(),
            Format::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
        };
        // A log that cannot be written is no reason to fail.
        match &self.file {
            Some(file) => drop((&mut &*file).write_all(format!("{line}\n").as_bytes())),
            None if to_stderr => eprintln!("{line}"),
            None => {}
        }
    }
}
