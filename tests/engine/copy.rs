//! `corten cp`, `diff` and `export`: files into and out of containers.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;

use crate::support::{self, Host, Outcome, outcome, text};
use corten_unionfs::Limits;
use corten_unionfs::archive::{Archive, Kind};
use corten_unionfs::fixture::LayerBuilder;

/// Two containers of one image: `rests` has never run, `runs` does.
fn with_boxes(host: &Host, options: &[&str]) {
    let make = |how: &[&str], name: &str| {
        let args = [how, &["--name", name], options, &["busybox", "sleep", "1000"]].concat();
        host.corten(&args).ok();
    };
    make(&["create"], "rests");
    make(&["run", "-d"], "runs");
}

fn remove_boxes(host: &Host) {
    host.corten(&["rm", "-f", "-v", "rests", "runs"]).ok();
    host.assert_clean();
}

/// Runs `corten` with something on its standard input.
fn with_input(host: &Host, args: &[&str], input: &[u8]) -> Outcome {
    let mut command = host.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Where it is refused, nobody reads it.
    let _ = child.stdin.take().unwrap().write_all(input);
    outcome(child.wait_with_output().unwrap())
}

#[corten_tier::t1]
fn busybox_reads_the_archives_of_copies() {
    let host = Host::with_busybox();
    with_boxes(&host, &[]);
    let archive = host.command(&["cp", "runs:/etc/hostname", "-"]).output().unwrap().stdout;
    // Its time has a fraction, so there is a PAX header.
    assert!(archive.windows(6).any(|bytes| bytes == b"mtime="));
    let mut tar = std::process::Command::new("busybox");
    tar.args(["tar", "-t"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tar = tar.spawn().unwrap();
    tar.stdin.take().unwrap().write_all(&archive).unwrap();
    assert_eq!(outcome(tar.wait_with_output().unwrap()).ok(), "hostname\n");
    remove_boxes(&host);
}

/// The names in the archive that `corten` writes.
fn names(host: &Host, args: &[&str]) -> Vec<String> {
    let output = host.command(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    entries(&output.stdout)
}

fn entries(archive: &[u8]) -> Vec<String> {
    // Docker's names of a root begin with a slash, which a layer's must not.
    let mut names = Vec::new();
    let mut at = 0;
    while at + 512 <= archive.len() && archive[at..at + 512] != [0; 512] {
        let header = &archive[at..at + 512];
        let field = |range: std::ops::Range<usize>| {
            let text = String::from_utf8_lossy(&header[range]).into_owned();
            text.trim_end_matches(['\0', ' ']).split('\0').next().unwrap().to_owned()
        };
        let size = usize::from_str_radix(&field(124..136), 8).unwrap();
        if !matches!(header[156], b'x' | b'g') {
            names.push(field(0..100));
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    names
}

/// A directory on the host with a file, a directory and a link.
fn sources(host: &Host) -> std::path::PathBuf {
    let dir = host.path("sources");
    std::fs::create_dir_all(dir.join("d/sub")).unwrap();
    std::fs::write(dir.join("f"), "file\n").unwrap();
    std::fs::write(dir.join("d/sub/g"), "deep\n").unwrap();
    std::os::unix::fs::symlink("f", dir.join("link")).unwrap();
    dir
}

/// What `cat` prints of a path in a container.
fn cat(host: &Host, name: &str, path: &str) -> String {
    let out = host.path("cat");
    host.corten(&["cp", &format!("{name}:{path}"), text(&out)]).ok();
    let read = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    read
}

#[corten_tier::t1]
fn every_row_of_docker_s_table_holds_into_a_container() {
    let host = Host::with_busybox();
    with_boxes(&host, &[]);
    let from = sources(&host);
    let path = |name: &str| text(&from.join(name)).to_owned();
    for name in ["rests", "runs"] {
        let cp = |from: &str, to: &str| host.corten(&["cp", from, &format!("{name}:{to}")]);
        cp(&path("f"), "/tmp/new").ok();
        assert_eq!(cat(&host, name, "/tmp/new"), "file\n");
        cp(&path("d/sub/g"), "/tmp/new").ok();
        assert_eq!(cat(&host, name, "/tmp/new"), "deep\n", "a file overwrites a file");
        cp(&path("f"), "tmp").ok();
        assert_eq!(cat(&host, name, "/tmp/f"), "file\n", "paths begin at the root");
        cp(&path("d"), "/tmp/made").ok();
        assert_eq!(cat(&host, name, "/tmp/made/sub/g"), "deep\n");
        cp(&path("d"), "/tmp/made").ok();
        assert_eq!(cat(&host, name, "/tmp/made/d/sub/g"), "deep\n", "it is there now");
        cp(&(path("d") + "/."), "/tmp/made/d/sub").ok();
        assert_eq!(cat(&host, name, "/tmp/made/d/sub/sub/g"), "deep\n");
        cp(&(path("d") + "/."), "/tmp/content").ok();
        assert_eq!(cat(&host, name, "/tmp/content/sub/g"), "deep\n");
        cp(&path("f"), "/tmp/nope/").fails(1, "no such directory");
        cp(&path("f"), "/nope/x").fails(1, &format!("file /nope in container {name}"));
        cp(&path("d"), "/tmp/f").fails(1, "cannot copy directory");
        cp(&path("nope"), "/tmp").fails(1, "no such file or directory");
        cp(&path("f"), "/tmp/f/x").fails(1, "extraction point is not a directory");
        // A name that is a directory there already.
        cp(&path("f"), "/tmp/made/f").ok();
        cp(&path("d"), "/tmp/dir").ok();
        std::fs::create_dir_all(from.join("e/sub")).unwrap();
        std::fs::write(from.join("e/sub/sub"), "").unwrap();
        cp(&(path("e") + "/."), "/tmp/made/d").fails(
            1,
            "cannot overwrite directory \"/tmp/made/d/sub/sub\" with non-directory \"/tmp/made/d\"",
        );
        // A link in the source, and what it leads to.
        cp(&path("link"), "/tmp/as-link").ok();
        host.corten(&["cp", "-L", &path("link"), &format!("{name}:/tmp/real")]).ok();
        assert_eq!(cat(&host, name, "/tmp/real"), "file\n");
        host.corten(&["cp", "-L", &path("link"), &format!("{name}:/tmp")]).ok();
        assert_eq!(cat(&host, name, "/tmp/link"), "file\n", "under the link's name");
        std::fs::remove_dir_all(from.join("e")).unwrap();
    }
    let seen = host.corten(&["exec", "runs", "readlink", "/tmp/as-link"]).ok();
    assert_eq!(seen, "f\n");
    remove_boxes(&host);
}

#[corten_tier::t1]
fn every_row_of_docker_s_table_holds_out_of_a_container() {
    let host = Host::with_busybox();
    with_boxes(&host, &[]);
    let from = sources(&host);
    for name in ["rests", "runs"] {
        host.corten(&["cp", &(text(&from).to_owned() + "/."), &format!("{name}:/tmp/s")]).ok();
        let out = host.path(name);
        std::fs::create_dir(&out).unwrap();
        let cp = |from: &str, to: &Path| host.corten(&["cp", &format!("{name}:{from}"), text(to)]);
        let read = |path: &str| std::fs::read_to_string(out.join(path)).unwrap();
        cp("/tmp/s/f", &out).ok();
        cp("/tmp/s/f", &out.join("new")).ok();
        cp("/tmp/s/d/sub/g", &out.join("new")).ok();
        assert_eq!((read("f"), read("new")), ("file\n".into(), "deep\n".into()));
        cp("/tmp/s/d", &out.join("made")).ok();
        cp("/tmp/s/d", &out.join("made")).ok();
        cp("/tmp/s/d/.", &out.join("content")).ok();
        for path in ["made/sub/g", "made/d/sub/g", "content/sub/g"] {
            assert_eq!(read(path), "deep\n", "{path}");
        }
        cp("/tmp/s/link", &out).ok();
        assert_eq!(std::fs::read_link(out.join("link")).unwrap(), Path::new("f"));
        host.corten(&["cp", "-L", &format!("{name}:/tmp/s/link"), text(&out.join("real"))]).ok();
        assert_eq!(read("real"), "file\n");
        cp("/tmp/s/nope", &out)
            .fails(1, &format!("Could not find the file /tmp/s/nope in container {name}"));
        cp("/tmp/s/d", &out.join("f")).fails(1, "cannot copy directory");
        cp("/tmp/s/f", &out.join("nope/")).fails(1, "no such directory");
        cp("/tmp/s/f", &out.join("nope/x")).fails(1, "does not exist");
        cp("/tmp/s/f/", &out).fails(1, "ENOTDIR");
    }
    host.corten(&["cp", "rests:/tmp", "runs:/tmp"]).fails(1, "between containers is not supported");
    host.corten(&["cp", "/tmp", "./x"]).fails(1, "must specify at least one container source");
    host.corten(&["cp", "nobody:/tmp", "./x"]).fails(1, "no container nobody");
    remove_boxes(&host);
}

#[corten_tier::t1]
fn a_copy_can_be_a_stream() {
    let host = Host::with_busybox();
    with_boxes(&host, &[]);
    let plain = LayerBuilder::new()
        .owner(33, 34)
        .dir("s", 0o750)
        .file("s/a", 0o640, "a\n")
        .hard_link("s/b", "s/a")
        .symlink("s/c", "a")
        .file("s/.wh.d", 0o644, "no whiteout here")
        .build();
    use corten_unionfs::{Compression, fixture};
    let packed = [
        plain.clone(),
        fixture::compress(&plain, Compression::Gzip),
        fixture::compress(&plain, Compression::Zstd),
    ];
    for name in ["rests", "runs"] {
        for (archive, at) in packed.iter().zip(["/tmp", "/", "/bin"]) {
            with_input(&host, &["cp", "-", &format!("{name}:{at}")], archive).ok();
            let stream = names(&host, &["cp", &format!("{name}:{at}/s"), "-"]);
            assert_eq!(stream, ["s/", "s/.wh.d", "s/a", "s/b", "s/c"]);
            let stream = names(&host, &["cp", &format!("{name}:{at}/s/."), "-"]);
            assert_eq!(stream, ["./", "./.wh.d", "./a", "./b", "./c"]);
        }
        let root = names(&host, &["cp", &format!("{name}:/"), "-"]);
        assert_eq!(&root[..2], ["/", "/bin/"], "as dockerd has it");
        assert!(!root.iter().any(|name| name.starts_with("/proc/") && name != "/proc/"));
        // What came out of the one goes into the other, with absolute names.
        let output = host.command(&["cp", &format!("{name}:/tmp/s"), "-"]).output().unwrap();
        let mut archive = Archive::new(&output.stdout[..], Limits::default());
        let mut seen = Vec::new();
        while let Some(entry) = archive.next_entry().unwrap() {
            seen.push((entry.uid, entry.gid, entry.mode, matches!(entry.kind, Kind::HardLink(_))));
        }
        assert_eq!(seen[2..4], [(33, 34, 0o640, false), (33, 34, 0o640, true)]);
        let to_file = with_input(&host, &["cp", "-", &format!("{name}:/tmp/s/a")], &plain);
        to_file.fails(1, &format!("destination \"{name}:/tmp/s/a\" must be a directory"));
        let cut = with_input(&host, &["cp", "-", &format!("{name}:/tmp")], &plain[..700]);
        cut.fails(1, "archive refused");
    }
    let root = host.command(&["cp", "runs:/", "-"]).output().unwrap().stdout;
    with_input(&host, &["cp", "-", "rests:/tmp"], &root).ok();
    assert_eq!(cat(&host, "rests", "/tmp/tmp/s/a"), "a\n");
    remove_boxes(&host);
}

#[corten_tier::t1]
fn what_is_mounted_is_seen_at_its_place_and_may_be_read_only() {
    let host = Host::with_busybox();
    let (bound, shown) = (host.path("bound"), host.path("shown"));
    std::fs::create_dir_all(bound.join("inner")).unwrap();
    std::fs::create_dir_all(&shown).unwrap();
    std::fs::write(shown.join("f"), "bound\n").unwrap();
    std::fs::write(host.path("one"), "1\n").unwrap();
    let binds = [
        format!("{}:/m", text(&bound)),
        format!("{}:/m/inner:ro", text(&shown)),
        format!("{}:/tmp/one", text(&host.path("one"))),
    ];
    let options =
        ["-v", &binds[0], "-v", &binds[1], "-v", &binds[2], "-v", "vol:/v", "--read-only"];
    with_boxes(&host, &options);
    let from = sources(&host).join("f");
    for name in ["rests", "runs"] {
        let cp = |to: &str| host.corten(&["cp", text(&from), &format!("{name}:{to}")]);
        assert_eq!(cat(&host, name, "/m/inner/f"), "bound\n");
        cp("/m/new").ok();
        assert_eq!(std::fs::read(bound.join("new")).unwrap(), b"file\n");
        std::fs::remove_file(bound.join("new")).unwrap();
        cp("/v/new").ok();
        cp("/m/inner").fails(1, "mounted volume is marked read-only");
        cp("/tmp").fails(1, "container rootfs is marked read-only");
        // What is mounted is a file, and stays that file.
        std::fs::write(host.path("one"), "1\n").unwrap();
        let node = std::fs::metadata(host.path("one")).unwrap().ino();
        let archive = LayerBuilder::new().file("new", 0o644, "n\n").build();
        with_input(&host, &["cp", "-", &format!("{name}:/v")], &archive).ok();
        assert_eq!(std::fs::metadata(host.path("one")).unwrap().ino(), node);
    }
    assert_eq!(host.corten(&["exec", "runs", "ls", "/v"]).ok(), "new\n");
    assert_eq!(cat(&host, "rests", "/v/new"), "n\n");
    assert!(cat(&host, "runs", "/etc/hosts").contains("localhost"));
    remove_boxes(&host);
    // A tmpfs is the running container's own; a file that is mounted gets the new content.
    let bind = format!("{}:/one", text(&host.path("one")));
    with_boxes(&host, &["--tmpfs", "/t", "-v", &bind]);
    host.corten(&["cp", text(&from), "runs:/t/x"]).ok();
    assert_eq!(host.corten(&["exec", "runs", "cat", "/t/x"]).ok(), "file\n");
    assert_eq!(cat(&host, "runs", "/t/x"), "file\n");
    for name in ["rests", "runs"] {
        std::fs::write(host.path("one"), "a longer line\n").unwrap();
        host.corten(&["cp", text(&from), &format!("{name}:/one")]).ok();
        assert_eq!(std::fs::read_to_string(host.path("one")).unwrap(), "file\n", "{name}");
    }
    host.corten(&["volume", "rm", "vol"]).ok();
    remove_boxes(&host);
}

#[corten_tier::t1]
fn owners_are_root_s_and_the_user_s_or_stay() {
    let host = Host::with_busybox();
    with_boxes(&host, &[]);
    let from = sources(&host).join("f");
    std::os::unix::fs::chown(&from, Some(33), Some(34)).unwrap();
    std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o4711)).unwrap();
    let stat = |path: &str| {
        host.corten(&["exec", "runs", "stat", "-c", "%u:%g %a", path]).ok().trim_end().to_owned()
    };
    host.corten(&["cp", text(&from), "runs:/tmp/root"]).ok();
    host.corten(&["cp", "-a", text(&from), "runs:/tmp/same"]).ok();
    assert_eq!(stat("/tmp/root"), "0:0 4711");
    assert_eq!(stat("/tmp/same"), "33:34 4711");
    // A program of a container gets no rights on the host by the way, nor does a device.
    host.corten(&["exec", "runs", "mknod", "/tmp/zero", "c", "1", "5"]).ok();
    let (plain, whole) = (host.path("plain"), host.path("whole"));
    let copied = host.corten(&["cp", "runs:/tmp", text(&plain)]);
    assert_eq!(copied.err, "corten: warning: left out 1 device nodes; -a makes them on the host\n");
    host.corten(&["cp", "-a", "runs:/tmp", text(&whole)]).ok();
    let of = |path: &Path| {
        let meta = path.symlink_metadata().unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(of(&plain.join("same")), (0, 0, 0o711));
    assert_eq!(of(&whole.join("same")), (33, 34, 0o4711));
    assert!(!plain.join("zero").exists() && whole.join("zero").exists());
    remove_boxes(&host);
}

#[corten_tier::t1]
fn diff_tells_what_docker_tells() {
    for driver in ["overlay", "fuse-overlayfs", "copy"] {
        let host = Host::on_driver(driver);
        let layer = support::busybox_layer_with(|layer| {
            layer
                .dir("a", 0o755)
                .dir("a/b", 0o755)
                .file("a/b/changed", 0o644, "1")
                .file("a/gone", 0o644, "1")
                .dir("a/renewed", 0o755)
                .file("a/renewed/old", 0o644, "1")
                .file("a/renewed/both", 0o644, "1")
        });
        host.import(&layer, &["import", "-", "busybox"]);
        let script = "echo 2 > /a/b/changed; rm /a/gone; rm -r /a/renewed; mkdir -p /a/renewed \
                      /new/dir; touch /a/renewed/both; ln -s x /new/link; sleep 1000";
        host.corten(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
        let expected = "C /a\nC /a/b\nC /a/b/changed\nD /a/gone\nC /a/renewed\nC /a/renewed/both\n\
                        D /a/renewed/old\nA /new\nA /new/dir\nA /new/link\n";
        support::eventually("the script is done", || {
            (host.corten(&["diff", "box"]).ok() == expected).then_some(())
        });
        host.corten(&["stop", "-t", "0", "box"]).ok();
        assert_eq!(host.corten(&["diff", "box"]).ok(), expected, "{driver}");
        host.corten(&["rm", "box"]).ok();
        host.corten(&["create", "--name", "fresh", "busybox", "true"]).ok();
        assert_eq!(host.corten(&["diff", "fresh"]).ok(), "");
        host.corten(&["rm", "fresh"]).ok();
        host.assert_clean();
    }
}

#[corten_tier::t1]
fn an_export_is_the_whole_root_and_nothing_that_is_mounted() {
    let host = Host::new();
    let layer = support::busybox_layer_with(|layer| {
        layer
            .dir("x", 0o751)
            .owner(33, 34)
            .xattr("user.note", "kept")
            .file("x/a", 0o640, "a\n")
            .hard_link("x/b", "x/a")
            .mtime("1700000000.123456789")
            .file("x/old", 0o600, "old\n")
    });
    host.import(&layer, &["import", "-c", "CMD [\"sh\"]", "-", "busybox"]);
    with_boxes(&host, &["-v", "vol:/v"]);
    let hole = "echo v > /v/f; dd if=/dev/zero of=/x/hole bs=1 count=1 seek=1073741824 2>/dev/null";
    host.corten(&["exec", "runs", "sh", "-c", hole]).ok();
    let archive = host.path("export.tar");
    for name in ["rests", "runs"] {
        host.corten(&["export", "-o", text(&archive), name]).ok();
        let size = std::fs::metadata(&archive).unwrap().len();
        assert!(size < 16 << 20, "{name}: a hole takes no room: {size}");
        let names = entries(&std::fs::read(&archive).unwrap());
        let has = |path: &str| names.iter().any(|name| name == path);
        assert!(has("x/a") && !has("v/f"), "{names:?}");
        host.corten(&["import", "-c", "CMD [\"sh\"]", text(&archive), name]).ok();
        let script = "stat -c '%n %u:%g %a %h %s %Y' /x /x/*; cat /x/b";
        let run = |image: &str| host.corten(&["run", "--rm", image, "sh", "-c", script]).ok();
        let (own, expected) = (run(name), run("busybox"));
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|l| !l.contains("/x/hole") && !l.starts_with("/x "))
                .map(Into::into)
                .collect()
        };
        assert_eq!(lines(&own), lines(&expected));
        assert_eq!(own.contains("/x/hole 0:0 644 1 1073741825"), name == "runs", "{own}");
    }
    host.corten(&["export", "nobody"]).fails(1, "no container nobody");
    remove_boxes(&host);
}
