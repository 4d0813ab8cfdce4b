//! Containers in the foreground, from the outside: the built `corten`, an image made on the spot.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::support::daemon::Daemon;
use crate::support::{self, Host, outcome, text};

#[corten_tier::t1]
fn the_exit_status_is_the_container_s_and_rm_leaves_nothing() {
    let host = Host::with_busybox();
    for status in [0, 1, 42, 255] {
        assert_eq!(host.run(&["sh", "-c", &format!("exit {status}")]).status, status);
    }
    // Pid 1 cannot be killed from inside; with an init, the program is not pid 1.
    let init = ["run", "--rm", "--init", "busybox", "sh", "-c", "kill -KILL $$"];
    assert_eq!(host.corten(&init).status, 137);
    host.assert_clean();
}

/// Without `corten-supervisor` beside it, `corten` can be everything but an init.
#[corten_tier::t1]
fn an_init_needs_the_program_that_can_be_one() {
    let host = Host::with_busybox();
    let alone = host.path("alone");
    corten_tier::copy_program(env!("CARGO_BIN_EXE_corten"), &alone);
    let run = |options: &[&str]| {
        let mut command = std::process::Command::new(&alone);
        command.env("CORTEN_ROOT", host.root()).args(["run", "--rm", "--network", "none"]);
        outcome(command.args(options).args(["busybox", "true"]).output().unwrap())
    };
    run(&[]).ok();
    run(&["--init"]).fails(125, "needs the program corten-supervisor beside");
    std::fs::remove_file(&alone).unwrap();
    host.assert_clean();
}

/// How a process ends, which is to be soon.
fn end_of(mut child: std::process::Child) -> std::process::ExitStatus {
    for _ in 0..100 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap()
}

/// With `--sig-proxy=false` a signal is for who stands before the container, and the container goes on.
#[corten_tier::t1]
fn a_signal_is_passed_on_unless_that_is_not_wanted() {
    use std::os::unix::process::ExitStatusExt;
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = format!("unix://{}", daemon.socket.display());
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let made = host.corten(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    made.ok();
    for before in [&[][..], &["-H", &place]] {
        for verb in [&["attach"][..], &["run", "--name", "two", "busybox", "sh", "-c", script]] {
            let (command, more) = verb.split_first().unwrap();
            let more = if more.is_empty() { &["one"] } else { more };
            let stand = |option: &[&str]| {
                let mut before = host.command(&[before, &[command], option, more].concat());
                let mut child = before.stdout(Stdio::piped()).spawn().unwrap();
                if *command == "run" {
                    child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
                } else {
                    std::thread::sleep(std::time::Duration::from_millis(500));
                }
                let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
                nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
                end_of(child)
            };
            assert_eq!(stand(&["--sig-proxy=false"]).signal(), Some(15), "{verb:?}");
            let shown = host.corten(&["ps", "-q"]).ok();
            let wanted = if *command == "run" { 2 } else { 1 };
            assert_eq!(shown.lines().count(), wanted, "the container goes on");
            if *command == "run" {
                host.corten(&["rm", "-f", "two"]).ok();
                assert_eq!(stand(&["--sig-proxy"]).code(), Some(5));
                host.corten(&["rm", "two"]).ok();
            }
        }
    }
    assert_eq!(host.corten(&["rm", "-f", "one"]).ok(), "one\n");
    // An exec is no container: with it a signal is always for who stands before it.
    let (engine, _) = host.start(&["run", "--rm", "--name", "one", "busybox", "sleep", "1000"]);
    let mut exec = host.command(&["exec", "one", "sh", "-c", "echo ready; sleep 1000"]);
    let mut exec = exec.stdout(Stdio::piped()).spawn().unwrap();
    exec.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    let pid = nix::unistd::Pid::from_raw(exec.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(end_of(exec).signal(), Some(15));
    host.corten(&["kill", "one"]).ok();
    drop(engine);
    drop(daemon);
    host.settle();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_program_that_cannot_run_is_126_or_127() {
    let host = Host::with_busybox();
    // The words are those by which Docker and its users know these.
    let missing = "\"no-such-thing\": executable file not found in $PATH";
    host.run(&["no-such-thing"]).fails(127, missing);
    host.run(&["/no/such/thing"])
        .fails(127, "\"/no/such/thing\": stat /no/such/thing: no such file");
    host.run(&["/etc/passwd"]).fails(126, "\"/etc/passwd\": permission denied");
    host.run(&["/tmp"]).fails(126, "\"/tmp\": ");
    host.run(&["not-a-program"]).fails(126, "exec format error");
    host.assert_clean();
}

#[corten_tier::t1]
fn the_environment_is_merged_and_nothing_of_the_caller_s_leaks() {
    let host = Host::with_busybox();
    let layer = support::busybox_layer();
    let change = "ENV A=image B=image C=image";
    host.import(&layer, &["import", "-c", change, "-c", "CMD env", "-", "with-env"]);
    std::fs::write(host.path("env"), "# comment\nB=file\nFROM_CALLER\n").unwrap();
    let file = host.path("env");
    let mut command = host.command(&["run", "--rm", "--hostname", "h1", "--env-file", text(&file)]);
    command.args(["-e", "A=own", "-e", "C", "-e", "EMPTY=", "with-env"]);
    command.env("FROM_CALLER", "seen").env("SECRET", "leak").env_remove("C");
    let out = outcome(command.output().unwrap()).ok();
    for line in ["A=own", "B=file", "EMPTY=", "FROM_CALLER=seen", "HOME=/root", "HOSTNAME=h1"] {
        assert!(out.lines().any(|l| l == line), "{line} in:\n{out}");
    }
    assert!(!out.contains("SECRET") && !out.contains("\nC=") && !out.contains("TERM="), "{out}");
    host.assert_clean();
}

#[corten_tier::t1]
fn the_user_comes_from_the_image_s_own_files() {
    let host = Host::with_busybox();
    let id = |user: &str| {
        host.corten(&["run", "--rm", "-u", user, "busybox", "sh", "-c", "id; echo $HOME"]).ok()
    };
    let web = "uid=33(web) gid=33(web) groups=33(web),44(extra)\n/var/www\n";
    assert_eq!(id("web"), web);
    assert_eq!(id("33"), web);
    assert_eq!(id("web:extra"), "uid=33(web) gid=44(extra) groups=44(extra)\n/var/www\n");
    assert_eq!(id("77:88"), "uid=77 gid=88 groups=88\n/\n");
    host.corten(&["run", "--rm", "-u", "nobody", "busybox"])
        .fails(125, "user `nobody`: no user nobody in the image's /etc/passwd");
    host.assert_clean();
}

#[corten_tier::t1]
fn accounts_of_a_hostile_image_cannot_hang_or_read_the_host() {
    let host = Host::new();
    let layer = |passwd: fn(corten_unionfs::fixture::LayerBuilder) -> _| {
        let layer = corten_unionfs::fixture::LayerBuilder::new().dir("etc", 0o755);
        let layer: corten_unionfs::fixture::LayerBuilder = passwd(layer);
        layer.build()
    };
    let fifo = layer(|layer| layer.fifo("etc/passwd", 0o644));
    let device = layer(|layer| layer.char_device("etc/passwd", 0o644, (1, 5)));
    for (name, archive) in [("fifo", fifo), ("device", device)] {
        host.import(&archive, &["import", "-", name]);
        host.corten(&["run", "--rm", name, "x"]).fails(125, "/etc/passwd in the image: is not a");
    }
    let link = layer(|layer| layer.symlink("etc/passwd", "../../../../../etc/passwd"));
    host.import(&link, &["import", "-", "link"]);
    host.corten(&["run", "--rm", "link", "x"]).fails(125, "ELOOP");
    host.assert_clean();
}

#[corten_tier::t1]
fn the_working_directory_is_made_where_it_is_missing() {
    let host = Host::with_busybox();
    let script = "pwd; stat -c '%u:%g %a' .";
    let out =
        host.corten(&["run", "--rm", "-u", "web", "-w", "/a/b", "busybox", "sh", "-c", script]);
    assert_eq!(out.ok(), "/a/b\n0:0 755\n");
    let change = ["import", "-c", "WORKDIR /srv/app", "-", "workdir"];
    host.import(&support::busybox_layer(), &change);
    assert_eq!(host.corten(&["run", "--rm", "workdir", "pwd"]).ok(), "/srv/app\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn volumes_are_seen_and_read_only_ones_refuse_writes() {
    let host = Host::with_busybox();
    let (dir, file) = (host.path("dir"), host.path("file"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&file, "from the host\n").unwrap();
    let rw = format!("{}:/data", dir.display());
    let one = format!("{}:/etc/one:ro", file.display());
    let made = format!("{}/made/here:/made", host.path("").display());
    let script = "cat /etc/one; echo new > /data/new; touch /made/x; ! touch /etc/one 2>/dev/null";
    let args = ["run", "--rm", "-v", &rw, "-v", &one, "-v", &made, "busybox", "sh", "-c", script];
    assert_eq!(host.corten(&args).ok(), "from the host\n");
    assert_eq!(std::fs::read_to_string(dir.join("new")).unwrap(), "new\n");
    assert!(host.path("made/here/x").exists());
    host.assert_clean();
}

/// A mount below a read-only volume is read-only, too: mount(2)'s MS_RDONLY is not recursive.
#[corten_tier::t1]
fn a_read_only_volume_has_no_writable_mount_in_it() {
    let host = Host::with_busybox();
    let dir = host.path("outer");
    std::fs::create_dir_all(dir.join("inner")).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "inner", text(&dir.join("inner"))])
        .status();
    assert!(mounted.unwrap().success());
    let ro = format!("{}:/v:ro", dir.display());
    let out = host.corten(&["run", "--rm", "-v", &ro, "busybox", "touch", "/v/inner/x"]);
    let unmounted = std::process::Command::new("umount").arg(dir.join("inner")).status();
    assert!(unmounted.unwrap().success());
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.err.contains("Read-only file system"), "{out:?}");
    host.assert_clean();
}

#[corten_tier::t1]
fn standard_input_is_passed_on_with_i_only() {
    let host = Host::with_busybox();
    for (flags, want) in [(&["-i"][..], "typed"), (&[], "")] {
        let args = [&["run", "--rm"], flags, &["busybox", "cat"]].concat();
        let mut command = host.command(&args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Without -i the container may be gone already.
        let _ = child.stdin.take().unwrap().write_all(b"typed");
        assert_eq!(outcome(child.wait_with_output().unwrap()).ok(), want);
    }
    host.assert_clean();
}

#[corten_tier::t1]
fn it_has_a_name_a_loopback_a_read_only_root_and_limits() {
    let host = Host::with_busybox();
    // Its loopback interface, and the one to the default network.
    let script = "hostname; cat /etc/hostname; grep -c h1 /etc/hosts; ip -o link | wc -l; \
                  touch /x 2>/dev/null || echo ro; touch /t/x && echo tmpfs; ulimit -n";
    let args = ["run", "--rm", "--hostname", "h1", "--read-only", "--tmpfs", "/t:size=64k"];
    let args = [&args[..], &["--ulimit", "nofile=100:200", "busybox", "sh", "-c", script]].concat();
    assert_eq!(host.corten(&args).ok(), "h1\nh1\n1\n2\nro\ntmpfs\n100\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn entrypoints_of_image_and_user_combine() {
    let host = Host::new();
    let layer = support::busybox_layer();
    let entry = ["-c", r#"ENTRYPOINT ["echo", "image"]"#, "-c", r#"CMD ["cmd"]"#];
    host.import(&layer, &[&["import"], &entry[..], &["-", "entry"]].concat());
    let run = |args: &[&str]| host.corten(&[&["run", "--rm"], args].concat()).ok();
    assert_eq!(run(&["entry"]), "image cmd\n");
    assert_eq!(run(&["entry", "own"]), "image own\n");
    assert_eq!(run(&["--entrypoint", "echo", "entry"]), "\n");
    assert_eq!(run(&["--entrypoint", "", "entry", "echo", "x"]), "x\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn a_container_without_rm_is_kept_until_it_is_removed() {
    let host = Host::with_busybox();
    let args = ["run", "--name", "kept", "busybox", "sh", "-c", "echo x > /written; exit 3"];
    assert_eq!(host.corten(&args).status, 3);
    host.corten(&args).fails(125, "the name kept is in use by container");
    let listed = host.corten(&["ps", "-a"]).ok();
    assert!(listed.contains("Exited (3)") && listed.contains("kept"), "{listed}");
    assert_eq!(host.corten(&["ps"]).ok().lines().count(), 1, "it does not run");
    let id = host.names("containers").remove(0);
    let upper = host.root().join("containers").join(&id).join("upper");
    assert_eq!(std::fs::read_to_string(upper.join("written")).unwrap(), "x\n");

    host.corten(&["rmi", "busybox"]).fails(1, &format!("in use by container {}", &id[..12]));
    let forced = host.corten(&["rmi", "-f", "busybox"]).ok();
    assert_eq!(forced.lines().count(), 2, "the layer stays under the container: {forced}");
    assert_eq!(host.names("layers").len(), 1);
    host.corten(&["rm", &id[..6]]).ok();
    assert_eq!(host.names("layers"), [""; 0], "nothing needs it any more");
    host.assert_clean();
}

#[corten_tier::t1]
fn rmi_and_import_show_what_they_did() {
    let host = Host::with_busybox();
    let listed = host.corten(&["images"]).ok();
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..2], ["busybox", "latest"]);
    let json = host.corten(&["images", "--format", "json", "--no-trunc"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Repository"], "busybox");
    let id = json["ID"].as_str().unwrap();
    assert_eq!(&id[7..19], row[2]);
    assert_eq!(host.corten(&["images", "-q"]).ok().trim(), row[2]);

    let removed = host.corten(&["rmi", "busybox"]).ok();
    let lines: Vec<_> = removed.lines().collect();
    assert_eq!(lines[..2], ["Untagged: busybox:latest", &format!("Deleted: {id}")]);
    assert!(lines[2].starts_with("Deleted: sha256:") && lines.len() == 3, "{removed}");
    assert_eq!(host.names("layers"), [""; 0]);
    assert_eq!(host.names("images/blobs/sha256"), [""; 0]);
    host.assert_clean();
}

#[corten_tier::t1]
fn explain_prints_the_plan_and_runs_nothing() {
    let host = Host::with_busybox();
    let volume = format!("{}:/v", host.path("not-made").display());
    let plan = host.corten(&["explain", "-v", &volume, "busybox", "touch", "/x"]).ok();
    for call in ["clone3", "pivot_root", "execve(touch /x)"] {
        assert!(plan.contains(call), "{call} in:\n{plan}");
    }
    assert!(!host.path("not-made").exists());
    host.assert_clean();
}

#[corten_tier::t1]
fn with_t_it_has_a_terminal_of_its_own() {
    let host = Host::with_busybox();
    let inside = "tty; stty size; echo $TERM; read line; echo got $line";
    let corten = env!("CARGO_BIN_EXE_corten");
    // script(1) stands for the user's terminal.
    let command =
        format!("stty rows 33 cols 99; {corten} run --rm -it busybox sh -c '{inside}'; stty -a");
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("CORTEN_ROOT", host.root());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let (mut screen, mut out) = (child.stdout.take().unwrap(), Vec::new());
    // What is typed earlier is echoed in the midst of it.
    while !String::from_utf8_lossy(&out).contains("xterm\r\n") {
        let mut piece = [0; 4096];
        let length = screen.read(&mut piece).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&out));
        out.extend_from_slice(&piece[..length]);
    }
    keyboard.write_all(b"typed\n").unwrap();
    screen.read_to_end(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    drop(keyboard);
    let out = String::from_utf8(out).unwrap();
    for part in ["/dev/pts/0\r\n", "33 99\r\n", "xterm\r\n", "got typed\r\n"] {
        assert!(out.contains(part), "{part:?} in: {out}");
    }
    // The caller's terminal echoes again.
    assert!(out.contains(" icanon") && out.contains(" echo "), "{out}");
    host.assert_clean();
}

#[corten_tier::t1]
fn the_host_s_processes_and_network_are_out_of_reach() {
    let host = Host::with_busybox();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let script = format!("ls /proc | grep -c '^[0-9]*$'; ip -o addr; busybox nc 127.0.0.1 {port}");
    let out = host.run(&["sh", "-c", &script]);
    assert_eq!(out.status, 1, "{out:?}");
    assert!(out.err.contains("Connection refused"), "{out:?}");
    let processes: u32 = out.out.lines().next().unwrap().parse().unwrap();
    assert!(processes <= 3, "{out:?}");
    assert!(out.out.contains("127.0.0.1/8 scope host lo"), "{out:?}");
    host.assert_clean();
}

#[corten_tier::t1]
fn info_names_the_storage_driver_and_why() {
    let host = Host::with_busybox();
    let said = host.corten(&["info"]).ok();
    for line in ["images: 1", "containers: 0", "layers: 1, ", "storage driver: overlay"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("overlay: works (on ") && said.contains("btrfs: no: no btrfs"), "{said}");
    assert!(
        said.contains("fuse-overlayfs: works (FUSE on ") && said.contains("copy: works"),
        "{said}"
    );
    assert_eq!(host.names("layers").len(), 1, "the probe has left something");
}

#[corten_tier::t1]
fn disk_usage_is_told_and_what_of_it_is_in_use() {
    let host = Host::with_busybox();
    let row = |kind: &str| -> Vec<String> {
        let said = host.corten(&["system", "df"]).ok();
        let line = said.lines().find(|line| line.starts_with(kind)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let images = row("Images");
    assert_eq!((images[1].as_str(), images[2].as_str()), ("1", "0"));
    assert_eq!((&images[3], images[5].as_str()), (&images[4], "(100%)"), "nobody uses it");
    assert_eq!(row("Containers")[1..], ["0", "0", "0B", "0B"]);
    let script = "busybox head -c 3000000 /dev/zero >/big";
    host.corten(&["run", "--name", "writer", "busybox", "sh", "-c", script]).ok();
    let (images, containers) = (row("Images"), row("Containers"));
    assert_eq!((images[2].as_str(), images[5].as_str()), ("1", "(0%)"), "{images:?}");
    assert_eq!((containers[1].as_str(), containers[2].as_str()), ("1", "0"), "{containers:?}");
    assert!(containers[3].starts_with("3.0") && containers[5] == "(100%)", "{containers:?}");
    let verbose = host.corten(&["system", "df", "--verbose"]).ok();
    let line = verbose.lines().nth(1).unwrap();
    assert!(line.starts_with("busybox ") && line.ends_with(" 1"), "{verbose}");
}
