//! The guest's disks: the root file system as an ext4 image, and the initramfs that mounts it.
//!
//! The root file system is busybox, the given files with the shared libraries that they need, and
//! a few files in /etc. mke2fs(8) writes it straight from a directory, without root and without a
//! mount, in some ten milliseconds. QEMU opens the image with `snapshot=on`: the guest can write,
//! and nothing of it is kept, so one cached image serves every boot.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::apt::run;
use crate::cache;
use crate::error::{Context, Error, Result};
use crate::kernel::KernelFiles;

/// Free space of the root disk; its file is sparse, so only what is written counts.
const FREE: u64 = 4 << 30;

/// A journal, though nobody recovers this disk: without one ext4 does not give the number of a
/// deleted inode away for a minute, and looks at each such inode for each new file
/// (`recently_deleted` in fs/ext4/ialloc.c). Tests that make and remove thousands of files take two
/// and a half times as long then. Checksums nobody needs.
const ROOT_OPTIONS: [&str; 4] = ["-O", "^metadata_csum", "-J", "size=16"];

/// Where the binaries under test are found by name; first in the guest's PATH.
pub const BIN: &str = "/corten/bin";

const INIT: &str = include_str!("../guest/init.sh");
const STAGE1: &str = include_str!("../guest/stage1.sh");

/// One file of the guest.
#[derive(Debug, Clone)]
enum Content {
    Host(PathBuf),
    Text(String, u32),
    Link(String),
    Directory(u32),
}

/// The guest's root file system, as a list.
#[derive(Debug, Clone, Default)]
pub struct RootImage {
    files: BTreeMap<PathBuf, Content>,
    /// Programs of the host whose libraries must come along.
    programs: Vec<PathBuf>,
}

impl RootImage {
    /// A root file system with busybox and what a Linux system has in /etc.
    ///
    /// # Errors
    /// Where busybox is missing or not static.
    pub fn with_busybox() -> Result<RootImage> {
        let mut image = RootImage::default();
        for (guest, mode) in [
            ("/dev", 0o755),
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/run", 0o755),
            ("/tmp", 0o1777),
            ("/var/tmp", 0o1777),
            ("/root", 0o700),
            ("/home/student", 0o755),
            ("/mnt", 0o755),
            (BIN, 0o755),
        ] {
            image.files.insert(guest.into(), Content::Directory(mode));
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            image.link(&format!("usr/{name}"), format!("/{name}"));
            image.files.insert(format!("/usr/{name}").into(), Content::Directory(0o755));
        }
        for (guest, text) in ETC {
            image.text(*guest, *text, 0o644);
        }
        image.text("/sbin/init", INIT, 0o755);
        image.busybox("")?;
        // A second system to try chapter 1's commands on.
        image.busybox("/rootfs")?;
        for name in ["proc", "sys", "dev", "tmp", "root", "etc", "run", "mnt"] {
            image.files.insert(format!("/rootfs/{name}").into(), Content::Directory(0o755));
        }
        image.text("/rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644);
        image.text("/rootfs/etc/group", "root:x:0:\n", 0o644);
        Ok(image)
    }

    /// Busybox with a link for each of its commands, in `prefix`/bin.
    fn busybox(&mut self, prefix: &str) -> Result<()> {
        let busybox = static_busybox()?;
        for applet in run(Command::new(&busybox).arg("--list"))?.lines() {
            if applet != "busybox" {
                self.link("busybox", format!("{prefix}/bin/{applet}"));
            }
        }
        // The kernel asks for modules by this name.
        if prefix.is_empty() {
            self.link("../bin/busybox", "/sbin/modprobe");
        }
        self.files.insert(normal(format!("{prefix}/bin/busybox")), Content::Host(busybox));
        Ok(())
    }

    /// Puts a file or a whole directory of the host at `guest`.
    ///
    /// # Errors
    /// Where it is missing, or neither of the two.
    pub fn file(&mut self, host: &Path, guest: impl AsRef<Path>) -> Result<()> {
        let host = host.canonicalize().on("find", host)?;
        let guest = normal(guest);
        let metadata = fs::metadata(&host).on("stat", &host)?;
        if metadata.is_file() {
            self.files.insert(guest, Content::Host(host));
            return Ok(());
        }
        if !metadata.is_dir() {
            let what = host.display().to_string();
            return Err(Error::invalid(what, "only files and directories go into the VM"));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        self.files.insert(guest.clone(), Content::Directory(mode));
        for entry in fs::read_dir(&host).on("list", &host)? {
            let entry = entry.on("list", &host)?;
            let path = entry.path();
            let inside = guest.join(entry.file_name());
            if entry.file_type().on("stat", &path)?.is_symlink() {
                let target = fs::read_link(&path).on("read the link", &path)?;
                self.files.insert(inside, Content::Link(target.to_string_lossy().into_owned()));
            } else {
                self.file(&path, inside)?;
            }
        }
        Ok(())
    }

    /// Puts a program of the host at the same path in the guest, with the libraries it needs.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn program(&mut self, host: &Path) -> Result<()> {
        let path = std::path::absolute(host).on("find", host)?;
        self.file(&path, &path)?;
        self.programs.push(path);
        Ok(())
    }

    /// Puts a program that was built here at the same path in the guest, and its name into PATH.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn binary(&mut self, host: &Path) -> Result<()> {
        self.program(host)?;
        let path = std::path::absolute(host).on("find", host)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.link(&path.display().to_string(), format!("{BIN}/{name}"));
        Ok(())
    }

    /// Puts a file with this text at `guest`.
    pub fn text(&mut self, guest: impl AsRef<Path>, text: impl Into<String>, mode: u32) {
        self.files.insert(normal(guest), Content::Text(text.into(), mode));
    }

    fn link(&mut self, target: &str, guest: impl AsRef<Path>) {
        // A program of the host goes before busybox's command of the same name.
        self.files.entry(normal(guest)).or_insert_with(|| Content::Link(target.to_owned()));
    }

    /// The ext4 image of this root file system for one kernel, from the cache where it is there.
    ///
    /// # Errors
    /// Where a library is missing, or mke2fs fails.
    pub fn build(&self, kernel: &KernelFiles) -> Result<PathBuf> {
        let mut all = self.clone();
        for library in libraries(&self.programs)? {
            // Under the name by which it is asked for, which mostly is a link.
            all.file(&library, &library)?;
        }
        all.file(&kernel.modules, format!("/lib/modules/{}", kernel.release))?;
        let (key, size) = all.key()?;
        cache::image(&key, |path| {
            let parent = path.parent().unwrap_or(path);
            let stage = tempfile::tempdir_in(parent).on("create a directory in", parent)?;
            all.stage(stage.path())?;
            mke2fs(path, size + FREE, &ROOT_OPTIONS, Some(stage.path()))
        })
    }

    /// A digest over everything that is in the image, and its size.
    fn key(&self) -> Result<(String, u64)> {
        let mut digest = Sha256::new();
        digest.update(format!("{ROOT_OPTIONS:?}"));
        let mut size = 0;
        for (guest, content) in &self.files {
            digest.update(guest.as_os_str().as_encoded_bytes());
            match content {
                Content::Host(path) => {
                    let mut file = File::open(path).on("open", path)?;
                    let metadata = file.metadata().on("stat", path)?;
                    digest.update(format!("\0file {:o} ", metadata.permissions().mode()));
                    let mut block = vec![0; 1 << 16];
                    loop {
                        let read = file.read(&mut block).on("read", path)?;
                        if read == 0 {
                            break;
                        }
                        digest.update(&block[..read]);
                        size += read as u64;
                    }
                }
                other => digest.update(format!("\0{other:?}")),
            }
            digest.update(b"\0");
        }
        Ok((cache::hex(&digest.finalize())[..32].to_owned(), size))
    }

    /// Lays the files out below `stage`. Where it can be, a file of the host is linked, not copied.
    fn stage(&self, stage: &Path) -> Result<()> {
        for (guest, content) in &self.files {
            let path = stage.join(guest.strip_prefix("/").unwrap_or(guest));
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).on("create", parent)?;
            }
            match content {
                Content::Host(host) => {
                    if fs::hard_link(host, &path).is_err() {
                        fs::copy(host, &path).on("copy", host)?;
                    }
                }
                Content::Text(text, mode) => {
                    fs::write(&path, text).on("write", &path)?;
                    set_mode(&path, *mode)?;
                }
                Content::Link(target) => symlink(target, &path).on("link", &path)?,
                Content::Directory(mode) => {
                    fs::create_dir_all(&path).on("create", &path)?;
                    set_mode(&path, *mode)?;
                }
            }
        }
        set_mode(stage, 0o755)
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).on("chmod", path)
}

/// `guest` as it is after the links /bin, /sbin, /lib and /lib64 into /usr.
fn normal(guest: impl AsRef<Path>) -> PathBuf {
    let guest = guest.as_ref();
    let mut parts = guest.components().filter(|part| !matches!(part, Component::RootDir));
    let merged = match parts.next() {
        Some(Component::Normal(first)) if guest.components().count() > 2 => {
            ["bin", "sbin", "lib", "lib64"].iter().any(|name| first == *name)
        }
        _ => false,
    };
    let base = if merged { Path::new("/usr") } else { Path::new("/") };
    base.join(guest.strip_prefix("/").unwrap_or(guest))
}

/// Makes an ext4 file system of `size` bytes in the file `path`.
pub(crate) fn mke2fs(path: &Path, size: u64, options: &[&str], tree: Option<&Path>) -> Result<()> {
    let mut command = Command::new("mke2fs");
    // An ordinary user's PATH has no sbin.
    command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command.args(["-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,root_owner=0:0"]);
    command.args(options);
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    run(command.arg(path).arg(format!("{}K", size.div_ceil(1024)))).map(drop)
}

/// The shared libraries that `programs` need, by ldd(1).
fn libraries(programs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if programs.is_empty() {
        return Ok(Vec::new());
    }
    // ldd also fails where one program is static or a script, which is no failure here.
    let output = Command::new("ldd").args(programs).output().on("run", "ldd")?;
    needed(&String::from_utf8_lossy(&output.stdout))
}

fn needed(ldd: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in ldd.lines().filter(|line| line.starts_with(char::is_whitespace)) {
        let line = line.trim();
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        let place = place.split(" (").next().unwrap_or(place);
        if place == "not found" {
            return Err(Error::Missing {
                program: name.to_owned(),
                remedy: "a program that goes into the VM needs this library".to_owned(),
            });
        }
        if place.starts_with('/') {
            libraries.push(PathBuf::from(place));
        }
    }
    Ok(libraries)
}

/// The host's busybox, where it needs no libraries: the initramfs has none.
pub(crate) fn static_busybox() -> Result<PathBuf> {
    let missing = || Error::Missing {
        program: "busybox".to_owned(),
        remedy: "apt-get install busybox-static".to_owned(),
    };
    let candidates = ["/usr/bin/busybox", "/bin/busybox"];
    let path = candidates.iter().map(Path::new).find(|path| path.exists()).ok_or_else(missing)?;
    if libraries(&[path.to_path_buf()])?.is_empty() { Ok(path.into()) } else { Err(missing()) }
}

/// The initramfs: busybox, the modules of the root disk's driver, and this boot's list of jobs, as
/// a cpio archive of the "newc" kind (the kernel's Documentation/driver-api/early-userspace).
///
/// # Errors
/// Where a file can't be read.
pub fn initramfs(kernel: &KernelFiles, jobs: &str) -> Result<Vec<u8>> {
    let mut cpio = Vec::new();
    for name in ["bin", "dev", "modules", "proc", "root"] {
        cpio_entry(&mut cpio, name, 0o040_755, b"");
    }
    let busybox = static_busybox()?;
    let content = fs::read(&busybox).on("read", &busybox)?;
    cpio_entry(&mut cpio, "bin/busybox", 0o100_755, &content);
    cpio_entry(&mut cpio, "bin/sh", 0o120_777, b"busybox");
    cpio_entry(&mut cpio, "init", 0o100_755, STAGE1.as_bytes());
    cpio_entry(&mut cpio, "jobs", 0o100_600, jobs.as_bytes());
    for (position, name) in kernel.for_boot.iter().enumerate() {
        let path = kernel.modules.join(format!("{name}.ko"));
        let content = fs::read(&path).on("read", &path)?;
        // The shell loads them in the order of their names.
        let name = format!("modules/{position:02}-{name}.ko");
        cpio_entry(&mut cpio, &name, 0o100_644, &content);
    }
    cpio_entry(&mut cpio, "TRAILER!!!", 0, b"");
    Ok(cpio)
}

fn cpio_entry(cpio: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    let pad = |cpio: &mut Vec<u8>| cpio.resize(cpio.len().next_multiple_of(4), 0);
    // An inode's number only matters for hard links, which there are none of.
    let fields = [0, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    cpio.extend_from_slice(b"070701");
    for field in fields {
        cpio.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    cpio.extend_from_slice(name.as_bytes());
    cpio.push(0);
    pad(cpio);
    cpio.extend_from_slice(content);
    pad(cpio);
}

const ETC: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1000::/home/student:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\ntty:x:5:\nstudent:x:1000:\nnogroup:x:65534:\n"),
    ("/etc/subuid", "root:100000:65536\nstudent:200000:65536\n"),
    ("/etc/subgid", "root:100000:65536\nstudent:200000:65536\n"),
    ("/etc/hostname", "lab\n"),
    ("/etc/hosts", "127.0.0.1 localhost lab\n::1 localhost\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("/etc/os-release", "ID=corten-lab\nNAME=\"Corten lab VM\"\nPRETTY_NAME=\"Corten lab VM\"\n"),
    // As systemd sets it: loading a module makes no link that nobody has asked for.
    ("/etc/modprobe.d/lab.conf", "options dummy numdummies=0\noptions ifb numifbs=0\n"),
    ("/etc/profile", "PS1='lab# '\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_read_from_ldd() {
        let ldd = "/a/b:\n\tlinux-vdso.so.1 (0x00)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x01)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x02)\n/a/c:\n\tstatically linked\n";
        let found = needed(ldd).unwrap();
        assert_eq!(
            found,
            [Path::new("/lib/x/libc.so.6"), Path::new("/lib64/ld-linux-x86-64.so.2")]
        );
        assert!(needed("/a:\n\tlibx.so => not found\n").is_err());
    }

    #[test]
    fn paths_go_through_the_links_into_usr() {
        assert_eq!(normal("/lib64/ld.so"), Path::new("/usr/lib64/ld.so"));
        assert_eq!(normal("/bin"), Path::new("/bin"));
        assert_eq!(normal("/library/x"), Path::new("/library/x"));
        assert_eq!(normal("/usr/bin/x"), Path::new("/usr/bin/x"));
    }

    #[test]
    fn a_cpio_entry_is_padded_to_four_bytes() {
        let mut cpio = Vec::new();
        cpio_entry(&mut cpio, "init", 0o100_755, b"12345");
        assert_eq!(cpio.len() % 4, 0);
        assert_eq!(&cpio[..14], b"07070100000000");
        assert_eq!(&cpio[54..62], b"00000005");
    }

    #[test]
    fn the_key_changes_with_the_content() {
        let mut image = RootImage::default();
        image.text("/a", "1", 0o644);
        let first = image.key().unwrap().0;
        image.text("/a", "2", 0o644);
        assert_ne!(first, image.key().unwrap().0);
    }
}
