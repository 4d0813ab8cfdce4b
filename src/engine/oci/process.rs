//! `process` of config.json.

use serde_json::{Value, json};

use super::{INIT, Wanted};
use crate::engine::error::Result;
use crate::engine::options::config::Config;
use crate::engine::options::host::Ulimit;
use crate::engine::options::security::Security;
use crate::engine::options::{HostConfig, PidMode};

/// The program, as whom it runs, and what it may do.
pub(super) fn process(
    wanted: &Wanted<'_>,
    security: &Security,
    capabilities: &[String],
    hostname: &str,
) -> Result<Value> {
    let (config, host) = (wanted.config, wanted.host);
    let identity = wanted.accounts.resolve(&config.user)?;
    let mut groups = identity.user.groups.clone();
    for group in wanted.accounts.further_groups(&host.group_add)? {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let mut process = json!({
        "args": args(config, host)?,
        "env": environment(config, hostname, &identity.home),
        "cwd": cwd,
        "user": {"uid": identity.user.uid, "gid": identity.user.gid, "additionalGids": groups},
        "terminal": config.tty,
        "noNewPrivileges": security.no_new_privileges,
        "oomScoreAdj": host.oom_score_adj,
        "capabilities": sets(capabilities, identity.user.uid),
        "rlimits": host.resources.ulimits.iter().map(limit).collect::<Vec<_>>(),
    });
    let [height, width] = host.console_size;
    if config.tty && height > 0 && width > 0 {
        process["consoleSize"] = json!({"height": height, "width": width});
    }
    // A kernel without AppArmor would refuse the name of any profile.
    if wanted.machine.apparmor {
        let chosen = security.apparmor.as_deref();
        let profile = chosen.or(host.privileged.then_some("unconfined"));
        if let Some(profile) = profile {
            process["apparmorProfile"] = json!(profile);
        }
    }
    Ok(process)
}

/// Whether a small init is the first process: where it is asked for, and where there is none yet.
///
/// # Errors
/// For a mode that is none.
pub fn has_init(host: &HostConfig) -> Result<bool> {
    Ok(host.init == Some(true) && host.pid()? == PidMode::Private)
}

fn args(config: &Config, host: &HostConfig) -> Result<Vec<String>> {
    let mut args = config.command();
    if has_init(host)? {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    Ok(args)
}

/// Capabilities of a user who is not root take effect by files alone, as after an execve.
pub(crate) fn sets(capabilities: &[String], uid: u32) -> Value {
    if uid == 0 {
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities})
    } else {
        json!({"bounding": capabilities})
    }
}

fn limit(limit: &Ulimit) -> Value {
    // -1 is the kernel's largest number.
    json!({"type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        "soft": limit.soft as u64, "hard": limit.hard as u64})
}

/// Docker's defaults, and over them the variables of the image and the user, where a name alone
/// takes a variable away.
pub fn environment(config: &Config, hostname: &str, home: &str) -> Vec<String> {
    let mut merged = vec![
        format!("PATH={}", corten_namespaces::config::DEFAULT_PATH),
        format!("HOSTNAME={hostname}"),
    ];
    if config.tty {
        merged.push("TERM=xterm".to_owned());
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in &config.env {
        let at = merged.iter().position(|known| name(known) == name(variable));
        match (at, variable.contains('=')) {
            (Some(at), true) => merged[at].clone_from(variable),
            (None, true) => merged.push(variable.clone()),
            (Some(at), false) => drop(merged.remove(at)),
            (None, false) => {}
        }
    }
    // dockerd leaves this to its runtime, which reads the image's /etc/passwd once more.
    if !merged.iter().any(|known| known.starts_with("HOME=") && known != "HOME=") {
        merged.retain(|known| name(known) != "HOME");
        merged.push(format!("HOME={home}"));
    }
    merged
}
