//! A headless Chromium of our own: started, asked where it listens, and ended on every path.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::{Context, Error, Result};
use crate::replay::session::end_group;

/// How long it may take until it listens.
const START: Duration = Duration::from_secs(60);

/// It runs as root in CI, asks nobody on the network, and keeps nothing.
const FLAGS: [&str; 18] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--remote-debugging-port=0",
];

/// The running browser. Dropping it kills it and removes its directory.
pub(super) struct Chromium {
    child: Child,
    directory: TempDir,
}

impl Chromium {
    /// Starts the `chromium` of PATH with an empty profile.
    pub(super) fn start() -> Result<Chromium> {
        let program = installed()?;
        let directory = TempDir::new().on("create", std::env::temp_dir())?;
        let log = directory.path().join("log");
        let stderr = std::fs::File::create(&log).on("create", &log)?;
        // A group of its own, which is killed as a whole; and should this process be killed, the
        // kernel kills the browser.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", directory.path().join("profile").display()));
        command.arg("about:blank").process_group(0).env("HOME", directory.path());
        // What it makes in either place goes with the directory.
        command.env("TMPDIR", directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().on("run", &program)?;
        Ok(Chromium { child, directory })
    }

    /// The port and the path of its debugging socket, when it has written them down.
    pub(super) fn endpoint(&mut self) -> Result<(u16, String)> {
        let file = self.directory.path().join("profile/DevToolsActivePort");
        let deadline = Instant::now() + START;
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
                let fault = |_| Error::Browser(format!("{}: {text}", file.display()));
                return Ok((port.parse().map_err(fault)?, path.trim().to_owned()));
            }
            let ended = self.child.try_wait().on("wait for", "chromium")?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or("does not listen".to_owned(), |s| format!("ended: {s}"));
                return Err(Error::Browser(format!("chromium {state}\n{}", self.last_words())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The end of what it has written to its standard error.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        end_group(&mut self.child);
    }
}

fn installed() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|dir| dir.join("chromium"))
        .find(|file| Path::is_file(file));
    let message =
        "chromium is not installed: `./x book check` installs it, or apt-get install -y chromium";
    found.ok_or_else(|| Error::Browser(message.into()))
}
