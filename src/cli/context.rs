//! `corten context`: daemons by name, in the store that Docker's client has: below ~/.docker/contexts, for
//! each a directory that is called by the SHA-256 of its name.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use corten_daemon::client::{ClientFiles, Place};
use corten_registry::Digest;
use corten_registry::client::login;
use corten_supervisor::durable::{self, Worth};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, Target, host_of_environment};
use super::format::{Columns, Format, Shown};
use super::{each, print};
use crate::cli::{Error, Result};
use crate::engine::error::At;

/// The context without a file: what the environment says, or this machine.
pub(super) const DEFAULT: &str = "default";

/// What is said of the place where nothing says one.
const HERE: &str = "this machine";

#[derive(Debug, Subcommand)]
pub(super) enum Context {
    /// List contexts
    #[command(alias = "list")]
    Ls(Ls),
    /// Show the name of the one that counts
    Show,
    /// Choose the one that counts from now on
    Use {
        /// Its name
        name: String,
    },
    /// Show all that is known of contexts, as JSON
    Inspect(Inspect),
    /// Make a context
    Create(Create),
    /// Remove contexts
    #[command(alias = "remove")]
    Rm {
        /// Also the one that counts
        #[arg(short, long)]
        force: bool,
        /// Their names
        #[arg(value_name = "CONTEXT", required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    shown: Shown,
    /// Their names; the one that counts otherwise
    #[arg(value_name = "CONTEXT")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What it is, for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// The daemon: host=HOST, and with TLS ca=FILE, cert=FILE, key=FILE, skip-tls-verify=true
    #[arg(long, value_name = "NAME=VALUE,…")]
    docker: String,
    /// Its name
    name: String,
}

/// A context, as it is kept.
struct Kept {
    name: String,
    meta: Value,
}

impl Kept {
    fn endpoint(&self) -> &Value {
        &self.meta["Endpoints"]["docker"]
    }

    fn host(&self) -> &str {
        self.endpoint()["Host"].as_str().unwrap_or_default()
    }

    fn description(&self) -> &str {
        self.meta["Metadata"]["Description"].as_str().unwrap_or_default()
    }

    /// Its certificates; there need not be any.
    fn files(&self) -> Result<Option<ClientFiles>> {
        let directory = tls_of(&self.name)?;
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
        let skips = self.endpoint()["SkipTLSVerify"] == json!(true);
        let any = ca.is_some() || cert.is_some() || skips;
        Ok(any.then_some(ClientFiles { ca, cert, key, verify: !skips }))
    }
}

fn store() -> Result<PathBuf> {
    let missing = || Error::invalid("contexts", "there is no home directory: set DOCKER_CONFIG");
    Ok(login::directory().ok_or_else(missing)?.join("contexts"))
}

fn key_of(name: &str) -> String {
    Digest::sha256(name.as_bytes()).hex().to_owned()
}

fn meta_of(name: &str) -> Result<PathBuf> {
    Ok(store()?.join("meta").join(key_of(name)))
}

fn tls_of(name: &str) -> Result<PathBuf> {
    Ok(store()?.join("tls").join(key_of(name)).join("docker"))
}

fn find(name: &str) -> Result<Kept> {
    let path = meta_of(name)?.join("meta.json");
    let read = durable::read_json::<Value>(&path)?;
    let missing =
        || Error::refused(format!("context {name:?}: context not found: see `corten context ls`"));
    Ok(Kept { name: name.to_owned(), meta: read.ok_or_else(missing)? })
}

/// All that are kept, by name.
fn all() -> Result<Vec<Kept>> {
    let Ok(entries) = std::fs::read_dir(store()?.join("meta")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(meta) = durable::read_json::<Value>(&entry.path().join("meta.json"))? else {
            continue;
        };
        found.extend(meta["Name"].as_str().map(str::to_owned).map(|name| Kept { name, meta }));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The daemon that a context names; `None` for this machine.
pub(super) fn target(name: &str, remedy: &'static str) -> Result<Option<Target>> {
    if name == DEFAULT {
        return Ok(None);
    }
    let kept = find(name)?;
    let place: Place = kept.host().parse().map_err(Error::Daemon)?;
    let tls = kept.files()?.filter(|_| matches!(place, Place::Tcp(..)));
    Ok(Some(Target { place, tls, remedy }))
}

fn check(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match begins && name.len() > 1 && name.bytes().all(fine) {
        _ if name == DEFAULT => Err(Error::refused("\"default\" is a reserved context name")),
        true => Ok(()),
        false => {
            let why = "must be of two letters or more out of a-z, A-Z, 0-9 and _.+-";
            Err(Error::invalid(format!("context name {name:?}"), why))
        }
    }
}

impl Context {
    pub(super) fn execute(&self, endpoint: &Endpoint, debug: bool) -> Result<u8> {
        match self {
            Context::Ls(ls) => ls.execute(&endpoint.context())?,
            Context::Show => print(&format!("{}\n", endpoint.context()))?,
            Context::Use { name } => choose(name)?,
            Context::Inspect(inspect) => return inspect.execute(&endpoint.context(), debug),
            Context::Create(create) => create.execute()?,
            Context::Rm { force, names } => {
                let current = endpoint.context();
                return Ok(each(names, debug, |name| remove(name, &current, *force)));
            }
        }
        Ok(0)
    }
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Current", "CURRENT"),
        ("Error", "ERROR"),
    ],
    usual: "{{.Name}}{{if eq .Current \"true\"}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
};

/// The context that no file says.
fn default() -> Kept {
    let host = host_of_environment().unwrap_or_else(|| HERE.to_owned());
    let meta = json!({
        "Name": DEFAULT,
        "Metadata": {"Description": "What the environment says, or the engine of this machine"},
        "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
    });
    Kept { name: DEFAULT.to_owned(), meta }
}

impl Ls {
    fn execute(&self, current: &str) -> Result<()> {
        let all: Vec<Kept> = std::iter::once(default()).chain(all()?).collect();
        if self.quiet {
            return print(&all.iter().map(|kept| format!("{}\n", kept.name)).collect::<String>());
        }
        let row = |kept: &Kept| {
            let wrong = match kept.host().parse::<Place>() {
                Err(why) if kept.name != DEFAULT => why.to_string(),
                _ => String::new(),
            };
            json!({
                "Name": kept.name,
                "Description": kept.description(),
                "DockerEndpoint": kept.host(),
                "Current": (kept.name == current).to_string(),
                "Error": wrong,
            })
        };
        print(&self.format.list(COLUMNS, &all.iter().map(row).collect::<Vec<_>>())?)
    }
}

impl Inspect {
    fn execute(&self, current: &str, debug: bool) -> Result<u8> {
        let names =
            if self.names.is_empty() { vec![current.to_owned()] } else { self.names.clone() };
        let mut found = Vec::new();
        let status = each(&names, debug, |name| {
            let kept = if name == DEFAULT { default() } else { find(name)? };
            let mut shown = kept.meta.clone();
            let files = std::fs::read_dir(tls_of(name)?).into_iter().flatten().flatten();
            let mut files: Vec<_> =
                files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
            files.sort();
            shown["TLSMaterial"] =
                if files.is_empty() { json!({}) } else { json!({"docker": files}) };
            shown["Storage"] = match name {
                DEFAULT => json!({"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}),
                _ => json!({"MetadataPath": meta_of(name)?, "TLSPath": tls_of(name)?.parent()}),
            };
            found.push(shown);
            Ok(())
        });
        self.shown.print(found)?;
        Ok(status)
    }
}

impl Create {
    fn execute(&self) -> Result<()> {
        check(&self.name)?;
        if meta_of(&self.name)?.join("meta.json").exists() {
            return Err(Error::refused(format!("context {:?} already exists", self.name)));
        }
        let (mut host, mut skips, mut files) = (String::new(), false, Vec::new());
        for field in self.docker.split(',') {
            let bad = |why: &str| Error::invalid(format!("--docker {field}"), why);
            match field.split_once('=') {
                Some(("host", value)) => host = value.to_owned(),
                Some(("ca" | "cert" | "key", "")) => return Err(bad("names no file")),
                Some((name @ ("ca" | "cert" | "key"), path)) => {
                    let path = Path::new(path);
                    files.push((format!("{name}.pem"), std::fs::read(path).at("read", path)?));
                }
                Some(("skip-tls-verify", value)) => {
                    let yes = crate::engine::filter::truth(value);
                    skips = yes.ok_or_else(|| bad("is neither true nor false"))?;
                }
                _ => return Err(bad("is none of host, ca, cert, key, skip-tls-verify")),
            }
        }
        host.parse::<Place>().map_err(Error::Daemon)?;
        let meta = json!({
            "Name": self.name,
            "Metadata": {"Description": self.description},
            "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": skips}},
        });
        if !files.is_empty() {
            let directory = tls_of(&self.name)?;
            std::fs::create_dir_all(&directory).at("make", &directory)?;
            for (name, content) in files {
                secret(&directory.join(name), &content)?;
            }
        }
        let directory = meta_of(&self.name)?;
        std::fs::create_dir_all(&directory).at("make", &directory)?;
        // Last: what has no description is no context.
        durable::write_json(&directory.join("meta.json"), &meta, Worth::Durable)?;
        print(&format!("{}\n", self.name))?;
        tell(&format!("Successfully created context {:?}", self.name));
        Ok(())
    }
}

/// A file that may be a key: for its owner alone.
fn secret(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    Ok(file.and_then(|mut file| file.write_all(content)).at("write", path)?)
}

fn choose(name: &str) -> Result<()> {
    let chosen = (name != DEFAULT).then_some(name);
    if let Some(name) = chosen {
        find(name)?;
    }
    login::set_entry("currentContext", chosen)?;
    print(&format!("{name}\n"))?;
    tell(&format!("Current context is now {name:?}"));
    if host_of_environment().is_some() && chosen.is_some() {
        super::warn("DOCKER_HOST or CORTEN_HOST is set, which goes before the context");
    }
    Ok(())
}

fn remove(name: &str, current: &str, force: bool) -> Result<()> {
    if name == DEFAULT {
        return Err(Error::refused("context \"default\" cannot be removed"));
    }
    let found = find(name);
    if found.is_err() && !force {
        return found.map(drop);
    }
    if name == current && !force {
        let text = format!(
            "context {name:?} is in use: choose another with `corten context use`, or use -f"
        );
        return Err(Error::refused(text));
    }
    for directory in [meta_of(name)?, store()?.join("tls").join(key_of(name))] {
        match std::fs::remove_dir_all(&directory) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                Err(why).at("remove", &directory)?;
            }
            _ => {}
        }
    }
    if login::entry("currentContext")?.as_deref() == Some(name) {
        login::set_entry("currentContext", None)?;
    }
    print(&format!("{name}\n"))
}

/// For people: standard output is for programs.
fn tell(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_has_docker_s_directory() {
        // printf remote | sha256sum
        let hex = "b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a";
        assert_eq!(key_of("remote"), hex);
    }

    #[test]
    fn names_are_docker_s() {
        for name in ["box", "a.b_c+d-e", "01"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "a", "-x", "a b", "a/b", "default"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
