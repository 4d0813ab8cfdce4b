//! What is fetched: files by HTTP, repositories by git.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::error::{At, Error, Result};
use crate::run::Cancel;
use crate::tree::hex;
pub use fetch::Until;
use fetch::{Fetch, Head};

mod fetch;

/// Something that lies elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A file.
    File(String),
    /// A repository.
    Git(Git),
}

/// A repository, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// Where it is.
    pub url: String,
    /// A branch, a tag or a commit.
    pub reference: Option<String>,
    /// A directory in it.
    pub directory: String,
}

impl Remote {
    /// What a source of `ADD`, or a build's context, means; `None` where it is a path.
    pub fn parse(text: &str) -> Option<Remote> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let http = address.starts_with("http://") || address.starts_with("https://");
        let is_git = address.starts_with("git://")
            || address.starts_with("ssh://")
            || address.starts_with("git@")
            || address.starts_with("git+")
            || (http && address.split('?').next().is_some_and(|path| path.ends_with(".git")));
        if is_git {
            let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            let url = address.strip_prefix("git+").unwrap_or(address).to_owned();
            let reference = Some(reference).filter(|text| !text.is_empty()).map(str::to_owned);
            return Some(Remote::Git(Git { url, reference, directory: directory.to_owned() }));
        }
        http.then(|| Remote::File(text.to_owned()))
    }
}

/// Fetches a file into `directory`; gives its name, or `None` where neither the address nor the server
/// names it: then it is `__unnamed__`. A checksum, `sha256:…`, is looked at.
///
/// # Errors
/// Where it is not to be had, or is another file.
pub fn download(
    url: &str,
    directory: &Path,
    checksum: Option<&str>,
    cancel: &Cancel,
) -> Result<Option<String>> {
    let failed = |why: String| Error::invalid(url, why);
    let (Head { name, modified }, mut body) = Fetch::begin(url, cancel)?;
    let path = directory.join(name.as_deref().unwrap_or("__unnamed__"));
    let mut file = File::create_new(&path).at("create", &path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match body.read(&mut buffer) {
            Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled),
            other => other.at("receive", &path)?,
        };
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        file.write_all(bytes).at("write", &path)?;
    }
    if let Some(expected) = checksum {
        let actual = format!("sha256:{}", hex(&hash.finalize()));
        if expected != actual {
            return Err(failed(format!("digest mismatch {actual}: expected {expected}")));
        }
    }
    file.set_modified(modified.unwrap_or(SystemTime::UNIX_EPOCH)).at("set the time of", &path)?;
    Ok(name)
}

/// The body of a response, as it comes: a context.
///
/// # Errors
/// Where it is not to be had.
pub fn open(url: &str, cancel: &Cancel) -> Result<Box<dyn Read + Send>> {
    Ok(Box::new(Fetch::begin(url, cancel)?.1))
}

/// The file's name at the end of an address.
fn name_of(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1;
    let (_, name) = path.rsplit_once('/')?;
    usable(name)
}

/// The file's name in `Content-Disposition`.
fn disposed(value: &str) -> Option<String> {
    let name = value.split(';').find_map(|part| part.trim().strip_prefix("filename="))?;
    usable(name.trim_matches('"').rsplit('/').next()?)
}

fn usable(name: &str) -> Option<String> {
    let bad = name.is_empty() || name == "." || name == ".." || name.contains('\0');
    (!bad).then(|| name.to_owned())
}

/// A date of HTTP: `Wed, 21 Oct 2015 07:28:00 GMT`.
fn http_date(text: &str) -> Option<SystemTime> {
    let mut words = text.split([' ', ':']).skip(1);
    let day: u8 = words.next()?.parse().ok()?;
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = words.next()?;
    let month = MONTHS.iter().position(|known| *known == month)? as u8 + 1;
    let year = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse::<u8>().ok();
    let time = time::Time::from_hms(number()?, number()?, number()?).ok()?;
    let date = time::Date::from_calendar_date(year, month.try_into().ok()?, day).ok()?;
    Some(time::OffsetDateTime::new_utc(date, time).into())
}

impl Git {
    /// Fetches the repository into `directory`; gives the path of what is wanted below it.
    ///
    /// # Errors
    /// Where git is not there or cannot do it; another commit than `checksum`.
    pub fn clone_to(
        &self,
        directory: &Path,
        keep: bool,
        checksum: Option<&str>,
        cancel: &Cancel,
    ) -> Result<String> {
        let place = directory.join("repository");
        let git = |arguments: &[&str]| -> Result<String> {
            cancel.check()?;
            let failed = |why: String| Error::invalid(format!("git {}", arguments.join(" ")), why);
            // What a stranger's address or repository could make git do beside fetching is turned off.
            let mut command = Command::new("git");
            command
                .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null"])
                .args(arguments)
                .current_dir(directory)
                // A Dockerfile must not read the host's own repositories.
                .env("GIT_ALLOW_PROTOCOL", "https:http:git:ssh")
                .env("GIT_TERMINAL_PROMPT", "0")
                .env("GIT_CONFIG_NOSYSTEM", "1");
            if std::env::var_os("GIT_SSH_COMMAND").is_none() {
                // Nor may ssh ask: it is not in the terminal's foreground.
                command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
            }
            let output = match fetch::output(&mut command, cancel) {
                Err(_) if cancel.is_cancelled() => return Err(Error::Cancelled),
                other => other
                    .map_err(|error| failed(format!("git cannot be run: {error}: install git")))?,
            };
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stderr);
                return Err(failed(text.trim().replace('\n', "; ")));
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        if self.url.starts_with('-')
            || self.reference.as_deref().is_some_and(|r| r.starts_with('-'))
        {
            return Err(Error::invalid(self.url.as_str(), "is no address of a repository"));
        }
        let at = "repository";
        git(&["init", "-q", at])?;
        git(&["-C", at, "remote", "add", "origin", &self.url])?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        let shallow = git(&["-C", at, "fetch", "-q", "--depth", "1", "origin", "--", reference]);
        let target = match shallow {
            Ok(_) => "FETCH_HEAD",
            // A server may not give single commits.
            Err(_) => {
                git(&["-C", at, "fetch", "-q", "--tags", "origin"])?;
                reference
            }
        };
        git(&["-C", at, "checkout", "-q", target])?;
        git(&["-C", at, "submodule", "update", "-q", "--init", "--recursive", "--depth", "1"])?;
        if let Some(expected) = checksum {
            let commit = git(&["-C", at, "rev-parse", "HEAD"])?;
            if !commit.starts_with(expected) || expected.is_empty() {
                let why = format!("expected checksum to match {expected}, got {commit}");
                return Err(Error::invalid(self.url.as_str(), why));
            }
        }
        if !keep {
            let dot: PathBuf = place.join(".git");
            std::fs::remove_dir_all(&dot).at("remove", &dot)?;
        }
        let below = crate::ignore::clean(&self.directory);
        Ok(if below.is_empty() { at.to_owned() } else { format!("{at}/{below}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        let git = |url: &str, reference: Option<&str>, directory: &str| {
            Some(Remote::Git(Git {
                url: url.into(),
                reference: reference.map(str::to_owned),
                directory: directory.into(),
            }))
        };
        for (text, expected) in [
            ("a/b", None),
            ("http://h/x.tar", Some(Remote::File("http://h/x.tar".into()))),
            ("https://h/r.git", git("https://h/r.git", None, "")),
            ("https://h/r.git#v1:sub", git("https://h/r.git", Some("v1"), "sub")),
            ("git@h:r.git#:sub", git("git@h:r.git", None, "sub")),
        ] {
            assert_eq!(Remote::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn names_and_dates_of_files() {
        assert_eq!(name_of("http://h/a/b.txt?x=1"), Some("b.txt".into()));
        assert_eq!(name_of("http://h/a/"), None);
        assert_eq!(name_of("http://h"), None);
        assert_eq!(disposed("attachment; filename=\"../x.txt\""), Some("x.txt".into()));
        let date = http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        assert_eq!(date.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_445_412_480);
        assert_eq!(http_date("yesterday"), None);
    }
}
