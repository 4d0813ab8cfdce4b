//! `--mount type=…,source=…,target=…`.

use super::value::{bytes, fields};
use crate::cli::{Error, Result};
use crate::engine::options::mount::{
    BindOptions, Driver, Mount, MountType, TmpfsOptions, VolumeOptions,
};

/// Reads one `--mount`.
pub(super) fn parse(text: &str) -> Result<Mount> {
    let bad = |why: String| Error::invalid(format!("--mount {text}"), why);
    let mut mount = Mount::default();
    for field in fields(text) {
        let (name, value) = match field.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        let flag = match value.as_deref() {
            None => Some(true),
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => None,
        };
        let known = match flag {
            Some(flag) => set_flag(&mut mount, &name, flag),
            None => false,
        };
        if known {
            continue;
        }
        let value = value.ok_or_else(|| bad(format!("`{field}` must be NAME=VALUE")))?;
        match set(&mut mount, &name, &value) {
            Ok(true) => {}
            Ok(false) => return Err(bad(format!("`{name}` is no field of a mount"))),
            Err(why) => return Err(bad(why)),
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
                other => return Err(format!("type `{other}` is not bind, volume or tmpfs")),
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
            other => return Err(format!("bind-recursive cannot be `{other}`")),
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
            let size = bytes("tmpfs-size", value, false).map_err(|why| why.to_string())?;
            tmpfs(mount).size_bytes = size;
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(value, 8);
            tmpfs(mount).mode = mode.map_err(|_| format!("tmpfs-mode `{value}` is not octal"))?;
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
    fn what_is_no_field_is_named() {
        for (text, why) in [
            ("type=nfs,target=/a", "`nfs`"),
            ("target=/a,size=1", "`size`"),
            ("target", "NAME=VALUE"),
            ("tmpfs-mode=9", "octal"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
