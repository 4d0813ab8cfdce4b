//! `corten commit`: an image of what a container has become.

use std::time::Duration;

use crate::support::registry::Registry;
use crate::support::{self, Host, text};
use corten_registry::Store;

fn store(host: &Host) -> Store {
    Store::open(host.root().join("images")).unwrap()
}

#[corten_tier::t1]
fn an_image_is_made_of_a_container_that_runs_or_has_ended() {
    for driver in ["overlay", "fuse-overlayfs", "copy"] {
        let host = Host::on_driver(driver);
        let layer = support::busybox_layer_with(|layer| layer.file("gone", 0o644, "1"));
        host.import(&layer, &["import", "-c", "CMD [\"sh\"]", "-", "busybox"]);
        let script = "echo own > /own; rm /gone; touch /ready; exec sleep 1000";
        let options = ["run", "-d", "--name", "box", "-e", "A=1", "-w", "/tmp", "-v", "vol:/vol"];
        let args = [&options[..], &["busybox", "sh", "-c", script]].concat();
        host.corten(&args).ok();
        support::eventually("the script is done", || {
            host.corten(&["diff", "box"]).ok().contains("/ready").then_some(())
        });
        let id = host.corten(&["commit", "-a", "me", "-m", "why", "box", "running:1"]).ok();
        assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
        let process = host.running().unwrap().0;
        assert!(support::is_alive(process), "it goes on");
        let check = "cat /own; test -e /gone || echo gone; echo $A; pwd; ls -d /etc/hosts /vol";
        let run = |image: &str| host.corten(&["run", "--rm", image, "sh", "-c", check]).ok();
        assert_eq!(run("running:1"), "own\ngone\n1\n/tmp\n/etc/hosts\n/vol\n");
        host.corten(&["stop", "-t", "0", "box"]).ok();
        let change = ["commit", "-c", "CMD [\"cat\", \"/own\"]", "-c", "ENV B=2", "box", "stopped"];
        host.corten(&change).ok();
        assert_eq!(host.corten(&["run", "--rm", "stopped"]).ok(), "own\n");
        assert_eq!(run("stopped"), run("running:1"));
        // Its layers are those of its base and one more, and the same change is the same layer.
        let diff_ids = |image: &str| -> Vec<String> {
            let image = store(&host).image(image).unwrap();
            image.layers.iter().map(|layer| layer.diff_id.to_string()).collect()
        };
        let (base, running, stopped) =
            (diff_ids("busybox"), diff_ids("running:1"), diff_ids("stopped"));
        assert_eq!(running, stopped, "{driver}");
        assert_eq!((&running[0], running.len()), (&base[0], 2));
        let history = host.corten(&["history", "running:1"]).ok();
        assert!(history.contains("why") && history.contains("echo own"), "{history}");
        host.corten(&["rm", "box"]).ok();
        // Nothing has changed: no layer.
        host.corten(&["create", "--name", "same", "busybox"]).ok();
        host.corten(&["commit", "same", "same"]).ok();
        assert_eq!(diff_ids("same"), base);
        host.corten(&["commit", "-c", "RUN ls", "same"]).fails(1, "is none of CMD");
        host.corten(&["commit", "nobody", "x"]).fails(1, "no container nobody");
        host.corten(&["rm", "same"]).ok();
        host.corten(&["volume", "rm", "vol"]).ok();
        host.assert_clean();
    }
}

#[corten_tier::t1]
fn it_can_be_saved_and_loaded_and_pushed() {
    let host = Host::with_busybox();
    host.corten(&["run", "--name", "box", "busybox", "sh", "-c", "echo own > /own"]).ok();
    host.corten(&["commit", "box", "own:1"]).ok();
    let archive = host.path("own.tar");
    host.corten(&["save", "-o", text(&archive), "own:1"]).ok();
    let registry = Registry::start();
    let name = registry.name("team/own:1");
    host.corten(&["tag", "own:1", &name]).ok();
    host.corten(&["push", &name]).ok();
    let other = Host::new();
    other.corten(&["load", "-i", text(&archive)]).ok();
    assert_eq!(other.corten(&["run", "--rm", "own:1", "cat", "/own"]).ok(), "own\n");
    assert_eq!(other.corten(&["run", "--rm", &name, "cat", "/own"]).ok(), "own\n");
    other.assert_clean();
    host.corten(&["rm", "box"]).ok();
    host.assert_clean();
}

/// Neither the container nor the store keeps anything of a commit that was cut off.
#[corten_tier::t1]
fn a_killed_commit_leaves_a_whole_image_or_none() {
    let host = Host::with_busybox();
    let script = "dd if=/dev/urandom of=/own bs=64k count=64 2>/dev/null";
    host.corten(&["run", "--name", "box", "busybox", "sh", "-c", script]).ok();
    let (mut made, mut cut) = (0, 0);
    // An emulated machine takes seconds for what the host does in one, and the host runs this too.
    let slow = std::env::var_os(corten_tier::IN_VM).is_some();
    let (rounds, step) = if slow { (6, 100) } else { (24, 12) };
    for round in 0..rounds {
        let mut child = host.command(&["commit", "box", "own"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * step));
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            true => made += 1,
            false => cut += 1,
        }
        for line in host.corten(&["images", "-q"]).ok().lines() {
            let size = ["run", "--rm", "--pull", "never", line, "sh", "-c", "wc -c < /own; true"];
            let size = host.corten(&size).ok();
            assert!(["", "4194304\n"].contains(&size.as_str()), "round {round}: {size}");
        }
        let health = store(&host).fsck().unwrap();
        assert_eq!(health.problems, [""; 0], "round {round}");
    }
    assert!(cut > 0, "{made} made, {cut} cut off");
    host.corten(&["rm", "box"]).ok();
    host.assert_clean();
}
