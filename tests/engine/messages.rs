//! What is wrong with a command line or an image is said in one line, and nothing is left behind.

use crate::support::{self, Host, text};

#[corten_tier::t1]
fn bad_input_gets_one_line_that_says_what_to_do() {
    let host = Host::with_busybox();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run"], 125, "required arguments were not provided: <IMAGE>"),
        (&["run", "--no-such", "busybox"], 125, "unexpected argument '--no-such'"),
        (&["fly"], 125, "unrecognized subcommand 'fly'"),
        (&["run", "--rm", "BusyBox"], 125, "must be lower case"),
        (&["run", "--rm", "--pull", "never", "nope"], 125, "--pull=never forbids"),
        (&["run", "--rm", "-v", "a/b:/x", "busybox"], 125, "invalid characters for a local volume"),
        (
            &["run", "--rm", "-v", "/a:/x", "-v", "/b:/x", "busybox"],
            125,
            "Duplicate mount point: /x",
        ),
        (&["run", "--rm", "-v", "a:/b:ro:z", "busybox"], 125, "invalid spec: a:/b:ro:z: too many"),
        (
            &["run", "--rm", "--mount", "type=wrong", "busybox"],
            125,
            "invalid argument \"type=wrong\" for \"--mount\" flag: target is required",
        ),
        (
            &["run", "--rm", "--mount", "type=wrong,target=/x", "busybox"],
            125,
            "invalid mount config for type \"wrong\": mount type unknown",
        ),
        (&["run", "--rm", "--tmpfs", "/x:size=many", "busybox"], 125, "size"),
        (&["run", "--rm", "-w", "x", "busybox"], 125, "needs to be an absolute path"),
        (&["run", "--rm", "-e", "=x", "busybox"], 125, "has no name"),
        (&["run", "--rm", "--env-file", "/no/such", "busybox"], 125, "read /no/such: ENOENT"),
        (&["run", "--rm", "--hostname", "a b", "busybox"], 125, "invalid hostname format: a b"),
        (&["run", "--rm", "--name", "../x", "busybox"], 125, "container name `../x`"),
        (&["run", "--rm", "--ulimit", "nofile", "busybox"], 125, "must be NAME=SOFT[:HARD]"),
        (&["run", "--rm", "-it", "busybox"], 125, "standard input is not a terminal"),
        (&["run", "--rm", "--platform", "x", "busybox"], 125, "platform"),
        (&["run", "--rm", "--memory", "1m", "busybox"], 125, "Minimum memory limit allowed is 6MB"),
        (&["run", "--rm", "--memory", "x", "busybox"], 125, "--memory x: is no size"),
        (&["run", "--rm", "--cap-add", "FLY", "busybox"], 125, "invalid CapAdd"),
        (&["run", "--rm", "--network", "nope", "busybox"], 125, "network nope not found"),
        (&["run", "--rm", "--pid", "container:x", "busybox"], 125, "no container x"),
        (&["run", "--rm", "--restart", "often", "busybox"], 125, "invalid restart policy 'often'"),
        (&["run", "--rm", "--security-opt", "seccomp=/no", "busybox"], 125, "seccomp profile /no"),
        (&["run", "--rm", "-u", "nobody-here", "busybox"], 125, "no user nobody-here"),
        (&["rmi", "nope"], 1, "no image nope in the store"),
        (&["rm", "nope"], 1, "no container nope: see `corten ps -a`"),
        (&["import", "/no/such", "x"], 1, "open /no/such: ENOENT"),
        (&["import", "/etc/passwd", "x"], 1, "refused"),
        (&["import", "-c", "RUN ls", "-", "x"], 1, "run is not a valid change command"),
    ];
    // Not the table: it says how long ago an image was made.
    let images = host.corten(&["images", "-q"]).ok();
    for (args, status, why) in cases {
        eprintln!("corten {}", args.join(" "));
        host.corten(args).fails(*status, why);
    }
    host.assert_clean();
    assert_eq!(host.corten(&["images", "-q"]).ok(), images);
    assert_eq!(host.names("layers").len(), 1);
}

#[corten_tier::t1]
fn debug_adds_what_lay_behind() {
    let host = Host::with_busybox();
    let outcome = host.corten(&["--debug", "rm", "nope"]);
    assert!(outcome.err.contains("NoSuchContainer"), "{outcome:?}");
}

#[corten_tier::t1]
fn without_root_it_says_what_to_do() {
    let host = Host::new();
    // The binary may lie where only root can go.
    let binary = host.path("corten");
    // By another process: a program that is open for writing, be it in a child of another test that has not
    // executed yet, cannot be started.
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg(env!("CARGO_BIN_EXE_corten")).arg(&binary).status().unwrap().success());
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.path(""), open).unwrap();
    let mut command = std::process::Command::new(binary);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    command.env("HOME", host.path("home")).env_remove("XDG_RUNTIME_DIR");
    let output = command.args(["run", "busybox"]).output().unwrap();
    support::outcome(output).fails(125, "not root, and without root:");
}

#[corten_tier::t1]
fn a_reader_that_stops_is_no_error() {
    let host = Host::with_busybox();
    let script = format!("{} images | true", env!("CARGO_BIN_EXE_corten"));
    let mut command = std::process::Command::new("bash");
    command.args(["-o", "pipefail", "-c", &script]).env("CORTEN_ROOT", text(&host.root()));
    support::outcome(command.output().unwrap()).ok();
}
