//! The cache of `corten build`: what counts, and what does not.

use crate::support::building::{build, build_at, cached, context, run};
use crate::support::{Host, text};

#[corten_tier::t1]
fn the_cache_goes_by_content() {
    let host = Host::with_busybox();
    let dockerfile =
        "FROM busybox\nARG A=1\nCOPY a.txt /a\nRUN cat /a\nCOPY b.txt /b\nRUN cat /b $A";
    let files = [("a.txt", "a"), ("b.txt", "b")];
    let build = |files: &[(&str, &str)], args: &[&str]| {
        let outcome = build(&host, &dockerfile.replace(" $A", ""), files, args);
        let number = cached(&outcome);
        outcome.ok();
        number
    };
    assert_eq!(build(&files, &[]), 0);
    // Other times, same content.
    assert_eq!(build(&files, &[]), 5);
    assert_eq!(build(&[("a.txt", "a"), ("b.txt", "other")], &[]), 3);
    // A build argument counts for the commands that see it.
    assert_eq!(build(&files, &["--build-arg", "A=2"]), 3);
    assert_eq!(build(&files, &["--no-cache"]), 0);
    // What removes images leaves the cache.
    host.corten(&["rmi", "-f", "made"]).ok();
    assert_eq!(build(&files, &[]), 5);
    let explained =
        host.corten(&["build", "--network", "none", "--explain", text(&host.path("context"))]).ok();
    assert_eq!(explained.matches("cached").count(), 6, "{explained}");
    std::fs::write(host.path("context/a.txt"), "new").unwrap();
    let explained =
        host.corten(&["build", "--network", "none", "--explain", text(&host.path("context"))]).ok();
    assert!(explained.contains("RUNS: a.txt has changed"), "{explained}");
    assert!(explained.contains("RUNS: a step before it must be done"), "{explained}");
    // Nor is anything known of what reads a stage that must be built.
    let dockerfile = "FROM busybox AS one\nRUN echo new > /new\nFROM one\nCOPY a.txt /a\n\
                      FROM busybox\nCOPY --from=one /new /\nCOPY --from=1 /new /2\n";
    let path = context(&host, &[("Dockerfile", dockerfile), ("a.txt", "a")]);
    let explained = host.corten(&["build", "--network", "none", "--explain", text(&path)]).ok();
    assert_eq!(explained.matches("RUNS: a step before it must be done").count(), 3, "{explained}");
    // Digests of the context's files are kept as soon as the files are old enough to be trusted.
    let folders = host.root().join("build/folders");
    assert!(!folders.exists());
    std::thread::sleep(std::time::Duration::from_millis(3100));
    build_at(&host, &host.path("context"), &[]).ok();
    assert_eq!(std::fs::read_dir(&folders).unwrap().count(), 1);
    // A record that a power cut has spoiled is none.
    let records = host.root().join("build/cache");
    for entry in std::fs::read_dir(&records).unwrap() {
        std::fs::write(entry.unwrap().path(), "{").unwrap();
    }
    assert_eq!(build(&files, &[]), 0);
    host.corten(&["builder", "prune", "-f"]).ok();
    assert_eq!(std::fs::read_dir(&records).unwrap().count(), 0);
}

/// What is different, and looks the same as long as nobody looks closely.
#[corten_tier::t1]
fn nothing_stale_comes_from_the_cache() {
    let host = Host::with_busybox();
    let made = |dockerfile: &str, args: &[&str], script: &str| {
        build(&host, dockerfile, &[("a", "a")], args).ok();
        run(&host, script)
    };
    // Variables in options.
    let mode = "FROM busybox\nARG M=600\nCOPY --chmod=$M a /a\n";
    assert_eq!(made(mode, &[], "stat -c %a /a"), "600\n");
    assert_eq!(made(mode, &["--build-arg", "M=640"], "stat -c %a /a"), "640\n");
    let exclude = "FROM busybox AS one\nRUN mkdir /d && touch /d/x /d/y\n\
                   FROM busybox\nARG E=x\nCOPY --from=one --exclude=$E /d /d\n";
    assert_eq!(made(exclude, &[], "ls /d"), "y\n");
    assert_eq!(made(exclude, &["--build-arg", "E=y"], "ls /d"), "x\n");
    // Words with blanks in them.
    let words = |words: &str| format!("FROM busybox\nWORKDIR /d\nRUN [\"touch\", {words}]\n");
    assert_eq!(made(&words("\"a b\""), &[], "ls"), "a b\n");
    assert_eq!(made(&words("\"a\", \"b\""), &[], "ls"), "a\nb\n");
    // Owners, which stay when files come from a stage.
    let owner = |owner: &str| {
        format!(
            "FROM busybox AS one\nRUN echo x > /x && chown {owner} /x\n\
             FROM busybox\nCOPY --from=one /x /x\n"
        )
    };
    assert_eq!(made(&owner("5:6"), &[], "stat -c %u:%g /x"), "5:6\n");
    assert_eq!(made(&owner("7:8"), &[], "stat -c %u:%g /x"), "7:8\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn another_image_serves_as_cache() {
    let host = Host::with_busybox();
    let dockerfile = "FROM busybox\nRUN date > /date\nENV A=1\nCOPY a /a\n";
    let files = [("a", "a")];
    build(&host, dockerfile, &files, &[]).ok();
    let date = run(&host, "cat /date");
    host.corten(&["tag", "made", "old"]).ok();
    host.corten(&["builder", "prune", "-f"]).ok();
    let again = build(&host, dockerfile, &files, &["--cache-from", "old"]);
    assert_eq!(cached(&again), 3, "{again:?}");
    assert_eq!(run(&host, "cat /date"), date);
    host.assert_clean();
}

#[corten_tier::t1]
fn the_cache_has_a_limit() {
    let host = Host::with_busybox();
    let records = || std::fs::read_dir(host.root().join("build/cache")).unwrap().count();
    for name in ["a", "b", "c"] {
        let dockerfile = format!("FROM busybox\nRUN head -c 100000 /dev/urandom > /{name}\n");
        build(&host, &dockerfile, &[], &["--cache-limit", "250k"]).ok();
    }
    assert_eq!(records(), 2);
    // Of the two layers the image has one: that one counts as the image's.
    host.corten(&["image", "prune", "-f"]).ok();
    let told =
        host.corten(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"]).ok();
    assert!(told.contains("Build Cache 2 10") && told.contains("kB\n"), "{told}");
    // The image of the last build is whole, the others lost their name and nothing else.
    assert_eq!(run(&host, "wc -c < /c"), "100000\n");
    let again = build(&host, "FROM busybox\nRUN head -c 100000 /dev/urandom > /c\n", &[], &[]);
    assert_eq!(cached(&again), 1);
    host.assert_clean();
}
