//! Further programs in a container that runs.

use corten_namespaces::Root;
use corten_supervisor::client::Client;
use serde_json::{Value, json};

use super::Engine;
use super::env::{self, Defaults, Variable};
use super::error::{Error, Result};
use super::user::Accounts;
use super::volume::lexical;

/// What shall run.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Further environment variables.
    pub env: Vec<String>,
    /// Instead of the container's own.
    pub cwd: Option<String>,
    /// Instead of the container's own.
    pub user: Option<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

impl Engine {
    /// The process that `request` describes, for the container's supervisor. Users are those of
    /// the container as it is now.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; a user, variable or directory that makes no sense.
    pub fn exec_process(&self, name_or_id: &str, request: &Request) -> Result<(Value, Client)> {
        let (record, mut client) = self.supervisor(name_or_id)?;
        let spec = &record.spec;
        let lookup = |name: &str| std::env::var(name).ok();
        let variables: Vec<Variable> =
            request.env.iter().map(|text| Variable::parse(text, lookup)).collect::<Result<_>>()?;
        let (uid, gid, groups, home) = match &request.user {
            None => (spec.uid, spec.gid, spec.groups.clone(), None),
            Some(user) => {
                let pid = client.status()?.pid;
                let root = Root::open(std::path::Path::new(&format!("/proc/{pid}/root")))?;
                let identity = Accounts::read(&root)?.resolve(user)?;
                (identity.user.uid, identity.user.gid, identity.user.groups, Some(identity.home))
            }
        };
        let mut own = spec.env.clone();
        if let Some(home) = &home {
            own.retain(|variable| !variable.starts_with("HOME="));
            own.push(format!("HOME={home}"));
        }
        let home = home.unwrap_or_default();
        let defaults =
            Defaults { hostname: &spec.hostname, home: &home, terminal: request.terminal };
        let cwd = match &request.cwd {
            Some(path) if !path.starts_with('/') => {
                let what = format!("working directory `{path}`");
                return Err(Error::invalid(what, "is not absolute: it must begin with /"));
            }
            Some(path) => lexical(std::path::Path::new(path)),
            None => spec.cwd.clone(),
        };
        let process = json!({
            "terminal": request.terminal,
            "user": { "uid": uid, "gid": gid, "additionalGids": groups },
            "args": request.command,
            "env": env::merge(defaults, &own, &variables),
            "cwd": cwd,
            "capabilities": super::bundle::capabilities(),
        });
        Ok((process, client))
    }
}
