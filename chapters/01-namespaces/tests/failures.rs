//! What goes wrong is told in one line, with the exit status that Docker has, and leaves nothing.
//! One test, because it compares all that the process has.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use lab::trace::Traces;
use lab::{Lab, run};

/// One table: what is wrong, the exit status, and the one line that says so.
#[corten_tier::t1]
fn bad_input_is_told_in_one_line_and_leaves_nothing() {
    let lab = Lab::new();
    let root = lab.rootfs();
    fs::write(root.join("bin/plain"), "no program\n").unwrap();
    fs::write(root.join("bin/data"), "\x7fnot a format").unwrap();
    fs::write(root.join("bin/script"), "#!/no/such/interpreter\n").unwrap();
    for name in ["data", "script"] {
        fs::set_permissions(root.join("bin").join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let file = lab.secret();
    let (root, file) = (root.to_str().unwrap().to_owned(), file.display().to_string());
    let missing = format!("{root}/nowhere");
    let before = Traces::now();
    let check = |arguments: &[&str], status: i32, line: &str| {
        let ran = run([&["run"], arguments].concat());
        let told = format!("corten-namespaces: {line}\n");
        assert_eq!((ran.status, &*ran.err, &*ran.out), (status, &*told, ""), "{arguments:?}");
        assert_eq!(Traces::now(), before, "left by {arguments:?}");
    };
    let within = |options: &[&str], status: i32, line: &str| {
        check(&[&["--rootfs", &root], options].concat(), status, line);
    };
    let no_dir = "no such directory: unpack an image there first";
    check(
        &["--rootfs", &missing, "--", "sh"],
        125,
        &format!("attach the root file system {missing}: ENOENT ({no_dir})"),
    );
    check(
        &["--rootfs", &file, "--", "sh"],
        125,
        &format!(
            "attach the root file system {file}: ENOTDIR (the root file system must be a directory)"
        ),
    );
    within(
        &["--", "nope"],
        127,
        "nope: command not found in the container (searched PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)",
    );
    within(&["--", "/bin/nope"], 127, "/bin/nope: command not found in the container");
    within(
        &["--", "script"],
        127,
        "script: the file is there, but the interpreter that its first line (#!) or its ELF header names is not in the container",
    );
    let no_access =
        "EACCES: it is a directory, or not executable for this user, or on a noexec mount";
    within(&["--", "plain"], 126, &format!("plain: {no_access}"));
    within(&["--", "/bin"], 126, &format!("/bin: {no_access}"));
    within(
        &["--", "data"],
        126,
        "data: ENOEXEC: its format is unknown: another architecture, or a script without #!",
    );
    within(&["--", ""], 125, "the command: is empty: say what to run");
    within(&["--map-root", "-u", "7", "--", "sh"], 125, "user 7: is not in the uid map 0:0:1");
    within(
        &["--uid-map", "0:0:10", "--uid-map", "5:100:10", "--gid-map", "0:0:1", "--", "sh"],
        125,
        "id map `5:100:10`: overlaps with `0:0:10`",
    );
    within(
        &["-v", "relative:/x", "--", "sh"],
        125,
        "bind mount of relative: the source must be an absolute path",
    );
    within(
        &["-v", "/nowhere:/x", "--", "sh"],
        125,
        "open the source of a bind mount /nowhere: ENOENT (no such file or directory)",
    );
    within(&["-v", "/tmp", "--", "sh"], 125, "volume `/tmp`: is not SRC:DST or SRC:DST:ro");
    within(
        &["-v", "/tmp:/../x", "--", "sh"],
        125,
        "path in the container /../x: holds `..`: say where it leads",
    );
    let into_file = "a directory cannot be mounted on a file, nor a file on a directory";
    within(
        &["-v", "/tmp:/bin/busybox", "--", "sh"],
        125,
        &format!("bind /tmp on /bin/busybox: EINVAL ({into_file})"),
    );
    within(
        &["-w", "/bin/busybox/x", "--", "sh"],
        125,
        "make the working directory /bin/busybox/x: ENOTDIR (a component of the path is not a directory)",
    );
    within(&["-u", "me", "--", "sh"], 125, "user `me`: is not UID[:GID] in numbers");
    within(&["-e", "NAME", "--", "sh"], 125, "environment `NAME`: is not NAME=VALUE");
    within(&["--caps", "fly", "--", "sh"], 125, "capability fly: is unknown: see capabilities(7)");
    within(
        &["--join", "/etc/passwd", "--", "sh"],
        125,
        "/etc/passwd: is no namespace: give /proc/PID/ns/NAME or a kept one",
    );
    within(
        &["--join", "/nowhere", "--", "sh"],
        125,
        "open namespace /nowhere: ENOENT (no such file or directory)",
    );
    let long = "x".repeat(65);
    within(
        &["--hostname", &long, "--", "sh"],
        125,
        &format!("host name `{long}`: must have 1 to 64 bytes (sethostname(2))"),
    );
    check(
        &["--read-only", "--", "true"],
        125,
        "a read-only root: needs a root file system: add --rootfs",
    );
    check(
        &["-t", "--", "true"],
        125,
        "a terminal: needs a root file system with a /dev/pts of its own",
    );
    // What clap refuses has its own usage text, and the same status.
    for bad in
        [&["--uid-map", "1:2", "--", "sh"][..], &["--ulimit", "x=1", "--", "sh"], &["--nope"], &[]]
    {
        let ran = run([&["run"], bad].concat());
        assert!(ran.status == 125 && ran.err.starts_with("error: "), "{ran:?}");
    }
    assert_eq!(Traces::now(), before);
}
