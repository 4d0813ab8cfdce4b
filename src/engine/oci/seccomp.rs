//! Filters of system calls in Docker's format, which has conditions that OCI's has not.
//!
//! A rule may be for some architectures, for containers with some capabilities, or from some
//! version of the kernel on. All of that is known before a container starts, so it is decided here,
//! as in moby's profiles/seccomp.

use std::collections::BTreeMap;

use corten_namespaces::capability::CapabilitySet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::error::{Error, Result};
use crate::engine::machine;

/// The filter that a container gets where nobody chooses one: chapter 4 has it, equal in effect to
/// Docker's.
///
/// # Errors
/// For a capability that chapter 1 does not know.
pub fn default(capabilities: &[String]) -> Result<Value> {
    let set = CapabilitySet::from_names(capabilities.iter().map(String::as_str))?;
    Ok(corten_runtime::seccomp::default::profile(set))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<Architecture>>,
    syscalls: Option<Vec<Rule>>,
    flags: Option<Vec<String>>,
    listener_path: String,
    listener_metadata: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Architecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    name: String,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Value>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    arches: Option<Vec<String>>,
    caps: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// This machine's architecture, as Go and as libseccomp call it.
fn native() -> (&'static str, &'static str) {
    match std::env::consts::ARCH {
        "x86_64" => ("amd64", "SCMP_ARCH_X86_64"),
        "aarch64" => ("arm64", "SCMP_ARCH_AARCH64"),
        "arm" => ("arm", "SCMP_ARCH_ARM"),
        "x86" => ("x86", "SCMP_ARCH_X86"),
        "riscv64" => ("riscv64", "SCMP_ARCH_RISCV64"),
        "s390x" => ("s390x", "SCMP_ARCH_S390X"),
        "powerpc64" => ("ppc64le", "SCMP_ARCH_PPC64LE"),
        "loongarch64" => ("loong64", "SCMP_ARCH_LOONGARCH64"),
        _ => ("", ""),
    }
}

/// The filter that a profile is for a container with these capabilities on this kernel; `None` for
/// a profile that says nothing.
///
/// # Errors
/// Where the text is no profile.
pub fn resolve(text: &str, capabilities: &[String], kernel: (u32, u32)) -> Result<Option<Value>> {
    let wrong = |why: String| Error::refused(format!("Decoding seccomp profile failed: {why}"));
    let profile: Profile = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let rules = profile.syscalls.unwrap_or_default();
    if profile.default_action.is_empty() && rules.is_empty() {
        return Ok(None);
    }
    let listed = profile.architectures.unwrap_or_default();
    let map = profile.arch_map.unwrap_or_default();
    if !listed.is_empty() && !map.is_empty() {
        return Err(Error::refused(
            "'architectures' and 'archMap' were specified in the seccomp profile, use either \
             'architectures' or 'archMap'",
        ));
    }
    let mut calls = Vec::new();
    for rule in rules {
        if !applies(&rule, capabilities, kernel)? {
            continue;
        }
        let names = rule.names.unwrap_or_default();
        if !rule.name.is_empty() && !names.is_empty() {
            return Err(Error::refused(
                "'name' and 'names' were specified in the seccomp profile, use either 'name' or \
                 'names'",
            ));
        }
        let names = if names.is_empty() { vec![rule.name] } else { names };
        let mut call = json!({"names": names, "action": rule.action});
        if let Some(errno) = rule.errno_ret {
            call["errnoRet"] = json!(errno);
        }
        let args = rule.args.unwrap_or_default();
        if !args.is_empty() {
            call["args"] = json!(args.into_iter().map(argument).collect::<Vec<_>>());
        }
        calls.push(call);
    }
    let mut filter = json!({
        "defaultAction": profile.default_action,
        "architectures": architectures(listed, map),
        "syscalls": calls,
    });
    let optional: BTreeMap<&str, Option<Value>> = BTreeMap::from([
        ("defaultErrnoRet", profile.default_errno_ret.map(Value::from)),
        ("flags", profile.flags.map(Value::from)),
        ("listenerPath", Some(profile.listener_path).filter(|p| !p.is_empty()).map(Value::from)),
        (
            "listenerMetadata",
            Some(profile.listener_metadata).filter(|m| !m.is_empty()).map(Value::from),
        ),
    ]);
    for (name, value) in optional {
        if let Some(value) = value {
            filter[name] = value;
        }
    }
    Ok(Some(filter))
}

/// `valueTwo` may be absent in Docker's format.
fn argument(mut argument: Value) -> Value {
    if let Some(fields) = argument.as_object_mut() {
        fields.entry("valueTwo").or_insert(json!(0));
    }
    argument
}

fn architectures(listed: Vec<String>, map: Vec<Architecture>) -> Vec<String> {
    let native = native().1;
    match map.into_iter().find(|entry| entry.architecture == native) {
        Some(entry) => {
            let mut all = vec![entry.architecture];
            all.extend(entry.sub_architectures.unwrap_or_default());
            all
        }
        None => listed,
    }
}

/// A rule applies where none of what excludes it is the case, and all of what it is limited to.
fn applies(rule: &Rule, capabilities: &[String], kernel: (u32, u32)) -> Result<bool> {
    let native = native().0.to_owned();
    let nothing = Condition::default();
    let excludes = rule.excludes.as_ref().unwrap_or(&nothing);
    let includes = rule.includes.as_ref().unwrap_or(&nothing);
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    if list(&excludes.arches).contains(&native)
        || list(&excludes.caps).iter().any(|cap| capabilities.contains(cap))
        || at_least(excludes.min_kernel.as_deref(), kernel)?.unwrap_or(false)
    {
        return Ok(false);
    }
    let arches = list(&includes.arches);
    Ok((arches.is_empty() || arches.contains(&native))
        && list(&includes.caps).iter().all(|cap| capabilities.contains(cap))
        && at_least(includes.min_kernel.as_deref(), kernel)?.unwrap_or(true))
}

/// Whether the kernel is of this version or newer; `None` where no version is named.
fn at_least(wanted: Option<&str>, kernel: (u32, u32)) -> Result<Option<bool>> {
    match wanted.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => match machine::version(text) {
            Some(wanted) => Ok(Some(kernel >= wanted)),
            None => Err(Error::refused(format!("invalid kernel version: {text:?}"))),
        },
    }
}
