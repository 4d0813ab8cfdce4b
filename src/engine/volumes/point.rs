//! What is mounted where: `Binds`, `Mounts`, `Tmpfs` and `Volumes` of a request, read into one list.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::name;
use crate::engine::error::{Error, Result};
use crate::engine::options::mount::{Mount, MountType, TmpfsOptions};
use crate::engine::options::{Config, HostConfig, api};
use crate::engine::path::lexical;

api! {
    /// A mount of a container, as `docker inspect` shows it in `Mounts`, and what else the engine
    /// needs to know of it. The container's `config.json` holds them as `MountPoints`.
    pub struct MountPoint {
        /// What.
        #[serde(rename = "Type")]
        pub kind: MountType,
        /// The volume's name.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub name: String,
        /// The file or directory of the host; that of a volume is filled in by
        /// [`Volumes::attach`](super::Volumes::attach).
        pub source: String,
        /// Where it is seen in the container.
        pub destination: String,
        /// The volume's driver.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub driver: String,
        /// The options, as the user wrote them.
        pub mode: String,
        /// Whether it can be written to.
        #[serde(rename = "RW")]
        pub writable: bool,
        /// `rprivate` … of a bind mount.
        pub propagation: String,
        /// The options of a tmpfs.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub tmpfs: String,
        /// Whether the volume was made for this container and has no name of the user's.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub anonymous: bool,
        /// Whether the volume is left empty.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub no_copy: bool,
        /// A directory in the volume.
        #[serde(skip_serializing_if = "String::is_empty")]
        pub subpath: String,
        /// Without what is mounted below.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub non_recursive: bool,
        /// Read-only does not reach what is mounted below.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub read_only_non_recursive: bool,
        /// Whether a missing source is made as a directory.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub create_source: bool,
        /// What is mounted instead of a directory, where the volume has options.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub device: Option<super::Device>,
        /// Labels of the volume, where it is made now.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub labels: BTreeMap<String, String>,
        /// Options of the driver, where the volume is made now.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub driver_options: BTreeMap<String, String>,
    }
}

/// How mounts that are made on one side are seen on the other.
pub const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// All mounts that a request asks for, outer ones first. `from` are those of the containers of
/// `VolumesFrom`, in their order, each with what follows the colon.
///
/// # Errors
/// [`Error::Refused`], in dockerd's words.
pub fn mount_points(
    config: &Config,
    host: &HostConfig,
    from: &[(String, Vec<MountPoint>)],
) -> Result<Vec<MountPoint>> {
    let mut points: BTreeMap<String, MountPoint> = BTreeMap::new();
    for (mode, inherited) in from {
        for point in inherited {
            let mut point = point.clone();
            point.writable &= mode != "ro";
            // The volume has been filled, and is not this container's to remove.
            (point.no_copy, point.anonymous) = (true, false);
            points.insert(point.destination.clone(), point);
        }
    }
    let mut own = BTreeMap::new();
    for text in &host.binds {
        add(&mut own, bind(text, &host.volume_driver)?)?;
    }
    for mount in &host.mounts {
        add(&mut own, from_mount(mount)?)?;
    }
    for (target, options) in &host.tmpfs {
        add(&mut own, from_tmpfs(target, options)?)?;
    }
    points.append(&mut own);
    for target in config.volumes.keys() {
        let point = anonymous(target, &host.volume_driver)?;
        // What is mounted there already is what the image's author gets.
        points.entry(point.destination.clone()).or_insert(point);
    }
    let mut points: Vec<MountPoint> = points.into_values().collect();
    points.sort_by_key(|point| Path::new(&point.destination).components().count());
    Ok(points)
}

fn add(points: &mut BTreeMap<String, MountPoint>, point: MountPoint) -> Result<()> {
    let destination = point.destination.clone();
    match points.insert(destination.clone(), point) {
        None => Ok(()),
        Some(_) => Err(Error::refused(format!("Duplicate mount point: {destination}"))),
    }
}

/// Checks and cleans a path in the container.
fn target(path: &str) -> Result<String> {
    if lexical(Path::new(path)) == Path::new("/") && !path.is_empty() {
        return Err(Error::refused("invalid specification: destination can't be '/'"));
    }
    absolute(path)
}

fn absolute(path: &str) -> Result<String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Error::refused(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    }
    Ok(lexical(Path::new(path)).to_string_lossy().into_owned())
}

/// Reads an entry of `Binds`.
///
/// # Errors
/// [`Error::Refused`].
pub fn bind(text: &str, driver: &str) -> Result<MountPoint> {
    let invalid = || Error::refused(format!("invalid volume specification: '{text}'"));
    let (source, destination, mode) = match text.split(':').collect::<Vec<_>>()[..] {
        ["", ..] => return Err(invalid()),
        [destination] => ("", destination, ""),
        // `/foo:rw` would be an anonymous volume with a mode, which there is not.
        [_, mode] if Mode::parse(mode).is_some() => return Err(invalid()),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    let parsed =
        Mode::parse(mode).ok_or_else(|| Error::refused(format!("invalid mode: {mode}")))?;
    let is_path = source.starts_with('/');
    let kind = if is_path { "bind" } else { "volume" };
    let wrong = |why: String| {
        Error::refused(format!("{}: invalid mount config for type {kind:?}: {why}", invalid()))
    };
    let extra = |field: &str| Err(wrong(format!("field {field} must not be specified")));
    let mut point = MountPoint {
        destination: target(destination).map_err(|why| wrong(why.to_string()))?,
        mode: mode.to_owned(),
        writable: parsed.writable,
        no_copy: parsed.no_copy,
        ..MountPoint::default()
    };
    if is_path {
        if parsed.copy_said {
            return extra("VolumeOptions");
        }
        point.kind = MountType::Bind;
        point.source = absolute(source)?;
        point.propagation = parsed.propagation.unwrap_or("rprivate").to_owned();
        point.create_source = true;
    } else {
        if parsed.propagation.is_some() {
            return extra("BindOptions");
        }
        point.name = source.to_owned();
        volume(&mut point, driver);
    }
    checked(point)
}

fn volume(point: &mut MountPoint, driver: &str) {
    point.kind = MountType::Volume;
    point.driver = if driver.is_empty() { "local" } else { driver }.to_owned();
    point.anonymous = point.name.is_empty();
}

/// A volume without a name gets a random one.
fn checked(point: MountPoint) -> Result<MountPoint> {
    if !point.name.is_empty() {
        name::check(&point.name)?;
    }
    Ok(point)
}

fn anonymous(path: &str, driver: &str) -> Result<MountPoint> {
    let mut point =
        MountPoint { destination: target(path)?, writable: true, ..MountPoint::default() };
    volume(&mut point, driver);
    Ok(point)
}

/// What follows the second colon of a bind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mode {
    writable: bool,
    propagation: Option<&'static str>,
    no_copy: bool,
    copy_said: bool,
}

impl Mode {
    /// `None` for what Docker does not know, and for two words of one kind.
    fn parse(mode: &str) -> Option<Mode> {
        let mut parsed = Mode { writable: true, ..Mode::default() };
        let (mut access, mut label, mut consistency) = (0, 0, 0);
        for word in mode.split(',').filter(|_| !mode.is_empty()) {
            match word {
                "rw" | "ro" => {
                    parsed.writable = word == "rw";
                    access += 1;
                }
                // Labels of SELinux and Docker Desktop's hints have no effect here.
                "z" | "Z" => label += 1,
                "consistent" | "cached" | "delegated" | "default" => consistency += 1,
                "nocopy" => {
                    if std::mem::replace(&mut parsed.copy_said, true) {
                        return None;
                    }
                    parsed.no_copy = true;
                }
                other => {
                    let known = PROPAGATION.iter().find(|name| **name == other)?;
                    if parsed.propagation.replace(known).is_some() {
                        return None;
                    }
                }
            }
        }
        (access < 2 && label < 2 && consistency < 2).then_some(parsed)
    }
}

/// Reads an entry of `Mounts`.
///
/// # Errors
/// [`Error::Refused`].
pub fn from_mount(mount: &Mount) -> Result<MountPoint> {
    let kind = mount.kind.name();
    read_mount(mount)
        .map_err(|why| Error::refused(format!("invalid mount config for type {kind:?}: {why}")))
        .and_then(checked)
}

fn read_mount(mount: &Mount) -> Result<MountPoint> {
    let missing = |field: &str| Error::refused(format!("field {field} must not be empty"));
    let extra = |field: &str| Error::refused(format!("field {field} must not be specified"));
    if matches!(mount.kind, MountType::Unknown(_)) {
        return Err(Error::refused("mount type unknown"));
    }
    if mount.target.is_empty() {
        return Err(missing("Target"));
    }
    let mut point = MountPoint {
        kind: mount.kind.clone(),
        destination: target(&mount.target)?,
        writable: !mount.read_only,
        ..MountPoint::default()
    };
    if mount.kind != MountType::Bind && mount.bind_options.is_some() {
        return Err(extra("BindOptions"));
    }
    if mount.kind != MountType::Volume && mount.volume_options.is_some() {
        return Err(extra("VolumeOptions"));
    }
    if mount.kind != MountType::Tmpfs && mount.tmpfs_options.is_some() {
        return Err(extra("TmpfsOptions"));
    }
    match mount.kind {
        MountType::Bind if mount.source.is_empty() => return Err(missing("Source")),
        MountType::Bind => read_bind(mount, &mut point)?,
        MountType::Tmpfs if !mount.source.is_empty() => return Err(extra("Source")),
        MountType::Tmpfs => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            point.tmpfs = tmpfs_text(&options, mount.read_only)?;
        }
        MountType::Volume | MountType::Unknown(_) => read_volume(mount, &mut point)?,
    }
    Ok(point)
}

fn read_bind(mount: &Mount, point: &mut MountPoint) -> Result<()> {
    point.source = absolute(&mount.source)?;
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = options.propagation.as_str();
    if !propagation.is_empty() && !PROPAGATION.contains(&propagation) {
        return Err(Error::refused(format!("invalid propagation mode: {propagation}")));
    }
    if options.read_only_force_recursive && options.read_only_non_recursive {
        return Err(Error::refused(
            "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive",
        ));
    }
    point.propagation = if propagation.is_empty() { "rprivate" } else { propagation }.to_owned();
    point.non_recursive = options.non_recursive;
    point.read_only_non_recursive = options.read_only_non_recursive;
    point.create_source = options.create_mountpoint;
    Ok(())
}

fn read_volume(mount: &Mount, point: &mut MountPoint) -> Result<()> {
    let options = mount.volume_options.clone().unwrap_or_default();
    point.name.clone_from(&mount.source);
    if !options.subpath.is_empty() {
        if mount.source.is_empty() {
            let text = "must not set Subpath when using anonymous volumes";
            return Err(Error::refused(text));
        }
        let inside = Path::new(&options.subpath)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            let text = "subpath must be a relative path within the volume";
            return Err(Error::refused(text));
        }
    }
    if mount.read_only && mount.source.is_empty() {
        let text = "must not set ReadOnly mode when using anonymous volumes";
        return Err(Error::refused(text));
    }
    let driver = options.driver_config.unwrap_or_default();
    point.subpath = options.subpath;
    point.no_copy = options.no_copy;
    point.labels = options.labels;
    point.driver_options = driver.options;
    volume(point, &driver.name);
    Ok(())
}

/// The options of a tmpfs by names, as text.
fn tmpfs_text(options: &TmpfsOptions, read_only: bool) -> Result<String> {
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_owned());
    }
    if options.mode != 0 {
        words.push(format!("mode={:o}", options.mode));
    }
    if options.size_bytes < 0 {
        return Err(Error::refused("TmpfsOptions.SizeBytes must not be negative"));
    }
    if options.size_bytes != 0 {
        let unit = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
        let unit = unit.iter().find(|(_, unit)| options.size_bytes % unit == 0);
        let (suffix, unit) = unit.unwrap_or(&("", 1));
        words.push(format!("size={}{suffix}", options.size_bytes / unit));
    }
    for option in &options.options {
        match &option[..] {
            [word] | [word, _] if word == "exec" || word == "noexec" => words.push(word.clone()),
            [word] | [word, _] => return Err(Error::refused(format!("invalid option: {word}"))),
            _ => return Err(Error::refused("invalid option array length")),
        }
    }
    Ok(words.join(","))
}

/// Reads an entry of `Tmpfs`.
///
/// # Errors
/// [`Error::Refused`].
pub fn from_tmpfs(path: &str, options: &str) -> Result<MountPoint> {
    const FLAGS: [&str; 20] = [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "remount",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "defaults",
    ];
    const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let known = match option.split_once('=') {
            Some((name, _)) => VALUES.contains(&name),
            None => FLAGS.contains(&option) || PROPAGATION.contains(&option),
        };
        if !known {
            return Err(Error::refused(format!("invalid tmpfs option [{option:?}]")));
        }
    }
    Ok(MountPoint {
        kind: MountType::Tmpfs,
        destination: target(path)?,
        mode: options.to_owned(),
        writable: !options.split(',').any(|option| option == "ro"),
        tmpfs: options.to_owned(),
        ..MountPoint::default()
    })
}

/// Reads an entry of `VolumesFrom`: a container, and `ro`, `rw` or nothing.
///
/// # Errors
/// [`Error::Refused`].
pub fn volumes_from(text: &str) -> Result<(&str, &str)> {
    if text.is_empty() {
        return Err(Error::refused("volumes-from specification cannot be an empty string"));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, ""));
    let parsed = Mode::parse(mode).filter(|mode| !mode.copy_said && mode.propagation.is_none());
    match parsed {
        Some(parsed) => Ok((container, if parsed.writable { "rw" } else { "ro" })),
        None => Err(Error::refused(format!("invalid mode: {mode}"))),
    }
}
