//! Further programs in a container that runs.

use std::path::Path;

use corten_namespaces::Root;
use corten_supervisor::client::Client;
use serde_json::{Value, json};

use super::env::Variable;
use super::error::{Error, Result};
use super::options::Config;
use super::path::lexical;
use super::user::Accounts;
use super::{Engine, oci};

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
    /// Whether it may do all that this machine allows.
    pub privileged: bool,
}

impl Engine {
    /// The process that `request` describes, for the container's supervisor. Users are those of
    /// the container as it is now.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; a user, variable or directory that makes no sense.
    pub fn exec_process(&self, name_or_id: &str, request: &Request) -> Result<(Value, Client)> {
        let (record, mut client) = self.supervisor(name_or_id)?;
        let user = match &request.user {
            Some(user) => user,
            None => &record.config.user,
        };
        let pid = client.status()?.pid;
        let root = Root::open(Path::new(&format!("/proc/{pid}/root")))?;
        let identity = Accounts::read(&root)?.resolve(user)?;
        let cwd = match &request.cwd {
            Some(path) if !path.starts_with('/') => {
                let what = format!("working directory `{path}`");
                return Err(Error::invalid(what, "is not absolute: it must begin with /"));
            }
            Some(path) => Some(lexical(Path::new(path))),
            None => None,
        };
        // The rest is as for the container's own program.
        let mut process = self.containers.shims.process(&record.id)?;
        let hostname = process_hostname(&process);
        let mut config = Config { tty: request.terminal, ..record.config.clone() };
        let lookup = |name: &str| std::env::var(name).ok();
        for text in &request.env {
            config.env.push(Variable::parse(text, lookup)?.to_string());
        }
        let (uid, gid) = (identity.user.uid, identity.user.gid);
        let mut groups = identity.user.groups;
        if request.user.is_none() {
            groups = process["user"]["additionalGids"].as_array().map_or(groups, |all| {
                all.iter().filter_map(|gid| gid.as_u64()?.try_into().ok()).collect()
            });
        }
        process["terminal"] = json!(request.terminal);
        process["args"] = json!(request.command);
        process["env"] = json!(oci::environment(&config, &hostname, &identity.home));
        process["user"] = json!({"uid": uid, "gid": gid, "additionalGids": groups});
        process["capabilities"] = match request.privileged {
            true => oci::process::sets(&self.machine()?.capabilities, uid),
            false => oci::process::sets(&bounding(&process), uid),
        };
        if let Some(cwd) = cwd {
            process["cwd"] = json!(cwd);
        }
        if let Some(process) = process.as_object_mut() {
            process.remove("consoleSize");
        }
        Ok((process, client))
    }
}

/// What the container may at most.
fn bounding(process: &Value) -> Vec<String> {
    let names = process["capabilities"]["bounding"].as_array().into_iter().flatten();
    names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// The name that the container's program was given.
fn process_hostname(process: &Value) -> String {
    let variables = process["env"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let name = variables.filter_map(|variable| variable.strip_prefix("HOSTNAME=")).next();
    name.unwrap_or_default().to_owned()
}
