//! What a configuration must fulfil before anything is done.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::error::{Error, Result};

/// Checks a configuration as the specification asks.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub fn spec(spec: &Spec) -> Result<()> {
    version(spec.version())?;
    if spec.root().is_none() {
        return Err(Error::invalid("root", "is missing from config.json"));
    }
    let Some(linux) = spec.linux() else {
        return Err(Error::invalid("linux", "is missing from config.json"));
    };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (at, namespace) in namespaces.iter().enumerate() {
        let twice = namespaces.iter().take(at).any(|other| other.typ() == namespace.typ());
        if twice {
            return Err(Error::invalid(
                format!("linux.namespaces: {:?}", namespace.typ()),
                "is there twice",
            ));
        }
    }
    let has = |kind| namespaces.iter().any(|namespace| namespace.typ() == kind);
    for (name, value, kind) in [
        ("hostname", spec.hostname(), LinuxNamespaceType::Uts),
        ("domainname", spec.domainname(), LinuxNamespaceType::Uts),
    ] {
        if value.as_deref().is_some_and(|value| !value.is_empty()) && !has(kind) {
            let why = "is set, but there is no uts namespace: it would change the host";
            return Err(Error::invalid(name, why));
        }
    }
    if linux.time_offsets().is_some() && !has(LinuxNamespaceType::Time) {
        return Err(Error::invalid("linux.timeOffsets", "are set, but there is no time namespace"));
    }
    let maps = |m: &Option<Vec<_>>| m.as_ref().is_some_and(|m: &Vec<_>| !m.is_empty());
    if (maps(linux.uid_mappings()) || maps(linux.gid_mappings())) && !has(LinuxNamespaceType::User)
    {
        return Err(Error::invalid("linux.uidMappings", "are set, but there is no user namespace"));
    }
    for (what, paths) in [
        ("linux.maskedPaths", linux.masked_paths()),
        ("linux.readonlyPaths", linux.readonly_paths()),
    ] {
        if let Some(path) = paths.iter().flatten().find(|path| !path.starts_with('/')) {
            return Err(Error::invalid(format!("{what}: `{path}`"), "must be an absolute path"));
        }
    }
    mounts(spec)?;
    process(spec)
}

// ANCHOR: version
/// Any version 1.x is understood: the specification follows semantic versioning, and what is
/// unknown in it is to be ignored.
fn version(version: &str) -> Result<()> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<Option<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [Some(1), Some(_), Some(_)] => Ok(()),
        [Some(_), Some(_), Some(_)] => Err(Error::invalid(
            format!("ociVersion {version}"),
            "is not supported: this runtime implements 1.x",
        )),
        _ => Err(Error::invalid(
            format!("ociVersion `{version}`"),
            "is no semantic version, as in 1.2.0",
        )),
    }
}
// ANCHOR_END: version

fn mounts(spec: &Spec) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        let destination = mount.destination();
        if destination.as_os_str().is_empty() {
            return Err(Error::invalid("mounts", "one has no destination"));
        }
        if destination.components().any(|part| part.as_os_str() == "..") {
            let what = format!("mount destination {}", destination.display());
            return Err(Error::invalid(what, "holds `..`: say where it leads"));
        }
        if mount.uid_mappings().is_some() != mount.gid_mappings().is_some() {
            let what = format!("mount {}", destination.display());
            return Err(Error::invalid(what, "has uidMappings or gidMappings without the other"));
        }
    }
    Ok(())
}

fn process(spec: &Spec) -> Result<()> {
    let Some(process) = spec.process() else { return Ok(()) };
    process_of(process)
}

/// Checks one process, that of a configuration or of `exec`.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub fn process_of(process: &oci_spec::runtime::Process) -> Result<()> {
    let cwd: &Path = process.cwd();
    if !cwd.is_absolute() {
        return Err(Error::invalid(
            format!("process.cwd `{}`", cwd.display()),
            "must be an absolute path",
        ));
    }
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (at, limit) in limits.iter().enumerate() {
        if limits.iter().take(at).any(|other| other.typ() == limit.typ()) {
            let what = format!("process.rlimits: {}", limit.typ());
            return Err(Error::invalid(what, "is there twice"));
        }
        if limit.soft() > limit.hard() {
            let what = format!("process.rlimits: {}", limit.typ());
            return Err(Error::invalid(what, "has a soft limit above the hard one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_version_1_is_accepted() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.7", "1.2.0-rc.1+build.5"] {
            assert!(version(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "one", "1.0.0.0"] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
