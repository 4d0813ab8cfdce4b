//! Keeps credentials where `docker login` does, and forgets them: in config.json, or with the helper that
//! it names. Everything else in the file stays as it is.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::credentials::{
    Credentials, call_helper, default_config, find, host_of, key_of, names_of,
};
use crate::error::{At, Error, Result};

/// Keeps a user's name and password for the registry `domain`. Gives the file that knows it now.
///
/// # Errors
/// Where there is no home directory, the file is no JSON or cannot be replaced, or the helper refuses.
pub fn keep(domain: &str, user: &str, password: &str) -> Result<PathBuf> {
    let path = own()?;
    keep_in(&path, None, domain, (user, password))?;
    Ok(path)
}

fn keep_in(
    path: &Path,
    helpers: Option<&Path>,
    domain: &str,
    (user, password): (&str, &str),
) -> Result<()> {
    let mut config = read(path)?;
    if let Some(helper) = helper(&config, domain) {
        let entry = json!({"ServerURL": key_of(domain), "Username": user, "Secret": password});
        call_helper(&helper, helpers, "store", &entry.to_string())?;
        entries(&mut config).insert(key_of(domain).to_owned(), json!({}));
    } else {
        let auth = STANDARD.encode(format!("{user}:{password}"));
        entries(&mut config).insert(key_of(domain).to_owned(), json!({"auth": auth}));
    }
    replace(path, &config)
}

/// Forgets what was kept for `domain`; tells whether there was anything.
///
/// # Errors
/// As [`keep`].
pub fn forget(domain: &str) -> Result<bool> {
    forget_in(&own()?, None, domain)
}

fn forget_in(path: &Path, helpers: Option<&Path>, domain: &str) -> Result<bool> {
    let mut config = read(path)?;
    if let Some(helper) = helper(&config, domain) {
        call_helper(&helper, helpers, "erase", key_of(domain))?;
    }
    let auths = entries(&mut config);
    let before = auths.len();
    auths.retain(|key, _| !names_of(domain).contains(&host_of(key)));
    let known = auths.len() != before;
    if known {
        replace(path, &config)?;
    }
    Ok(known)
}

/// What is known for the registry `domain`, and the name under which clients send it on.
///
/// # Errors
/// Where the file is no JSON, or its helper fails.
pub fn known(domain: &str) -> Result<Option<(String, Credentials)>> {
    let Some(path) = default_config() else { return Ok(None) };
    let found = find(&path, None, domain)?;
    Ok(found.map(|credentials| (key_of(domain).to_owned(), credentials)))
}

/// The registries, by their domains, of which something is known.
///
/// # Errors
/// Where the file is no JSON.
pub fn domains() -> Result<Vec<String>> {
    let Some(path) = default_config() else { return Ok(Vec::new()) };
    let config = read(&path)?;
    let named = ["auths", "credHelpers"].into_iter().filter_map(|name| config.get(name));
    let keys = named.filter_map(Value::as_object).flat_map(Map::keys);
    let mut domains: Vec<String> = keys
        .map(|key| match host_of(key) {
            hub if names_of("docker.io").contains(&hub) => "docker.io".to_owned(),
            host => host.to_owned(),
        })
        .collect();
    domains.sort();
    domains.dedup();
    Ok(domains)
}

/// The directory of Docker's client, where config.json is; `None` where there is no home.
pub fn directory() -> Option<PathBuf> {
    default_config()?.parent().map(Path::to_owned)
}

/// An entry of config.json that is text. A file that is somebody else's says nothing.
///
/// # Errors
/// Where the file is no JSON.
pub fn entry(name: &str) -> Result<Option<String>> {
    let Some(path) = default_config() else { return Ok(None) };
    let is_others = |why: io::Error| why.kind() == io::ErrorKind::PermissionDenied;
    if fs::File::open(&path).is_err_and(is_others) {
        return Ok(None);
    }
    let text = read(&path)?.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(text.filter(|text| !text.is_empty()))
}

/// Sets an entry of config.json, or takes it out.
///
/// # Errors
/// Where there is no home directory, or the file is no JSON or cannot be replaced.
pub fn set_entry(name: &str, value: Option<&str>) -> Result<()> {
    let path = own()?;
    let mut config = read(&path)?;
    match value {
        Some(value) => drop(config.insert(name.to_owned(), json!(value))),
        None => drop(config.remove(name)),
    }
    replace(&path, &config)
}

fn own() -> Result<PathBuf> {
    let missing =
        || Error::malformed("credentials", "there is no home directory: set DOCKER_CONFIG");
    default_config().ok_or_else(missing)
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        read => {
            let what = path.display().to_string();
            serde_json::from_slice(&read.at("read", path)?).map_err(|e| Error::malformed(what, e))
        }
    }
}

/// The helper for a registry.
fn helper(config: &Map<String, Value>, domain: &str) -> Option<String> {
    let own = config.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
        helpers
            .iter()
            .find(|(key, _)| names_of(domain).contains(&host_of(key)))
            .map(|(_, name)| name)
    });
    let name = own.or_else(|| config.get("credsStore"))?.as_str()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn entries(config: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let auths = config.entry("auths").or_insert_with(|| json!({}));
    if !auths.is_object() {
        *auths = json!({});
    }
    match auths {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}

/// Whole or not at all, and for its owner alone.
fn replace(path: &Path, config: &Map<String, Value>) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory).at("make", directory)?;
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let written = || -> Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&new).at("make", &new)?;
        let text = format!("{:#}\n", Value::Object(config.clone()));
        file.write_all(text.as_bytes()).at("write", &new)?;
        file.sync_all().at("sync", &new)?;
        fs::rename(&new, path).at("replace", path)
    };
    let written = written();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::credentials::{Credentials, find};
    use super::*;

    fn password(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_forgotten_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/config.json");
        assert!(!forget_in(&path, None, "docker.io").unwrap(), "there is nothing yet");
        keep_in(&path, None, "reg.example:5000", ("me", "secret")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // What others have in the file stays.
        let mut config = read(&path).unwrap();
        config.insert("psFormat".to_owned(), json!("x"));
        replace(&path, &config).unwrap();
        keep_in(&path, None, "docker.io", ("me", "other")).unwrap();
        assert_eq!(find(&path, None, "reg.example:5000").unwrap(), password("me", "secret"));
        assert_eq!(find(&path, None, "docker.io").unwrap(), password("me", "other"));
        assert!(read(&path).unwrap()["auths"]["https://index.docker.io/v1/"].is_object());
        assert!(forget_in(&path, None, "docker.io").unwrap());
        assert!(!forget_in(&path, None, "docker.io").unwrap());
        assert_eq!(find(&path, None, "docker.io").unwrap(), None);
        assert_eq!(find(&path, None, "reg.example:5000").unwrap(), password("me", "secret"));
        assert_eq!(read(&path).unwrap()["psFormat"], "x");
        fs::write(&path, "no json").unwrap();
        let refused = keep_in(&path, None, "docker.io", ("me", "x")).unwrap_err().to_string();
        assert!(refused.contains("config.json"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "no json");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_helper_keeps_the_secret_and_the_file_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-test");
        // It keeps what it is given in a file of its own.
        let script = "#!/bin/sh\ncase $1 in store) cat >\"${0%/*}/kept\";; erase) cat >\"${0%/*}/erased\";; esac\n";
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, r#"{"credsStore": "test"}"#).unwrap();
        keep_in(&path, Some(dir.path()), "reg.example", ("me", "secret")).unwrap();
        let kept = fs::read_to_string(dir.path().join("kept")).unwrap();
        assert!(kept.contains("\"Secret\":\"secret\"") && kept.contains("reg.example"), "{kept}");
        assert!(!fs::read_to_string(&path).unwrap().contains("secret"));
        assert!(forget_in(&path, Some(dir.path()), "reg.example").unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("erased")).unwrap(), "reg.example");
    }
}
