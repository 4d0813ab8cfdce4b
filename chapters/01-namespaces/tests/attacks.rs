//! Attacks on a container. Each is run twice: against the plan as it is, where it must fail, and
//! against one from which the defence has been taken, where it must succeed: or the first proves
//! nothing. A plan is data, so taking a step out is one line.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs::{self, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use corten_namespaces::capability::CapabilitySet;
use corten_namespaces::config::User;
use corten_namespaces::idmap::{IdMap, Range};
use corten_namespaces::mount::Mount;
use corten_namespaces::plan::Step;
use corten_namespaces::{Config, Exit, Namespace, Plan, Root};
use lab::pty::Pty;
use lab::trace::mounts;
use lab::{Lab, ROLE, attack, capture, own_program, rootfs, share_mounts};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

fn whole(_: &mut Plan) {}

fn without(wanted: impl Fn(&Step) -> bool) -> impl Fn(&mut Plan) {
    move |plan| {
        let before = plan.steps.len();
        plan.steps.retain(|step| !wanted(step));
        assert!(plan.steps.len() < before, "the plan has no such step");
    }
}

/// What the attacks run inside a container that a shell cannot do. As a test of its own it does
/// nothing.
#[test]
fn attacker() {
    match std::env::var(ROLE).as_deref() {
        Ok("chroot") => println!("{:?}", second_chroot()),
        Ok("tiocsti") => {
            let typed = b"echo injected\n".iter().try_for_each(|b| lab::sys::type_into_stdin(*b));
            println!("typed: {typed:?}");
        }
        Ok("secret") => lab::show_secret(),
        Ok("terminal, real") => tiocsti_from_container(whole),
        Ok("terminal, weak") => {
            tiocsti_from_container(without(|step| matches!(step, Step::Session)));
        }
        _ => {}
    }
}

/// chroot(2) moves the root and not the working directory, which is then outside of it; and `..`
/// stops only at the root. So root inside needs but one chroot more to be free.
fn second_chroot() -> std::io::Result<String> {
    fs::create_dir("/tmp/x")?;
    nix::unistd::chroot("/tmp/x")?;
    for _ in 0..64 {
        nix::unistd::chdir("..")?;
    }
    nix::unistd::chroot(".")?;
    fs::read_to_string(std::env::var_os("SECRET").unwrap_or_default())
}

#[corten_tier::t1]
fn chroot_escape_by_second_chroot() {
    let lab = Lab::new();
    let secret = lab.secret();
    let escape = |weaken: fn(&mut Plan)| {
        let mut config = lab.config("");
        config.mounts = own_program();
        config.process = attack("/attacker", "chroot");
        config.process.env.push(format!("SECRET={}", secret.display()));
        // Docker's default set: SYS_CHROOT is in it.
        config.process.capabilities = Some(CapabilitySet::CONTAINER);
        let (exit, text) = capture(config, weaken).unwrap();
        assert_eq!(exit, Exit::Code(0), "{text}");
        fs::remove_dir(lab.rootfs().join("tmp/x")).unwrap();
        text
    };
    let held = escape(whole);
    assert!(held.contains("NotFound"), "{held}");

    let escaped = escape(|plan| {
        let pivot = plan.steps.iter_mut().find(|step| matches!(step, Step::PivotRoot));
        *pivot.unwrap() = Step::Chroot;
    });
    assert!(escaped.contains("host-secret"), "{escaped}");
}

#[corten_tier::t1]
fn mount_leaks_through_shared_propagation() {
    let lab = Lab::new();
    share_mounts();
    let place = lab.outside().join("place");
    fs::create_dir(&place).unwrap();
    let leaks = |weaken: &dyn Fn(&mut Plan)| {
        let mut config = lab.config(&format!("mount -t tmpfs leak {}", place.display()));
        config.rootfs = None;
        config.namespaces = [Namespace::Mount].into_iter().collect();
        let (exit, text) = capture(config, weaken).unwrap();
        assert_eq!((exit, &*text), (Exit::Code(0), ""));
        // The container has ended, and with it its mount namespace.
        let leaked = mounts().contains(place.to_str().unwrap());
        if leaked {
            nix::mount::umount(&place).unwrap();
        }
        leaked
    };
    assert!(!leaks(&whole));
    assert!(leaks(&without(|step| matches!(step, Step::IsolateMounts))));
}

#[corten_tier::t1]
fn symlink_and_dotdot_walks_out_of_root() {
    let lab = Lab::new();
    lab.secret();
    let outside = lab.outside();
    fs::create_dir_all(lab.rootfs().join("etc/deep")).unwrap();
    symlink(outside, lab.rootfs().join("absolute")).unwrap();
    symlink("../..", lab.rootfs().join("etc/relative")).unwrap();
    symlink("../..", lab.rootfs().join("etc/deep/middle")).unwrap();
    let root = Root::open(lab.rootfs()).unwrap();
    for path in [
        "absolute/secret",
        "etc/relative/secret",
        "etc/deep/middle/../secret",
        "../secret",
        "etc/../../secret",
    ] {
        // As it is done by joining strings, the first thing that one thinks of.
        let joined = lab.rootfs().join(path);
        assert_eq!(fs::read_to_string(joined).unwrap(), "host-secret\n", "{path} is no attack");
        let error = root.open_at(path, OFlag::O_RDONLY, Mode::empty()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ENOENT), "{path}: {error}");
    }

    // The same with a mount: where an image says /etc/relative, what is the place for a volume?
    fs::create_dir(outside.join("place")).unwrap();
    let mounted_on = |rooted: bool| {
        let mut config = lab.config("cat /proc/self/mountinfo");
        let target = Path::new("/etc/relative/place");
        config.mounts = vec![Mount::file_system("tmpfs", target, 0, "").unwrap()];
        if !rooted {
            // chroot and pivot_root come after the mounts, so joined paths are still the host's.
            let joined = lab.rootfs().join("etc/relative/place");
            config.mounts = vec![Mount::file_system("tmpfs", joined, 0, "").unwrap()];
            config.rootfs = None;
            config.namespaces = config.namespaces.without(Namespace::Pid);
        }
        let (exit, text) = capture(config, whole).unwrap();
        assert_eq!(exit, Exit::Code(0), "{text}");
        let last = text.lines().last().unwrap();
        PathBuf::from(last.split(' ').nth(4).unwrap())
    };
    assert_eq!(mounted_on(true), Path::new("/place"));
    assert_eq!(mounted_on(false), outside.join("place"));
}

#[corten_tier::t1]
fn host_proc_visible() {
    let lab = Lab::new();
    // What the host's /proc tells of this process: its environment, and a way into its root.
    let own = std::process::id();
    let secret = lab.secret();
    let script = format!("ls /proc/{own}/environ; cat /proc/{own}/root{}", secret.display());
    let look = |weaken: &dyn Fn(&mut Plan)| capture(lab.config(&script), weaken).unwrap().1;
    let hidden = look(&whole);
    assert!(!hidden.contains("host-secret") && !hidden.contains("environ\n"), "{hidden}");

    let visible = look(&|plan| {
        let proc = |step: &&mut Step| matches!(step, Step::Mount(mount) if mount.target.path() == Path::new("/proc"));
        let step = plan.steps.iter_mut().find(proc).unwrap();
        *step = Step::Mount(Mount::bind(Path::new("/proc"), "/proc", 0).unwrap());
    });
    assert!(visible.ends_with("environ\nhost-secret"), "{visible}");
}

#[corten_tier::t1]
fn setuid_gains_rights_in_user_namespace() {
    let lab = Lab::new();
    let secret = lab.secret();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    fs::write(lab.rootfs().join("etc/secret"), "").unwrap();
    let libraries = lab::setuid_program(&lab);
    let run = |host_root_is_mapped: bool, no_new_privileges: bool| {
        let mut config = lab.config("");
        config.namespaces = config.namespaces.with(Namespace::User);
        let outside = if host_root_is_mapped { 0 } else { 100_000 };
        let map = || IdMap::new(vec![Range { inside: 0, outside, length: 65536 }]).unwrap();
        config.uid_map = map();
        config.gid_map = map();
        config.mounts.push(Mount::bind(&secret, "/etc/secret", 0).unwrap());
        config.mounts.extend(libraries.clone());
        config.process = attack("/bin/setuid", "secret");
        config.process.env.push("SECRET=/etc/secret".into());
        config.process.user = User { uid: 1000, gid: 1000, groups: Vec::new() };
        config.process.no_new_privileges = no_new_privileges;
        capture(config, whole).unwrap().1
    };
    let refused = run(false, false);
    assert!(refused.contains("uid 1000 sees Err"), "{refused}");
    let gained = run(true, false);
    assert!(gained.contains("uid 0 sees Ok(\"host-secret"), "the attack is none: {gained}");
    // The second defence holds where the first is missing.
    let refused = run(true, true);
    assert!(refused.contains("uid 1000 sees Err"), "{refused}");
}

#[corten_tier::t1]
fn leaked_descriptor_reaches_host() {
    let lab = Lab::new();
    lab.secret();
    // Not close-on-exec, as runc's was: CVE-2024-21626.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let leaked = nix::fcntl::open(lab.outside(), flags, Mode::empty()).unwrap();
    let number = leaked.as_raw_fd();
    let closing = |step: &Step| matches!(step, Step::CloseDescriptors);

    let by_use = |weaken: &dyn Fn(&mut Plan)| {
        let script = format!("cat /proc/self/fd/{number}/secret");
        capture(lab.config(&script), weaken).unwrap().1
    };
    let held = by_use(&whole);
    assert!(held.contains("No such file"), "{held}");
    assert_eq!(by_use(&without(closing)), "host-secret");

    // As the working directory it works although it is closed at execve. Two steps stand in the
    // way: one does not follow magic links, the other looks where it stands.
    let by_directory = |weaken: &dyn Fn(&mut Plan)| {
        let mut config = lab.config("cat secret");
        config.process.cwd = format!("/proc/self/fd/{number}").into();
        capture(config, weaken).map(|(_, text)| text).map_err(|error| error.to_string())
    };
    let refused = by_directory(&whole).unwrap_err();
    assert!(refused.contains("ELOOP"), "{refused}");
    let making = |step: &Step| matches!(step, Step::MakeDirectory(_));
    let refused = by_directory(&without(making)).unwrap_err();
    assert!(refused.contains("CVE-2024-21626"), "{refused}");
    // Without the check, which is a part of the step, the program changes the directory itself.
    let script = format!("cd /proc/self/fd/{number} && cat secret");
    let unchecked = capture(lab.config(&script), without(closing)).unwrap().1;
    assert_eq!(unchecked, "host-secret");
    drop(leaked);
}

/// A link in the place of /dev/null, in a /dev that the attacker could write, must not become what
/// covers the hidden files of /proc: it would be a writable way to the file that it leads to
/// (CVE-2025-31133).
#[corten_tier::t1]
fn false_null_device_becomes_a_mask() {
    let lab = Lab::new();
    let dev = lab.outside().join("dev");
    fs::create_dir_all(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    let null = |step: &Step| matches!(step, Step::Device(target, ..) if target.path() == Path::new("/dev/null"));
    let mut errors = Vec::new();
    for checked in [true, false] {
        let mut config = lab.config("cat /proc/interrupts");
        config.protect_kernel = true;
        config.mounts.push(Mount::bind(&dev, "/dev", 0).unwrap());
        let ran = if checked { capture(config, whole) } else { capture(config, without(null)) };
        errors.push(ran.unwrap_err().to_string());
    }
    assert!(errors[0].starts_with("make the device /dev/null: EEXIST"), "{errors:?}");
    assert!(errors[1].starts_with("hide /proc/interrupts: EEXIST"), "{errors:?}");
}

/// Runs in a session of its own with a terminal, in the place of the user's shell.
fn tiocsti_from_container(weaken: impl Fn(&mut Plan)) {
    let process = attack(std::env::current_exe().unwrap().to_str().unwrap(), "tiocsti");
    let mut config = Config {
        namespaces: [Namespace::Mount, Namespace::Pid].into_iter().collect(),
        rootfs: Some(rootfs("/")),
        process,
        ..Config::default()
    };
    config.process.capabilities = Some(CapabilitySet::CONTAINER);
    let mut plan = Plan::new(config).unwrap();
    weaken(&mut plan);
    let exit = plan.spawn().unwrap().wait().unwrap();
    println!("container: {exit:?}");
}

#[corten_tier::t1]
fn tty_injection_tiocsti() {
    let inject = |role: &str| {
        let mut pty = Pty::new(24, 80);
        let process = attack(std::env::current_exe().unwrap().to_str().unwrap(), role);
        let (name, value) = process.env[0].split_once('=').unwrap();
        let mut command = std::process::Command::new(lab::busybox());
        command.args(["setsid", "-c"]).args(&process.args).env(name, value);
        command.stdin(pty.stdio()).stdout(pty.stdio()).stderr(pty.stdio());
        let mut child = command.spawn().unwrap();
        pty.expect("container: ");
        assert!(lab::ended(&mut child).success());
        pty.seen().to_owned()
    };
    let real = inject("terminal, real");
    assert!(real.contains("typed: Err(EPERM)") || real.contains("typed: Err(EIO)"), "{real}");

    let weak = inject("terminal, weak");
    // Linux 6.2 and newer may forbid it for everybody without CAP_SYS_ADMIN.
    let forbidden = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti")
        .is_ok_and(|value| value.trim() == "0");
    let expected = if forbidden { "typed: Err(EIO)" } else { "typed: Ok(())" };
    assert!(weak.contains(expected), "{weak}");
}
