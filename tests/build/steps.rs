//! `corten build`: from a Dockerfile to an image that runs.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::building::{build, build_at, cached, context, run};
use crate::support::{self, Host, outcome, text};

#[corten_tier::t1]
fn an_image_is_built_and_runs() {
    for driver in ["overlay", "fuse-overlayfs", "copy"] {
        let host = Host::on_driver(driver);
        host.import(&support::busybox_layer(), &["import", "-", "busybox"]);
        let dockerfile = "FROM busybox AS one\nRUN mkdir /d && echo 1 > /d/a && echo 2 > /d/b\n\
                          FROM busybox\nENV A=x\nCOPY a.txt /w/\nWORKDIR /w\nRUN cat a.txt > b.txt\n\
                          COPY --from=one /d/b /w/c.txt\nRUN rm a.txt\nCMD [\"cat\", \"b.txt\", \"c.txt\"]";
        let files = [("a.txt", "content\n")];
        let id = build(&host, dockerfile, &files, &[]).ok();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(host.corten(&["run", "--rm", "--network", "none", "made"]).ok(), "content\n2\n");
        assert_eq!(run(&host, "ls; echo $A; pwd"), "b.txt\nc.txt\nx\n/w\n", "{driver}");
        // Everything again from the cache: the same image.
        let again = build(&host, dockerfile, &files, &[]);
        assert_eq!((cached(&again), again.ok()), (8, id));
        host.assert_clean();
    }
}

#[corten_tier::t1]
fn what_fails_says_where_and_leaves_nothing() {
    let host = Host::with_busybox();
    let fails = |dockerfile: &str, why: &str| {
        let outcome = build(&host, dockerfile, &[("d/x", "x")], &[]);
        assert_eq!(outcome.status, 1, "{outcome:?}");
        assert!(outcome.err.contains(why), "wanted `{why}` in: {}", outcome.err);
        host.assert_clean();
    };
    fails(
        "FROM busybox\nRUN echo x\nRUN exit 7\n",
        "Dockerfile:3:1: `/bin/sh -c exit 7` ended with 7",
    );
    fails("FROM busybox\nRUN exit 7\n", "> 2 | RUN exit 7");
    fails("FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n", "ended with 137");
    fails("FROM busybox\nRUN no-such\n", "the command was not found");
    fails(
        "FROM busybox\nCOPY none /\n",
        "Dockerfile:2:1: COPY failed: file not found in build context",
    );
    fails("FROM busybox\nCOPY ../none /\n", "forbidden path outside the build context");
    fails("FROM busybox\nCOPY d /etc/passwd\nFRM x", "Dockerfile:3:1: unknown instruction: FRM");
    fails("FROM busybox\nRUN touch /f\nCOPY d /f\n", "f: ENOTDIR");
    fails("FROM busybox\nUSER eve\nRUN id\n", "no user eve");
    fails("FROM busybox\nCOPY --chown=eve d /d\n", "no such user: eve");
    fails("FROM busybox\nCOPY --from=x:y /a /\n", "Dockerfile:2:1");
    fails("FROM none.invalid/x\n", "Dockerfile:1:1");
    fails("FROM busybox AS a\nCOPY --from=b /1 /\nFROM a AS b", "circular dependency detected");
    assert!(host.corten(&["images"]).ok().lines().count() == 2, "no image is left");
}

#[corten_tier::t1]
fn no_link_leads_out_of_the_context_or_the_image() {
    let host = Host::with_busybox();
    let secret = host.path("secret");
    std::fs::write(&secret, "secret").unwrap();
    let path = context(&host, &[("d/x", "x"), ("sub/y", "y")]);
    symlink(&secret, path.join("absolute")).unwrap();
    symlink("../../secret", path.join("d/climbing")).unwrap();
    symlink(host.path(""), path.join("out")).unwrap();
    let try_copy = |source: &str, why: &str| {
        std::fs::write(path.join("Dockerfile"), format!("FROM busybox\nCOPY {source} /x\n"))
            .unwrap();
        let outcome = build_at(&host, &path, &[]);
        assert!(outcome.status == 1 && outcome.err.contains(why), "{source}: {outcome:?}");
    };
    try_copy("absolute", "file not found");
    try_copy("d/climbing", "file not found");
    try_copy("out/secret", "file not found");
    // In a directory they are copied as links, which lead where the image says.
    std::fs::write(path.join("Dockerfile"), "FROM busybox\nCOPY d /d\n").unwrap();
    build_at(&host, &path, &[]).ok();
    assert_eq!(run(&host, "readlink /d/climbing; cat /d/climbing || true"), "../../secret\n");
    // Links of the base image are the image's business, too.
    let target = host.path("victim");
    std::fs::create_dir(&target).unwrap();
    let victim = text(&target);
    let dockerfile = format!(
        "FROM busybox\nRUN ln -s {victim} /link && ln -s {victim}/file /flink && ln -s /../../.. /up\n\
         COPY d/x /link/x\nCOPY d/x /flink\nCOPY d/x /up/x\nADD sub /link/sub\n"
    );
    build(&host, &dockerfile, &[("d/x", "x"), ("sub/y", "y")], &[]).ok();
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "nothing is written to the host");
    assert_eq!(run(&host, &format!("cat {victim}/x {victim}/file /x {victim}/sub/y")), "xxxy");
    host.assert_clean();
}

#[corten_tier::t1]
fn contexts_may_hold_anything() {
    let host = Host::with_busybox();
    let path = context(&host, &[("a", "a"), ("Dockerfile", "FROM busybox\nCOPY . /all\n")]);
    nix::unistd::mkfifo(&path.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket")).unwrap();
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"not-\xff-utf8");
    let odd: &std::ffi::OsStr = odd;
    std::fs::write(path.join(odd), "odd").unwrap();
    build_at(&host, &path, &[]).ok();
    assert_eq!(
        run(&host, "cat /all/not-*; test -p /all/pipe && echo pipe; ls /all | wc -l"),
        "oddpipe\n4\n"
    );
    let device = nix::sys::stat::makedev(1, 3);
    let mode = nix::sys::stat::Mode::S_IRUSR;
    let kind = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&path.join("device"), kind, mode, device).unwrap();
    let outcome = build_at(&host, &path, &[]);
    assert!(outcome.err.contains("device: is a device"), "{outcome:?}");
    std::fs::write(path.join(".dockerignore"), "device\n").unwrap();
    build_at(&host, &path, &[]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn mounts_of_run_leave_nothing_in_the_image() {
    let host = Host::with_busybox();
    let secret = host.path("secret");
    std::fs::write(&secret, "geheim-4711").unwrap();
    let dockerfile = "FROM busybox AS other\nRUN mkdir /o && echo o > /o/f\nFROM busybox\n\
        RUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S,target=/opt/deep/s \
        test \"$(cat /run/secrets/s)$S$(cat /opt/deep/s)\" = \"$S$S$S\" -a -n \"$S\"\n\
        RUN --mount=type=cache,target=/c,id=c echo kept >> /c/n && wc -l < /c/n > /n\n\
        RUN --mount=type=bind,from=other,source=/o,target=/b,rw cat /b/f > /f && rm /b/f\n\
        RUN --mount=type=tmpfs,target=/t touch /t/x\n\
        RUN --mount=target=/ctx,source=. test -e /ctx/seen && test ! -e /ctx/hidden\n\
        RUN <<'EOF'\necho \"$0\" > /zero\nEOF\n";
    let files = [("seen", ""), ("hidden", ""), (".dockerignore", "hidden\n")];
    let option = format!("id=s,src={}", text(&secret));
    build(&host, dockerfile, &files, &["--secret", &option]).ok();
    assert_eq!(run(&host, "cat /n /f; ls -d /c /b /t /ctx /run /opt 2>/dev/null; true"), "1\no\n");
    // The cache is kept, and none of it is in the image or the build cache.
    build(&host, dockerfile, &files, &["--secret", &option, "--no-cache"]).ok();
    assert_eq!(run(&host, "cat /n"), "2\n");
    let found = support::wire::sh(&format!("grep -rl geheim-4711 {} || true", text(&host.root())));
    assert_eq!(found, "", "the secret is in no file of the state");
    let missing =
        build(&host, "FROM busybox\nRUN --mount=type=secret,id=none,required true", &[], &[]);
    assert!(missing.err.contains("secret none: not found"), "{missing:?}");
    host.assert_clean();
}

#[corten_tier::t1]
fn an_interrupted_build_leaves_nothing() {
    let host = Host::with_busybox();
    let path = context(
        &host,
        &[("Dockerfile", "FROM busybox\nRUN touch /x\nRUN [\"sleep\", \"1000\"]\n")],
    );
    for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM, nix::sys::signal::SIGKILL] {
        let (mut engine, _) =
            host.start(&["build", "--network", "none", "-t", "made", text(&path)]);
        // The second command, not the first.
        let process = support::eventually("it sleeps", || {
            let (process, _) = host.running()?;
            let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains("sleep\u{0}1000").then_some(process)
        });
        let pid = nix::unistd::Pid::from_raw(engine.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
        engine.wait();
        support::eventually("the command has ended", || {
            (!support::is_alive(process)).then_some(())
        });
        host.settle();
        host.assert_clean();
        assert!(!host.root().join("build/work").exists(), "nothing half-made is left");
        assert_eq!(host.corten(&["images"]).ok().lines().count(), 2);
    }
    // What was done is in the cache.
    std::fs::write(path.join("Dockerfile"), "FROM busybox\nRUN touch /x\n").unwrap();
    let last = build_at(&host, &path, &[]);
    assert_eq!(cached(&last), 1, "{last:?}");
}

#[corten_tier::t1]
fn contexts_come_as_archives_and_results_go_to_files() {
    let host = Host::with_busybox();
    let path = context(
        &host,
        &[("Dockerfile", "FROM scratch\nADD inner.tar.gz /i/\nCOPY a /"), ("a", "a")],
    );
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_uid(7);
    tar.append_data(&mut header, "in/x", &b"in"[..]).unwrap();
    std::fs::write(path.join("inner.tar.gz"), tar.into_inner().unwrap().finish().unwrap()).unwrap();
    let archive = support::wire::sh(&format!("tar -C {} -c . | gzip | base64 -w0", text(&path)));
    assert!(!archive.is_empty());
    let file = host.path("context.tar.gz");
    support::wire::sh(&format!("tar -C {} -c . | gzip > {}", text(&path), text(&file)));
    let (out, oci) = (host.path("out"), host.path("oci.tar"));
    let mut command = host.command(&[
        "build",
        "-q",
        "-o",
        text(&out),
        "-o",
        &format!("type=oci,dest={}", text(&oci)),
        "--iidfile",
        text(&host.path("iid")),
        "--provenance-file",
        text(&host.path("prov")),
        "-",
    ]);
    let input = std::fs::File::open(&file).unwrap();
    let id = outcome(command.stdin(Stdio::from(input)).output().unwrap()).ok();
    assert_eq!(std::fs::read_to_string(host.path("iid")).unwrap(), id.trim());
    assert_eq!(std::fs::read_to_string(out.join("i/in/x")).unwrap(), "in");
    let metadata = std::fs::metadata(out.join("i/in/x")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), 7);
    assert_eq!(std::fs::read_to_string(out.join("a")).unwrap(), "a");
    let provenance = std::fs::read_to_string(host.path("prov")).unwrap();
    assert!(provenance.contains("https://slsa.dev/provenance/v1"), "{provenance}");
    assert!(std::fs::metadata(&oci).unwrap().len() > 1000);
    // A Dockerfile alone on standard input.
    let mut command = host.command(&["build", "-q", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"FROM busybox\nENV A=1\n").unwrap();
    outcome(child.wait_with_output().unwrap()).ok();
}

#[corten_tier::t1]
fn a_date_makes_the_same_image_each_time() {
    let dockerfile = "FROM busybox\nCOPY d /d\nRUN echo x > /x && mkdir /y\nWORKDIR /w\n";
    let mut ids = Vec::new();
    for _ in 0..2 {
        let host = Host::new();
        let layer = support::busybox_layer();
        host.import(&layer, &["import", "-", "first"]);
        // The base is the same only by its archive; its configuration has a time.
        let base = "FROM scratch\nADD base.tar /\n";
        let path = context(&host, &[("Dockerfile", base)]);
        std::fs::write(path.join("base.tar"), &layer).unwrap();
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
        host.corten(&[&["build", "-q", "-t", "busybox"], &epoch[..], &[text(&path)]].concat()).ok();
        ids.push(build(&host, dockerfile, &[("d/f", "f")], &epoch).ok());
    }
    assert_eq!(ids[0], ids[1]);
}

#[corten_tier::t1]
fn stages_are_built_at_the_same_time() {
    let host = Host::with_busybox();
    // Each waits for the other: one after the other they would never end.
    let wait = |own: &str, other: &str| {
        format!(
            "FROM busybox AS {own}\nRUN --mount=type=cache,target=/c touch /c/{own}; \
             for i in $(seq 300); do test -e /c/{other} && exit 0; sleep 0.1; done; exit 1\n"
        )
    };
    let dockerfile = format!(
        "{}{}FROM busybox\nCOPY --from=a /etc/passwd /1\nCOPY --from=b /etc/passwd /2\n",
        wait("a", "b"),
        wait("b", "a")
    );
    build(&host, &dockerfile, &[], &["--jobs", "2"]).ok();
    // One that nobody needs is not built.
    build(&host, "FROM busybox AS broken\nRUN exit 1\nFROM busybox\nRUN true\n", &[], &[]).ok();
    host.assert_clean();
}

/// Serves the files of a directory by HTTP, on loopback, until the test ends; gives its address.
fn serve(directory: PathBuf) -> String {
    use std::io::{BufRead, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            let mut rest = String::new();
            while reader.read_line(&mut rest).is_ok_and(|length| length > 2) {
                rest.clear();
            }
            let path = line.split([' ', '?']).nth(1).unwrap_or("/").trim_start_matches('/');
            let answer = match std::fs::read(directory.join(path)) {
                Ok(bytes) => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\
                         Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n",
                        bytes.len()
                    );
                    [head.into_bytes(), bytes].concat()
                }
                Err(_) => {
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_vec()
                }
            };
            let _ = (&stream).write_all(&answer);
        }
    });
    address
}

#[corten_tier::t1]
fn files_and_repositories_are_fetched() {
    if std::env::var_os(corten_tier::IN_VM).is_some() {
        println!("the lab VM has no git: this is tested on the host");
        return;
    }
    let host = Host::with_busybox();
    let site = host.path("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("file.txt"), "fetched").unwrap();
    let repository = host.path("repository");
    let script = format!(
        "set -e; export GIT_CONFIG_GLOBAL=/dev/null; git init -q -b main {0}; cd {0}; \
         git config user.email a@b; git config user.name n; mkdir sub; echo tracked > sub/t; \
         ln -s {0} out; printf 'FROM busybox\\nCOPY sub/t /t\\n' > Dockerfile; git add .; git commit -q -m m; git tag v1; \
         git clone -q --bare . {1}/r.git; cd {1}/r.git; git update-server-info",
        text(&repository),
        text(&site)
    );
    support::wire::sh(&script);
    let address = serve(site.clone());
    let dockerfile = format!(
        "FROM busybox\nADD {address}/file.txt /in/\nADD {address}/file.txt /name\n\
         ADD --chmod=644 --chown=7:8 {address}/file.txt?x=1 /owned/\nADD {address}/r.git#v1:sub /git/\n"
    );
    build(&host, &dockerfile, &[], &[]).ok();
    let script = "cat /in/file.txt /name /git/t; ls -A /git; stat -c '%a %u %Y' /in/file.txt; \
                  stat -c '%a %u' /owned/file.txt";
    let expected = "fetchedfetchedtracked\nt\n600 0 1445412480\n644 7\n";
    assert_eq!(run(&host, script), expected);
    // The whole context, too.
    host.corten(&["build", "-q", "-t", "made", &format!("{address}/r.git#main")]).ok();
    assert_eq!(run(&host, "cat /t"), "tracked\n");
    // A link in the repository does not make a directory of the host the context.
    let out = host.corten(&["build", "-q", &format!("{address}/r.git#main:out")]);
    assert!(out.status == 1 && out.err.contains("repository/out"), "{out:?}");
    // Nor one of a further context.
    let further = |fragment: &str| {
        let place = format!("repo={address}/r.git#main{fragment}");
        let text = "FROM busybox\nCOPY --from=repo t /further\n";
        build(&host, text, &[], &["--build-context", &place])
    };
    further(":sub").ok();
    assert_eq!(run(&host, "cat /further"), "tracked\n");
    let out = further(":out");
    assert!(out.status == 1 && out.err.contains("out"), "{out:?}");
    let wrong =
        format!("FROM busybox\nADD --checksum=sha256:{} {address}/file.txt /\n", "0".repeat(64));
    assert!(build(&host, &wrong, &[], &[]).err.contains("digest mismatch sha256:"));
    let missing = format!("FROM busybox\nADD {address}/none /\n");
    assert!(build(&host, &missing, &[], &[]).err.contains("with status 404"));
    // The host's own repositories are not to be had.
    let own = format!("FROM busybox\nADD git+file://{} /\n", text(&repository));
    assert!(build(&host, &own, &[], &[]).err.contains("not allowed"));
    host.assert_clean();
}
