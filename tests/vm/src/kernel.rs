//! The kernels that VMs boot: fetched as packages, unpacked, and kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::apt::Apt;
use crate::cache;
use crate::error::{Context, Error, Result};
use crate::module::{self, ModInfo, ModuleIndex};

/// Which kernel a VM boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// 6.1, the cloud kernel of Debian 12.
    Debian61,
    /// 6.12, the cloud kernel of Debian 13.
    Debian612,
    /// A kernel package that the caller has unpacked into this directory.
    Unpacked(PathBuf),
}

impl Kernel {
    /// Both of Debian's kernels: the test matrix.
    pub const MATRIX: [Kernel; 2] = [Kernel::Debian61, Kernel::Debian612];

    fn suite(&self) -> &'static str {
        match self {
            Kernel::Debian61 => "bookworm",
            _ => "trixie",
        }
    }

    /// The kernel's files, fetched where they are not in the cache. A second call uses no network.
    ///
    /// # Errors
    /// Where the package can't be had or lacks a module that the VM needs to boot.
    pub fn fetch(&self) -> Result<KernelFiles> {
        let name = match self {
            Kernel::Unpacked(directory) => format!("unpacked-{}", cache::path_key(directory)?),
            known => known.to_string(),
        };
        // With the modules that are taken out of it: when those change, it is taken apart anew.
        let modules = cache::text_key(&module::wanted().join(" "));
        cache::directory(&format!("kernels/{name}-{modules}"), |into| match self {
            Kernel::Unpacked(directory) => collect(directory, into),
            known => download(known, into),
        })
        .and_then(|directory| KernelFiles::open(&directory))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kernel::Debian61 => f.write_str("6.1"),
            Kernel::Debian612 => f.write_str("6.12"),
            Kernel::Unpacked(directory) => write!(f, "{}", directory.display()),
        }
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kernel> {
        match text {
            "6.1" => Ok(Kernel::Debian61),
            "6.12" => Ok(Kernel::Debian612),
            path if path.contains('/') => Ok(Kernel::Unpacked(path.into())),
            other => Err(Error::invalid(
                format!("kernel {other}"),
                "use 6.1, 6.12 or the directory of an unpacked package",
            )),
        }
    }
}

/// A kernel ready to boot.
#[derive(Debug)]
pub struct KernelFiles {
    /// What `uname -r` says in the guest.
    pub release: String,
    /// The bootable image.
    pub image: PathBuf,
    /// The selected modules, `NAME.ko`, not compressed, with `modules.dep` and `modules.alias`.
    pub modules: PathBuf,
    /// The modules that the initramfs loads, in this order.
    pub for_boot: Vec<String>,
}

impl KernelFiles {
    fn open(directory: &Path) -> Result<KernelFiles> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).on("read", path)
        };
        Ok(KernelFiles {
            release: read("release")?.trim().to_owned(),
            image: directory.join("vmlinuz"),
            modules: directory.join("modules"),
            for_boot: read("for-boot")?.lines().map(str::to_owned).collect(),
        })
    }
}

/// Debian's name of this machine's architecture.
fn debian_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn download(kernel: &Kernel, into: &Path) -> Result<()> {
    eprintln!("corten-vm: fetching Debian's kernel {kernel}");
    let work = tempfile::tempdir().on("create a directory in", std::env::temp_dir())?;
    let apt = Apt::for_suite(&work.path().join("apt"), kernel.suite())?;
    let package = apt.kernel_behind(&format!("linux-image-cloud-{}", debian_architecture()))?;
    let unpacked = work.path().join("root");
    apt.unpack(&package, &unpacked)?;
    collect(&unpacked, into)
}

/// Takes what the VM needs out of an unpacked package.
fn collect(package: &Path, into: &Path) -> Result<()> {
    let lacks = |why: &str| Error::Kernel {
        kernel: package.display().to_string(),
        why: format!("{why}; it should be an unpacked linux-image package"),
    };
    let tree = ["usr/lib/modules", "lib/modules"]
        .iter()
        .find_map(|path| only_entry(&package.join(path)))
        .ok_or_else(|| lacks("there is no lib/modules/RELEASE"))?;
    let release = tree.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let image = package.join(format!("boot/vmlinuz-{release}"));
    let target = into.join("vmlinuz");
    fs::copy(&image, &target).on("copy", &image)?;

    let modules = into.join("modules");
    fs::create_dir(&modules).on("create", &modules)?;
    let index = select(&tree, &modules)?;
    let builtin = fs::read_to_string(tree.join("modules.builtin")).unwrap_or_default();
    let builtin: BTreeSet<String> = builtin
        .lines()
        .map(|line| module::name_of(line.rsplit('/').next().unwrap_or(line)))
        .collect();
    for name in module::FOR_BOOT {
        if !index.0.contains_key(*name) && !builtin.contains(*name) {
            return Err(lacks(&format!("it has no module {name}")));
        }
    }
    let mut for_boot = index.load_order(module::FOR_BOOT).join("\n");
    for_boot.push('\n');
    for (name, text) in [
        ("modules/modules.dep", index.modules_dep()),
        ("modules/modules.alias", index.modules_alias()),
        ("for-boot", for_boot),
        ("release", release),
    ] {
        let path = into.join(name);
        fs::write(&path, text).on("write", path)?;
    }
    Ok(())
}

/// Copies the modules that the VM may need, and what they depend on, into `into`.
fn select(tree: &Path, into: &Path) -> Result<ModuleIndex> {
    let mut files = BTreeMap::new();
    find_modules(tree, &mut files)?;
    let mut index = BTreeMap::new();
    let mut open: Vec<String> = module::wanted().into_iter().map(str::to_owned).collect();
    while let Some(name) = open.pop() {
        let Some(file) = files.get(&name) else { continue };
        if index.contains_key(&name) {
            continue;
        }
        let content = decompressed(file)?;
        let path = into.join(format!("{name}.ko"));
        fs::write(&path, &content).on("write", path)?;
        let info = ModInfo::parse(&content);
        open.extend(info.depends.iter().chain(&info.wants).cloned());
        index.insert(name, info);
    }
    Ok(ModuleIndex(index))
}

fn find_modules(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).on("list", directory)? {
        let entry = entry.on("list", directory)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().on("stat", &path)?.is_dir() {
            find_modules(&path, files)?;
        } else if name.contains(".ko") {
            files.insert(module::name_of(&name), path);
        }
    }
    Ok(())
}

/// A module's content. Newer Debian packages compress modules with xz, which busybox reads, so the
/// kernel's own decompressor and its cost under emulation are avoided.
fn decompressed(file: &Path) -> Result<Vec<u8>> {
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    let applet = match &*extension {
        "ko" => return fs::read(file).on("read", file),
        "xz" => "xzcat",
        "gz" => "zcat",
        other => {
            return Err(Error::invalid(
                file.display().to_string(),
                format!("a module compressed as .{other} can't be read: use a Debian kernel"),
            ));
        }
    };
    let output =
        Command::new("busybox").arg(applet).arg(file).output().on("run busybox for", file)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Program { program: format!("busybox {applet}"), message });
    }
    Ok(output.stdout)
}

fn only_entry(directory: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?;
    entries.next()?.ok().map(|entry| entry.path())
}
