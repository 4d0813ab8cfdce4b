//! `corten build --build-context`: names that mean a folder, a repository or an image.

use std::os::unix::fs::symlink;

use crate::support::Host;
use crate::support::building::{build, cached, run};

#[corten_tier::t1]
fn a_name_means_a_folder_which_is_looked_at_each_time() {
    let host = Host::with_busybox();
    let other = host.path("other");
    std::fs::create_dir_all(other.join("sub")).unwrap();
    std::fs::write(other.join("sub/file"), "one").unwrap();
    std::fs::write(other.join("secret"), "geheim").unwrap();
    std::fs::write(other.join(".dockerignore"), "secret\n").unwrap();
    // A link that leads out of it leads nowhere.
    symlink("/etc/hostname", other.join("out")).unwrap();
    let text = "FROM busybox AS Lib\nRUN echo of the stage >/file\nFROM busybox\n\
                COPY --from=lib sub/file /file\nRUN --mount=from=LIB,target=/l cat /l/sub/file >/again; ls /l >/list\n";
    let place = format!("lib={}", other.display());
    let options = ["--build-context", &place];
    build(&host, text, &[], &options).ok();
    assert_eq!(run(&host, "cat /file /again"), "oneone", "the folder counts, and not the stage");
    assert!(!run(&host, "cat /list").contains("secret"));
    let again = build(&host, text, &[], &options);
    assert_eq!(cached(&again), 2, "{again:?}");
    std::fs::write(other.join("sub/file"), "two").unwrap();
    build(&host, text, &[], &options).ok();
    assert_eq!(run(&host, "cat /file /again"), "twotwo");
    let out = build(&host, "FROM busybox\nCOPY --from=lib out /\n", &[], &options);
    assert!(out.status == 1 && out.err.contains("out"), "{out:?}");
    // Nor does its own list of what is ignored: what is said of a file of the host would tell of it.
    let secret = host.path("secret");
    std::fs::write(&secret, "![\n").unwrap();
    std::fs::remove_file(other.join(".dockerignore")).unwrap();
    symlink(&secret, other.join(".dockerignore")).unwrap();
    let copied = build(&host, "FROM busybox\nCOPY --from=lib sub /sub\n", &[], &options);
    assert_eq!(copied.status, 0, "{copied:?}");
    let from = build(&host, "FROM lib\n", &[], &options);
    assert!(from.err.contains("COPY --from and RUN --mount can use it, FROM cannot"), "{from:?}");
    host.assert_clean();
}

#[corten_tier::t1]
fn a_name_means_another_image() {
    let host = Host::with_busybox();
    build(&host, "FROM busybox\nRUN echo other >/who\n", &[], &["-t", "other"]).ok();
    let text = "FROM base\nRUN cat /who >/seen\nFROM busybox\nCOPY --from=0 /seen /\nCOPY --from=base /who /\n";
    build(&host, text, &[], &["--build-context", "base=docker-image://other"]).ok();
    assert_eq!(run(&host, "cat /seen /who"), "other\nother\n");
    for (wrong, why) in [("base", "has no name"), ("base=/no/such", "is no folder, no address")] {
        let said = build(&host, text, &[], &["--build-context", wrong]);
        assert!(said.status == 1 && said.err.contains(why), "{said:?}");
    }
    host.assert_clean();
}
