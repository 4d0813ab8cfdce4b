//! A state directory that is on an overlay itself: an engine inside a container, a live CD.

use crate::support::building::{build, run};
use crate::support::{self, Host};
use corten_unionfs::fixture::fuse_programs;

#[corten_tier::t1]
fn on_an_overlay_all_of_it_works_and_nothing_is_left() {
    let mut host = Host::on_overlay();
    let layer = support::busybox_layer_with(|layer| {
        layer.dir("d", 0o755).file("d/old", 0o644, "1").file("gone", 0o644, "1")
    });
    host.import(&layer, &["import", "-c", "CMD [\"sh\"]", "-", "busybox"]);
    let said = host.corten(&["info"]).ok();
    assert!(said.contains("storage driver: fuse-overlayfs"), "{said}");
    assert!(said.contains("overlay: no: ") && said.contains("FUSE on overlay"), "{said}");

    // A container that deletes and writes, while it runs and when it has ended.
    let script =
        "echo own > /own; rm /gone; rm -r /d; mkdir /d; touch /d/new /ready; exec sleep 1000";
    host.corten(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]).ok();
    let expected = "C /d\nA /d/new\nD /d/old\nD /gone\nA /own\nA /ready\n";
    support::eventually("the script is done", || {
        (host.corten(&["diff", "box"]).ok() == expected).then_some(())
    });
    assert_eq!(fuse_programs(&host.root()).len(), 1);
    let check = "ls /d; cat /own; test -e /gone || echo gone";
    assert_eq!(host.corten(&["exec", "box", "sh", "-c", check]).ok(), "new\nown\ngone\n");
    host.corten(&["commit", "box", "running"]).ok();
    host.corten(&["stop", "-t", "0", "box"]).ok();
    host.corten(&["commit", "box", "stopped"]).ok();
    for image in ["running", "stopped"] {
        let said = host.corten(&["run", "--rm", image, "sh", "-c", check]).ok();
        assert_eq!(said, "new\nown\ngone\n", "{image}");
    }
    // What it has written is there again.
    host.corten(&["start", "box"]).ok();
    assert_eq!(host.corten(&["exec", "box", "cat", "/own"]).ok(), "own\n");
    host.corten(&["rm", "-f", "box"]).ok();

    let dockerfile = "FROM stopped\nRUN mkdir /b && echo 1 > /b/a && echo 2 > /b/c\n\
                      RUN rm /b/a && rm -r /d\nCOPY f /b/f\n";
    build(&host, dockerfile, &[("f", "f\n")], &[]).ok();
    assert_eq!(run(&host, "ls /b; test -e /d || echo no d"), "c\nf\nno d\n");

    host.corten(&["rmi", "made", "running", "stopped", "busybox"]).ok();
    host.corten(&["builder", "prune", "-a", "-f"]).ok();
    host.corten(&["image", "prune", "-a", "-f"]).ok();
    host.assert_no_trace();
    assert_eq!(host.names("layers"), [".empty"; 0]);
    support::eventually("no program serves a tree", || {
        fuse_programs(&host.root()).is_empty().then_some(())
    });
    host.unmount();
}
