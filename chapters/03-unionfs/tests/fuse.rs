//! fuse-overlayfs: the program that serves a mount, what it leaves, and what is said when it fails.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use corten_namespaces::Root;
use corten_unionfs::diff::Listing;
use corten_unionfs::fixture::{fuse_programs, open_files, tree};
use corten_unionfs::{CopyDriver, Driver, FuseDriver, LayerStore, driver, fixture};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mknod};

/// Two layers and a container's directory.
fn scene(dir: &Path) -> (Vec<PathBuf>, PathBuf) {
    for name in ["top", "bottom/d", "container"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("bottom/file"), "below").unwrap();
    fs::write(dir.join("bottom/d/file"), "below").unwrap();
    (vec![dir.join("top"), dir.join("bottom")], dir.join("container"))
}

#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[corten_tier::t1]
fn the_program_ends_with_the_mount_and_holds_nothing_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (layers, container) = scene(dir.path());
    // None of these is the program's business; dup(2) makes one as a shell may have left it, without
    // close-on-exec.
    let (reader, _writer) = std::io::pipe().unwrap();
    let _inherited = nix::unistd::dup(&reader).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let _file = fs::File::create(dir.path().join("file")).unwrap();
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let programs = fuse_programs(dir.path());
    let [program] = &programs[..] else { panic!("{programs:?}") };
    let open = open_files(program);
    let own = [&layers[0], &layers[1], &container.join("upper"), &container.join("work/work")];
    for path in &open {
        let of_system = ["/dev/null", "/dev/fuse"].iter().any(|own| path == Path::new(own));
        // A pipe of its own has both ends there.
        let pipe = path.to_str().unwrap().starts_with("pipe:");
        let twice = open.iter().filter(|other| *other == path).count() == 2;
        assert!(of_system || own.contains(&path) || pipe && twice, "{path:?} is open: {open:?}");
    }
    let stat = fs::read_to_string(program.join("stat")).unwrap();
    let numbers: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_ne!(numbers[1], std::process::id().to_string(), "it is our child");
    assert_eq!(numbers[3], program.file_name().unwrap(), "it has no session of its own");
    let environment = fs::read_to_string(program.join("environ")).unwrap();
    assert!(
        environment.split('\0').all(|v| v.is_empty() || v.starts_with("PATH=")),
        "{environment}"
    );
    // A copy of the mount keeps it; the last one ends it.
    let copy = mount.try_clone().unwrap();
    drop(mount);
    assert_eq!(fs::read(tree::of_mount(&copy).join("file")).unwrap(), b"below");
    drop(copy);
    wait_for("the program has ended", || fuse_programs(dir.path()).is_empty());
}

/// What `corten-unionfs explain` says of the driver, where `PATH` leads to a program of ours.
fn said_of(dir: &Path, program: Option<&str>) -> String {
    let path = dir.join("bin");
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap();
    if let Some(script) = program {
        // By another process, as corten_tier::copy_program says.
        let file = path.join("fuse-overlayfs");
        fs::write(path.join("text"), script).unwrap();
        corten_tier::copy_program(path.join("text"), &file);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten-unionfs"));
    let said = lab::run(command.args(["explain", "--dir"]).arg(dir).env("PATH", &path));
    said.lines().find(|line| line.contains("fuse-overlayfs: ")).unwrap().trim().to_owned()
}

#[corten_tier::t1]
fn what_is_missing_is_said_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let start = "fuse-overlayfs: no: mount by FUSE (start fuse-overlayfs): it";
    let missing = said_of(dir.path(), None);
    assert_eq!(missing, format!("{start} is not installed: apt-get install fuse-overlayfs"));
    let failing = "#!/bin/sh\necho 'unknown argument ignored: lazytime' >&2; echo no >&2\nexit 3\n";
    assert_eq!(said_of(dir.path(), Some(failing)), format!("{start} ended with 3: no"));
    let killed = said_of(dir.path(), Some("#!/bin/sh\nkill -9 $$\n"));
    assert_eq!(killed, format!("{start} was ended by signal 9: it said nothing"));
    // Without the device: another /dev, for this program alone.
    let program = env!("CARGO_BIN_EXE_corten-unionfs");
    let script =
        format!("mount -t tmpfs none /dev && {program} explain --dir {}", dir.path().display());
    let said = lab::run(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
    assert!(
        said.contains("no: mount by FUSE (open /dev/fuse): no /dev/fuse: modprobe fuse"),
        "{said}"
    );
    // And one that the real program refuses.
    let (_, container) = scene(dir.path());
    fs::write(dir.path().join("no-directory"), "").unwrap();
    let layers = [dir.path().join("top"), dir.path().join("no-directory")];
    let error = FuseDriver.mount(&layers, Some(&container)).unwrap_err().to_string();
    assert!(error.contains("it ended with 1: ") && error.contains("Not a directory"), "{error}");
    assert!(fuse_programs(dir.path()).is_empty());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("fuse-overlayfs"), "{mounts}");
}

#[corten_tier::t1]
fn on_an_overlay_it_is_chosen_and_makes_the_same_tree() {
    let scratch = lab::Scratch::overlay();
    let dir = scratch.on_overlay();
    let (chosen, probes) = driver::choose(&dir).unwrap();
    assert_eq!(chosen.name(), "fuse-overlayfs", "{probes:#?}");
    assert_eq!(probes.last().unwrap().to_string(), "fuse-overlayfs: works (FUSE on overlay)");
    let layers = fixture::image_of_everything();
    let expected = lab::merged(Box::new(CopyDriver), &scratch.path().join("copy"), &layers);
    let tree = lab::merged(chosen, &dir.join("layers"), &layers);
    tree::assert_equal(&tree::without_links(tree), &tree::without_links(expected.clone()));
    // Copies have to mark deletions there, too, before they carry them out.
    let copied = lab::merged(Box::new(CopyDriver), &dir.join("copied"), &layers);
    tree::assert_equal(&copied, &expected);
    // What is deleted there is marked by a file, and told.
    let (layers, container) = scene(&dir);
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    fs::remove_file(tree::of_mount(&mount).join("file")).unwrap();
    assert!(container.join("upper/.wh.file").exists());
    let mut listing = Listing::default();
    FuseDriver.diff(&layers, &container, &mut listing).unwrap();
    assert!(listing.lines.contains(&('D', "/file".into())), "{listing:?}");
}

#[corten_tier::t1]
fn in_a_user_namespace_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_corten-unionfs");
    let args = ["--user", "--map-root-user", "--mount", program, "explain", "--dir"];
    let said = lab::run(Command::new("unshare").args(args).arg(dir.path()));
    assert!(said.contains("fuse-overlayfs: works (FUSE on "), "{said}");
}

#[corten_tier::t1]
fn five_hundred_layers() {
    let dir = tempfile::tempdir().unwrap();
    // As long as the store's names are.
    let layers: Vec<_> = (0..500).map(|at| dir.path().join(format!("{at:064}/diff"))).collect();
    for (at, layer) in layers.iter().enumerate() {
        fs::create_dir_all(layer).unwrap();
        fs::write(layer.join(format!("file{at}")), "").unwrap();
    }
    let mount = FuseDriver.mount(&layers, None).unwrap();
    assert_eq!(fs::read_dir(tree::of_mount(&mount)).unwrap().count(), 500);
}

#[corten_tier::t1]
fn a_killed_program_is_said_and_what_was_written_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (layers, container) = scene(dir.path());
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    fs::write(at.join("new"), "written").unwrap();
    fs::remove_file(at.join("file")).unwrap();
    let program = fuse_programs(dir.path()).remove(0);
    let pid = program.file_name().unwrap().to_str().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    wait_for("the program has ended", || fuse_programs(dir.path()).is_empty());
    let root = Root::from_fd(mount, "the tree");
    let error = root.open_at("new", OFlag::O_RDONLY, Mode::empty()).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOTCONN));
    let said = error.to_string();
    assert!(said.contains("(FUSE) has ended") && said.contains("mount it again"), "{said}");
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    assert_eq!(fs::read_to_string(at.join("new")).unwrap(), "written");
    assert!(!at.join("file").exists());
}

/// Its upper directory has marks of several kinds, also where nothing is below; a layer has one kind.
#[corten_tier::t1]
fn what_was_built_on_it_becomes_a_layer_by_unpacking() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open_with(dir.path().join("layers"), Box::new(FuseDriver)).unwrap();
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let lowers = store.lowers(None).unwrap();
    let mount = store.build_driver().mount(&lowers, Some(&container)).unwrap();
    fs::create_dir(tree::of_mount(&mount).join("d")).unwrap();
    drop(mount);
    assert!(container.join("upper/d/.wh..wh..opq").exists());
    let (layer, packed) = store.pack(None, &container, Vec::new()).unwrap();
    assert!(store.adopt(None, &container, &packed).unwrap().is_none());
    let top = lab::unpack(&store, &[layer]);
    assert_eq!(fs::read_dir(store.diff(&top).join("d")).unwrap().count(), 0);
}

/// Both kinds of marks in one upper directory, and what is only the program's book-keeping.
#[corten_tier::t1]
fn all_that_it_writes_into_an_upper_directory_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let (layers, container) = scene(dir.path());
    fs::write(layers[1].join("other"), "below").unwrap();
    let upper = container.join("upper");
    drop(FuseDriver.mount(&layers, Some(&container)).unwrap());
    let device = |name: &str| mknod(&upper.join(name), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    fs::write(upper.join(".wh.file"), "").unwrap();
    device("other");
    fs::create_dir(upper.join("d")).unwrap();
    fs::write(upper.join("d/.wh..wh..opq"), "").unwrap();
    device("d/.wh..opq");
    fs::write(upper.join("d/new"), "").unwrap();
    for name in ["user.fuseoverlayfs.origin", "user.containers.x", "user.overlay.x", "user.kept"] {
        xattr::set(upper.join("d/new"), name, b"x").unwrap();
    }
    let mut listing = Listing::default();
    FuseDriver.diff(&layers, &container, &mut listing).unwrap();
    let lines: Vec<_> =
        listing.lines.iter().map(|(l, path)| format!("{l} {}", path.display())).collect();
    // The root has a new time.
    assert_eq!(lines, ["C /", "C /d", "A /d/new", "D /file", "D /other"]);
    let mut layer = corten_unionfs::diff::LayerWriter::new(Vec::new());
    FuseDriver.diff(&layers, &container, &mut layer).unwrap();
    let packed = layer.finish().unwrap().0;
    let text = String::from_utf8_lossy(&packed);
    assert!(text.contains("SCHILY.xattr.user.kept"));
    for own in ["fuseoverlayfs", "user.containers", "user.overlay", "d/.wh..opq"] {
        assert!(!text.contains(own), "{own} is in the layer");
    }
    // Nobody in the tree can make a mark.
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let error = fs::write(tree::of_mount(&mount).join(".wh.d"), "").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

/// In a layer with hard links it would put the change under another name, and not find it again.
#[corten_tier::t1]
fn what_is_written_to_a_file_with_several_names_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LayerStore::open_with(dir.path().join("layers"), Box::new(FuseDriver)).unwrap();
    let layer = fixture::LayerBuilder::new().file("a", 0o640, "old").hard_link("b", "a");
    let layer = layer.symlink("l", "a").hard_link("m", "l").hard_link("a", "a").build();
    let layers = store.lower_dirs(&lab::unpack(&store, &[layer])).unwrap();
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    assert_eq!(fs::read(at.join("b")).unwrap(), b"old");
    assert_eq!(fs::metadata(at.join("b")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(at.join("m")).unwrap(), Path::new("a"));
    fs::write(at.join("b"), "new").unwrap();
    drop(mount);
    let mount = FuseDriver.mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    let read = |name: &str| fs::read_to_string(at.join(name)).unwrap();
    assert_eq!((read("a"), read("b")), ("old".to_owned(), "new".to_owned()));
    let mut listing = Listing::default();
    FuseDriver.diff(&layers, &container, &mut listing).unwrap();
    assert!(listing.lines.contains(&('C', "/b".into())), "{listing:?}");
    assert!(!listing.lines.contains(&('C', "/a".into())), "{listing:?}");

    // A small layer must not become a large tree.
    store.limits = corten_unionfs::Limits { max_bytes: 1 << 20, ..Default::default() };
    let mut bomb = fixture::LayerBuilder::new().file("0", 0o644, vec![1; 200 << 10]);
    for at in 1..10 {
        bomb = bomb.hard_link(at.to_string(), "0");
    }
    let bomb = bomb.build();
    let diff_id = fixture::digest(&bomb).parse().unwrap();
    let error = store.ensure(None, &diff_id, corten_unionfs::Compression::None, &bomb[..]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("more than 1048576 bytes"), "{error}");
}
