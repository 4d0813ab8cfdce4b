//! `--mount type=…,source=…,target=…`.

use super::value::{bytes, fields};
use crate::cli::{Error, Result};
use crate::engine::options::mount::{
    BindOptions, Driver, Mount, MountType, TmpfsOptions, VolumeOptions,
};

/// Reads one `--mount`. What is wrong with it is said as docker's command line says it; what only an engine
/// can know, says the engine.
pub(super) fn parse(text: &str) -> Result<Mount> {
    read(text).map_err(|why| {
        Error::refused(format!("invalid argument {text:?} for \"--mount\" flag: {why}"))
    })
}

fn read(text: &str) -> std::result::Result<Mount, String> {
    let mut mount = Mount::default();
    for field in fields(text) {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        // By its name alone it is true.
        if set_flag(&mut mount, &name, true) {
            match value {
                None | Some("true" | "1") => {}
                Some("false" | "0") => _ = set_flag(&mut mount, &name, false),
                Some(other) => return Err(format!("invalid value for {name}: {other}")),
            }
            continue;
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        if !set(&mut mount, &name, value)? {
            return Err(format!("unexpected key '{name}' in '{field}'"));
        }
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    for (of, is_there, own) in [
        ("bind", mount.bind_options.is_some(), MountType::Bind),
        ("volume", mount.volume_options.is_some(), MountType::Volume),
        ("tmpfs", mount.tmpfs_options.is_some(), MountType::Tmpfs),
    ] {
        if is_there && mount.kind != own {
            let kind = mount.kind.name();
            return Err(format!("cannot mix '{of}-*' options with mount type '{kind}'"));
        }
    }
    Ok(mount)
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_default()
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_default()
}

fn driver(mount: &mut Mount) -> &mut Driver {
    volume(mount).driver_config.get_or_insert_default()
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_default()
}

/// Tells whether there is such a field that is true or false.
fn set_flag(mount: &mut Mount, name: &str, flag: bool) -> bool {
    match name {
        "readonly" | "ro" => mount.read_only = flag,
        "bind-nonrecursive" => bind(mount).non_recursive = flag,
        "volume-nocopy" => volume(mount).no_copy = flag,
        _ => return false,
    }
    true
}

/// Tells whether there is such a field; fails with what is wrong with its value.
fn set(mount: &mut Mount, name: &str, value: &str) -> std::result::Result<bool, String> {
    match name {
        "type" => {
            mount.kind = match value.to_ascii_lowercase().as_str() {
                "bind" => MountType::Bind,
                "volume" => MountType::Volume,
                "tmpfs" => MountType::Tmpfs,
                other => MountType::Unknown(other.to_owned()),
            };
        }
        "source" | "src" => mount.source = value.to_owned(),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "consistency" => mount.consistency = value.to_owned(),
        "bind-propagation" => bind(mount).propagation = value.to_owned(),
        "bind-recursive" => match value {
            "enabled" => {}
            "disabled" => bind(mount).non_recursive = true,
            "writable" => bind(mount).read_only_non_recursive = true,
            "readonly" => bind(mount).read_only_force_recursive = true,
            other => {
                return Err(format!(
                    "invalid value for bind-recursive: {other} (must be \"enabled\", \"disabled\", \
                     \"writable\", or \"readonly\")"
                ));
            }
        },
        "volume-driver" => driver(mount).name = value.to_owned(),
        "volume-subpath" => volume(mount).subpath = value.to_owned(),
        "volume-label" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            volume(mount).labels.insert(name.to_owned(), value.to_owned());
        }
        "volume-opt" => {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            driver(mount).options.insert(name.to_owned(), value.to_owned());
        }
        "tmpfs-size" => {
            let size = bytes("tmpfs-size", value, false)
                .map_err(|_| format!("invalid value for tmpfs-size: {value}"))?;
            tmpfs(mount).size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8);
            tmpfs(mount).mode =
                mode.map_err(|_| format!("invalid value for tmpfs-mode: {value}"))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_fields_of_its_own() {
        let mount = parse("type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared").unwrap();
        assert_eq!((mount.kind, mount.read_only), (MountType::Bind, true));
        assert_eq!((mount.source.as_str(), mount.target.as_str()), ("/a", "/b"));
        assert_eq!(mount.bind_options.unwrap().propagation, "rshared");
        let mount = parse("source=data,target=/d,volume-nocopy,volume-subpath=x,ro=false").unwrap();
        let options = mount.volume_options.unwrap();
        assert!(options.no_copy && options.subpath == "x" && !mount.read_only);
        let mount = parse("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1700").unwrap();
        let options = mount.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (64 << 20, 0o1700));
    }

    #[test]
    fn mistakes_are_told_as_docker_tells_them() {
        for (text, why) in [
            ("type=wrong", "target is required"),
            ("target=/a,size=1", "unexpected key 'size' in 'size=1'"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("target=/a,ro=x", "invalid value for ro: x"),
            ("type=tmpfs,target=/a,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
            ("type=tmpfs,target=/a,tmpfs-size=x", "invalid value for tmpfs-size: x"),
            (
                "type=bind,target=/a,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("invalid argument {text:?} for \"--mount\" flag: {why}"));
        }
        // Whether there is such a type, engines say.
        let kind = MountType::Unknown("nfs".to_owned());
        assert_eq!(parse("type=NFS,target=/a").unwrap().kind, kind);
    }
}
