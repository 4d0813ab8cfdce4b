//! The overlay mount, detached: a descriptor, nowhere in the file system.
//!
//! How overlay is told its layers has changed. Since Linux 6.7 each layer is one `lowerdir+` option
//! of fsconfig(2). Before that, all layers are one string, fsconfig(2) takes 255 bytes of it and
//! mount(2) a page. So on older kernels a thread with a mount namespace of its own gives each layer
//! a short name, a link in a tmpfs that nobody else sees, mounts with mount(2), and takes the mount
//! out of that namespace with open_tree(2).

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_namespaces::sys::{self, mount};
use corten_namespaces::{Context, Root};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::node::{self, Attributes};

/// The longest value that fsconfig(2) takes, without its NUL.
const LONGEST_VALUE: usize = 255;
/// Overlay takes no more layers than this (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;
const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;

/// Where overlay keeps its own xattrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverlayXattr {
    /// `trusted.overlay.*`: needs CAP_SYS_ADMIN in the initial user namespace.
    #[default]
    Trusted,
    /// `user.overlay.*`: mounts with `userxattr`, inside a user namespace.
    User,
}

impl OverlayXattr {
    /// The name of the xattr that makes a directory hide all that lies below it.
    pub fn opaque(self) -> &'static str {
        match self {
            OverlayXattr::Trusted => "trusted.overlay.opaque",
            OverlayXattr::User => "user.overlay.opaque",
        }
    }
}

/// The two directories that overlay needs for writing, on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// Takes all changes.
    pub upper: PathBuf,
    /// Overlay's own, for making changes atomic.
    pub work: PathBuf,
}

impl Writable {
    /// `dir/upper` and `dir/work`, made where they are missing. A new upper directory takes the
    /// owner, mode, times and xattrs of the topmost layer's root, because it becomes the root.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn prepare(dir: &Path, layers: &[PathBuf]) -> Result<Writable> {
        let writable = Writable { upper: dir.join("upper"), work: dir.join("work") };
        for (path, is_upper) in [(&writable.work, false), (&writable.upper, true)] {
            match nix::unistd::mkdir(path.as_path(), Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(errno).on("mkdir", path).map_err(Error::from),
            }
            if let (true, Some(top)) = (is_upper, layers.first()) {
                let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
                let top = Root::open(top)?.open_at("/", flags, Mode::empty())?;
                let fd = Root::open(path)?.open_at("/", flags, Mode::empty())?;
                let attributes = Attributes::of_directory(top.as_fd()).on("stat", path)?;
                node::dress_open(fd.as_fd(), &attributes).on("set the attributes of", path)?;
            }
        }
        Ok(writable)
    }
}

/// An overlay mount to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The layers, topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Where changes go; the tree is read-only without it.
    pub writable: Option<Writable>,
    /// Which xattrs mark opaque directories.
    pub xattr: OverlayXattr,
    /// What copying up leaves out.
    pub copyup: Copyup,
}

// ANCHOR: copyup
/// What overlay may leave out when it copies a file or directory of a layer to the upper directory.
///
/// Both rest on xattrs by which the upper directory refers to the layers. A layer of a stranger could
/// bring such xattrs itself and refer to whatever it likes; that is why the archive's reader leaves
/// out all that overlay would believe.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copyup {
    /// A directory of a layer can be renamed; without, rename(2) answers `EXDEV`.
    pub redirect: bool,
    /// chmod and chown of a file of a layer do not copy its content.
    pub metadata_only: bool,
}
// ANCHOR_END: copyup

impl Copyup {
    /// All that this kernel's overlay knows. A module that is not loaded yet is of Linux 5.15 or
    /// later and knows both.
    pub fn of_kernel() -> Copyup {
        let parameters = Path::new("/sys/module/overlay/parameters");
        let knows = |name: &str| !parameters.exists() || parameters.join(name).exists();
        let redirect = knows("redirect_dir");
        Copyup { redirect, metadata_only: redirect && knows("metacopy") }
    }
}

impl std::fmt::Display for Copyup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(f, "redirect_dir {}, metacopy {}", word(self.redirect), word(self.metadata_only))
    }
}

/// One step of telling the kernel what to mount, as data: it can be printed before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// `key=value`.
    Value(&'static str, PathOrWord),
    /// An option without a value.
    Flag(&'static str),
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathOrWord {
    /// A directory.
    Path(PathBuf),
    /// `on`, `off` and the like.
    Word(&'static str),
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Setting::Flag(key) => f.write_str(key),
            Setting::Value(key, PathOrWord::Word(word)) => write!(f, "{key}={word}"),
            Setting::Value(key, PathOrWord::Path(path)) => write!(f, "{key}={}", path.display()),
        }
    }
}

impl Overlay {
    /// The options of the mount, in the order in which the kernel gets them.
    pub fn plan(&self) -> Vec<Setting> {
        let path = |key, path: &PathBuf| Setting::Value(key, PathOrWord::Path(path.clone()));
        // What /proc/mounts shows in front; nothing depends on it.
        let mut plan = vec![Setting::Value("source", PathOrWord::Word("overlay"))];
        plan.extend(self.lower.iter().map(|lower| path("lowerdir+", lower)));
        if let Some(writable) = &self.writable {
            plan.push(path("upperdir", &writable.upper));
            plan.push(path("workdir", &writable.work));
        }
        plan.extend(self.switches());
        plan
    }

    fn switches(&self) -> Vec<Setting> {
        let mut switches = vec![
            // An index keeps hard links together across copy-up, but refuses an upper directory
            // whose layers have moved, as a restored backup's have.
            Setting::Value("index", PathOrWord::Word("off")),
            // Said in any case, because the kernel's defaults are the administrator's.
            Setting::Value("metacopy", PathOrWord::Word(on(self.copyup.metadata_only))),
        ];
        if self.xattr == OverlayXattr::User {
            // Redirects and metacopy need trusted xattrs; the kernel refuses them beside this.
            return vec![
                Setting::Value("index", PathOrWord::Word("off")),
                Setting::Flag("userxattr"),
            ];
        }
        let follow = if self.copyup.redirect { "on" } else { "nofollow" };
        switches.push(Setting::Value("redirect_dir", PathOrWord::Word(follow)));
        switches
    }

    /// Makes the detached mount.
    ///
    /// # Errors
    /// [`Error::Overlay`] with the kernel's reason; [`Error::Invalid`] for no layer or more than
    /// 500.
    pub fn mount(&self) -> Result<OwnedFd> {
        match self.mount_whole()? {
            Some(fd) => Ok(fd),
            None => match self.mount_by_options()? {
                Some(fd) => Ok(fd),
                None => self.mount_in_thread(),
            },
        }
    }

    /// What needs no overlay: one layer to look at.
    fn mount_whole(&self) -> Result<Option<OwnedFd>> {
        let invalid = |why: String| Error::Invalid { what: "overlay".into(), why };
        match (self.lower.as_slice(), &self.writable) {
            ([], _) => Err(invalid("an overlay needs at least one layer".into())),
            ([only], None) => {
                // Overlay refuses a single layer. It was unpacked as a bottom layer, without
                // whiteouts, so its directory is the tree.
                let root = Root::open(only)?;
                let fd = mount::clone_tree(root.as_fd().as_raw_fd(), c"", false)
                    .on("clone the mount of", only)?;
                mount::setattr(fd.as_raw_fd(), c"", false, READ_ONLY, 0, 0)
                    .on("make read-only", only)?;
                Ok(Some(fd))
            }
            (many, _) if many.len() > MAX_LAYERS => {
                Err(invalid(format!("{} layers; overlay takes {MAX_LAYERS}", many.len())))
            }
            _ => Ok(None),
        }
    }

    /// The way of Linux 6.7 and later. `None` where this kernel does not know `lowerdir+`.
    fn mount_by_options(&self) -> Result<Option<OwnedFd>> {
        let context = mount::fsopen(c"overlay").map_err(|errno| refused("fsopen", errno, None))?;
        let context = context.as_fd();
        if !knows_single_layers(context) {
            return Ok(None);
        }
        let said = |step: String, errno| refused(step, errno, kernel_says(context));
        for setting in self.plan() {
            set(context, &setting).map_err(|errno| said(setting.to_string(), errno))?;
        }
        mount::create(context).map_err(|errno| said("create".into(), errno))?;
        let attributes = if self.writable.is_none() { READ_ONLY } else { 0 };
        mount::fsmount(context, attributes).map(Some).map_err(|errno| said("fsmount".into(), errno))
    }

    /// The way of older kernels, which works on all.
    ///
    /// # Errors
    /// As [`Overlay::mount`].
    pub fn mount_in_thread(&self) -> Result<OwnedFd> {
        // The thread goes elsewhere, and a relative path would go with it.
        let overlay = self.absolute()?;
        // A thread, because the mount namespace and the current directory are per thread once
        // unshared, and nothing has to be undone: both go with it.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("overlay".into());
            let thread = thread
                .spawn_scoped(scope, || overlay.mount_by_names())
                .map_err(node::errno)
                .during("start a thread")?;
            thread.join().unwrap_or_else(|_| Err(refused("thread", Errno::EIO, None)))
        })
    }

    /// The same with absolute paths.
    fn absolute(&self) -> Result<Overlay> {
        let absolute =
            |path: &PathBuf| std::path::absolute(path).map_err(node::errno).on("find", path);
        let writable = self.writable.as_ref().map(|Writable { upper, work }| {
            Ok::<_, Error>(Writable { upper: absolute(upper)?, work: absolute(work)? })
        });
        Ok(Overlay {
            lower: self.lower.iter().map(absolute).collect::<std::result::Result<_, _>>()?,
            writable: writable.transpose()?,
            ..self.clone()
        })
    }

    /// Wants absolute paths.
    fn mount_by_names(&self) -> Result<OwnedFd> {
        use libc::{CLONE_FS, CLONE_NEWNS};
        sys::unshare(CLONE_FS | CLONE_NEWNS).during("unshare the mount namespace")?;
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        nix::mount::mount(none, "/", none, private, none).on("make private", "/")?;
        // Never attached: its links are found through the current directory alone.
        let names = mount::fsopen(c"tmpfs").on("fsopen", "tmpfs")?;
        mount::create(names.as_fd()).on("create", "tmpfs")?;
        let names = mount::fsmount(names.as_fd(), 0).on("fsmount", "tmpfs")?;
        nix::unistd::fchdir(&names).on("chdir", "tmpfs")?;
        let link = |path: &Path, name: &str| {
            // Opened only to say which one is missing; mount(2) would not.
            Root::open(path)?;
            nix::unistd::symlinkat(path, &names, name).on("link", path).map_err(Error::from)
        };
        let mut lower = Vec::new();
        for (at, path) in self.lower.iter().enumerate() {
            let name = at.to_string();
            link(path, &name)?;
            lower.push(name);
        }
        let mut data = format!("lowerdir={}", lower.join(":"));
        if let Some(writable) = &self.writable {
            link(&writable.upper, "u")?;
            link(&writable.work, "w")?;
            data.push_str(",upperdir=u,workdir=w");
        }
        for switch in self.switches() {
            data.push_str(&format!(",{switch}"));
        }
        // Any directory will do as the place; this one is there.
        let place = &self.lower[0];
        let flags = if self.writable.is_none() { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        nix::mount::mount(Some("overlay"), place, Some("overlay"), flags, Some(data.as_str()))
            .map_err(|errno| {
                refused(format!("mount(2) with {data}"), errno, Some("see dmesg".into()))
            })?;
        let c_place = c_string(place.as_os_str()).on("find", place)?;
        let tree =
            mount::clone_tree(libc::AT_FDCWD, &c_place, false).on("clone the mount of", place)?;
        // The namespace would take it away as well; a copy of it in the meantime would not.
        let _ = nix::mount::umount2(place, MntFlags::MNT_DETACH);
        Ok(tree)
    }
}

fn on(yes: bool) -> &'static str {
    if yes { "on" } else { "off" }
}

/// Whether this kernel knows `lowerdir+`, asked by giving it without its value. 6.7 and later miss
/// the value; 6.5 and 6.6 do not know the option; older ones collect any words for mount(2) and find
/// fault with them only at the end, in the kernel's log.
fn knows_single_layers(context: BorrowedFd<'_>) -> bool {
    match mount::set_flag(context, c"lowerdir+") {
        Ok(()) => false,
        Err(_) => kernel_says(context).is_none_or(|said| !said.contains("Unknown parameter")),
    }
}

fn set(context: BorrowedFd<'_>, setting: &Setting) -> nix::Result<()> {
    match setting {
        Setting::Flag(key) => mount::set_flag(context, &c_string(OsStr::new(key))?),
        Setting::Value(key, PathOrWord::Word(word)) => {
            mount::set_string(context, &c_string(OsStr::new(key))?, &c_string(OsStr::new(word))?)
        }
        Setting::Value(key, PathOrWord::Path(path)) => set_path(context, key, path),
    }
}

fn set_path(context: BorrowedFd<'_>, key: &str, path: &Path) -> nix::Result<()> {
    let key = c_string(OsStr::new(key))?;
    // What does not fit is named by a descriptor; so is what has a backslash, because upperdir and
    // workdir are unescaped, as the old list of layers is, and lowerdir+ is not.
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() <= LONGEST_VALUE && !bytes.contains(&b'\\') {
        return mount::set_string(context, &key, &c_string(path.as_os_str())?);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = nix::fcntl::open(path, flags, Mode::empty())?;
    let short = format!("/proc/thread-self/fd/{}", dir.as_raw_fd());
    mount::set_string(context, &key, &c_string(OsStr::new(&short))?)
}

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

fn refused(step: impl Into<String>, errno: Errno, kernel: Option<String>) -> Error {
    let kernel = kernel
        .or_else(|| corten_namespaces::error::remedy("mount overlay", errno).map(str::to_owned));
    Error::Overlay { step: step.into(), errno, kernel }
}

/// The messages that wait in a file system context: `e overlay: …` for errors, one per read.
fn kernel_says(context: BorrowedFd<'_>) -> Option<String> {
    let mut file = File::from(context.try_clone_to_owned().ok()?);
    let mut said = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(length) = file.read(&mut buffer) {
        if length == 0 {
            break;
        }
        let line = String::from_utf8_lossy(&buffer[..length]);
        // The level in front: e, w or i.
        said.push(line.trim_end().get(2..).unwrap_or_default().to_owned());
    }
    (!said.is_empty()).then(|| said.join("; "))
}
