//! The options of log drivers, and what dockerd says of those that are none.

use std::collections::BTreeMap;

use super::format::Format;
use crate::error::{Error, Result};

/// What a log is written by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// One JSON document per line.
    JsonFile,
    /// Binary, rotated and compressed unless somebody wants it otherwise.
    Local,
    /// Nothing is kept.
    None,
}

impl Driver {
    /// The driver of this name, which is `json-file` where it is empty.
    pub fn named(name: &str) -> Option<Driver> {
        match name {
            "json-file" | "" => Some(Driver::JsonFile),
            "local" => Some(Driver::Local),
            "none" => Some(Driver::None),
            _ => None,
        }
    }

    pub(crate) fn format(self) -> Option<Format> {
        match self {
            Driver::JsonFile => Some(Format::Json),
            Driver::Local => Some(Format::Local),
            Driver::None => None,
        }
    }

    /// The log's place in a container's directory: moby's.
    pub fn path(self, directory: &std::path::Path, id: &str) -> std::path::PathBuf {
        match self {
            Driver::Local => directory.join("local-logs/container.log"),
            Driver::JsonFile | Driver::None => directory.join(format!("{id}-json.log")),
        }
    }
}

/// How large the log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of one file; a file is full with the entry that reaches them.
    pub(super) size: Option<u64>,
    /// Files, the one that is written among them.
    pub(super) files: u32,
    /// Whether older files are compressed.
    pub(super) compress: bool,
}

/// A log's options, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which driver.
    pub driver: Driver,
    pub(super) limits: Limits,
    /// So many bytes wait for a slow disk, and the program does not; `None` where it does.
    pub(super) buffer: Option<usize>,
}

/// Docker's default of `max-buffer-size`.
const BUFFER: u64 = 1 << 20;

type Given = BTreeMap<String, String>;

impl Options {
    /// Checks options as dockerd does when a container is made.
    ///
    /// # Errors
    /// [`Error::LogOptions`], with dockerd's sentence.
    pub fn check(driver: &str, options: &Given) -> Result<Driver> {
        let refuse = |message: String| Err(Error::LogOptions { message });
        if driver == "none" {
            return Ok(Driver::None);
        }
        let mode = options.get("mode").map_or("", String::as_str);
        if !["", "blocking", "non-blocking"].contains(&mode) {
            return refuse(format!("logger: logging mode not supported: {mode}"));
        }
        if let Some(size) = options.get("max-buffer-size") {
            if mode != "non-blocking" {
                let only = "is only supported with 'mode=non-blocking'";
                return refuse(format!("logger: max-buffer-size option {only}"));
            }
            if bytes(size, 1024.0).is_none() {
                let why = format!("invalid size: '{size}'");
                return refuse(format!("error parsing option max-buffer-size: {why}"));
            }
        }
        let Some(found) = Driver::named(driver) else {
            let why = format!("plugin \"{driver}\" not found");
            return refuse(format!("error looking up logging plugin {driver}: {why}"));
        };
        for name in options.keys() {
            if !KNOWN.contains(&name.as_str()) {
                return refuse(match found {
                    Driver::Local => format!("unknown log opt '{name}' for log driver local"),
                    _ => format!("unknown log opt '{name}' for json-file log driver"),
                });
            }
        }
        Ok(found)
    }

    /// Reads options, as dockerd does when a container is started.
    ///
    /// # Errors
    /// As [`Options::check`], and for values that are none.
    pub fn parse(driver: &str, options: &Given) -> Result<Options> {
        let driver = Options::check(driver, options)?;
        let limits = match driver {
            Driver::JsonFile => json_file(options),
            Driver::Local => local(options),
            Driver::None => Ok(Limits { size: None, files: 1, compress: false }),
        };
        let limits = limits.map_err(|why| Error::LogOptions {
            message: format!("failed to initialize logging driver: {why}"),
        })?;
        let apart = options.get("mode").is_some_and(|mode| mode == "non-blocking");
        let size = options.get("max-buffer-size").and_then(|size| bytes(size, 1024.0));
        let buffer = usize::try_from(size.unwrap_or(BUFFER)).unwrap_or(usize::MAX);
        Ok(Options { driver, limits, buffer: apart.then_some(buffer) })
    }
}

/// The options of both drivers, and of how they are driven. dockerd 20.10 has those that add
/// attributes for `json-file` only; later ones take them for `local`, too.
const KNOWN: [&str; 10] = [
    "compress",
    "env",
    "env-regex",
    "labels",
    "labels-regex",
    "max-buffer-size",
    "max-file",
    "max-size",
    "mode",
    "tag",
];

fn json_file(options: &Given) -> std::result::Result<Limits, String> {
    let size = match options.get("max-size") {
        None => None,
        Some(text) => match bytes(text, 1000.0) {
            None => return Err(format!("invalid size: '{text}'")),
            Some(0) => return Err("max-size must be a positive number".into()),
            size => size,
        },
    };
    let files = match options.get("max-file") {
        None => 1,
        Some(text) => integer(text)?,
    };
    if files < 1 {
        return Err("max-file cannot be less than 1".into());
    }
    let compress = match options.get("compress") {
        None => false,
        Some(text) => boolean(text)?,
    };
    if compress && (files == 1 || size.is_none()) {
        let when = "when max-file is less than 2 or max-size is not set";
        return Err(format!("compress cannot be true {when}"));
    }
    Ok(Limits { size, files: u32::try_from(files).unwrap_or(u32::MAX), compress })
}

fn local(options: &Given) -> std::result::Result<Limits, String> {
    let size = match options.get("max-size") {
        None => 20 << 20,
        Some(text) => bytes(text, 1000.0)
            .ok_or_else(|| format!("invalid value for max-size: {text}: invalid size: '{text}'"))?,
    };
    let files = match options.get("max-file") {
        None => 5,
        Some(text) => {
            integer(text).map_err(|why| format!("invalid value for max-file: {text}: {why}"))?
        }
    };
    let compress = match options.get("compress") {
        None => true,
        Some(text) => {
            boolean(text).map_err(|why| format!("error reading compress log option: {why}"))?
        }
    };
    if files < 0 {
        return Err("max file count cannot be less than 0".into());
    }
    if compress && files <= 1 {
        return Err("compression cannot be enabled when max file count is 1".into());
    }
    let files = u32::try_from(files).unwrap_or(u32::MAX).max(1);
    Ok(Limits { size: Some(size), files, compress })
}

/// As Go's strconv.Atoi.
fn integer(text: &str) -> std::result::Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if is_number { "value out of range" } else { "invalid syntax" };
    let bad = || format!("strconv.Atoi: parsing {text:?}: {why}");
    text.parse().ok().filter(|_| is_number).ok_or_else(bad)
}

/// As Go's strconv.ParseBool.
fn boolean(text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A size as github.com/docker/go-units reads it: `10m`, `1.5 GB`, `512kib`. What `k` stands for is
/// the caller's business: 1000 for the size of a file, 1024 for one of memory.
fn bytes(text: &str, thousand: f64) -> Option<u64> {
    let digits = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')? + 1;
    let (number, unit) = text.split_at(digits);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    let unit = unit.to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return None,
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let size = number * thousand.powi(power);
    (size < i64::MAX as f64).then_some(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(options: &[(&str, &str)]) -> Given {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let file = |text| bytes(text, 1000.0);
        assert_eq!(file("10m"), Some(10_000_000));
        assert_eq!(file("1.5GB"), Some(1_500_000_000));
        assert_eq!(file("512 KiB"), Some(512_000));
        assert_eq!(file("100"), Some(100));
        assert_eq!(file("100b"), Some(100));
        assert_eq!(bytes("1m", 1024.0), Some(1 << 20));
        for bad in ["", "m", "-1", "1x", "1ib", "1kk", "1 2", "1e3", "nan", "inf"] {
            assert_eq!(file(bad), None, "{bad}");
        }
    }

    #[test]
    fn defaults_are_moby_s() {
        let options = |driver| Options::parse(driver, &given(&[])).unwrap();
        let json = options("json-file");
        assert_eq!(json.limits, Limits { size: None, files: 1, compress: false });
        assert_eq!(json.buffer, None);
        let local = options("local");
        assert_eq!(local.limits, Limits { size: Some(20 << 20), files: 5, compress: true });
        let apart = Options::parse("local", &given(&[("mode", "non-blocking")])).unwrap();
        assert_eq!(apart.buffer, Some(1 << 20));
        assert_eq!(options("none").driver, Driver::None);
    }

    #[test]
    fn what_dockerd_refuses_is_refused_with_its_words() {
        #[derive(serde::Deserialize)]
        struct Case {
            driver: String,
            options: Given,
            said: String,
        }
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/dockerd/refusals.json")).unwrap();
        assert!(cases.len() > 30);
        for Case { driver, options, said } in cases {
            let found = Options::parse(&driver, &options);
            let found = found.map_or_else(|error| error.to_string(), |_| String::new());
            assert_eq!(found, said, "{driver} {options:?}");
        }
    }
}
