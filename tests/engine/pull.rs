//! Images from a real registry: docker-registry on loopback, filled with skopeo.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::registry::Registry;
use crate::support::{self, Host, text, tree};
use corten_unionfs::fixture::{self, LayerBuilder};

/// An OCI layout with the image `test` of `layers`.
fn layout(host: &Host, layers: &[Vec<u8>], config: serde_json::Value) -> PathBuf {
    let path = host.path("layout");
    let _ = std::fs::remove_dir_all(&path);
    fixture::oci_layout(&path, "test", layers, config);
    path
}

fn umoci(layout: &Path, bundle: &Path) -> PathBuf {
    let mut command = Command::new("umoci");
    command.args(["unpack", "--image", &format!("{}:test", layout.display())]).arg(bundle);
    let output = command.output().expect("umoci (package umoci)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle.join("rootfs")
}

/// Busybox, and the directories on which the engine mounts, so that it need not make them.
fn tools() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("busybox (package busybox-static)");
    LayerBuilder::new()
        .mtime("1700000000")
        .dir("proc", 0o555)
        .dir("sys", 0o555)
        .file("etc/hostname", 0o644, "")
        .file("etc/resolv.conf", 0o644, "")
        .file("bin/busybox", 0o755, busybox)
        .build()
}

#[corten_tier::t1]
fn the_container_s_tree_equals_umoci_s_entry_by_entry() {
    let (host, registry) = (Host::new(), Registry::start());
    let mut layers = fixture::image_of_everything();
    layers.push(tools());
    let layout = layout(&host, &layers, serde_json::json!({}));
    let expected = tree::read(&umoci(&layout, &host.path("bundle")));
    assert!(expected.len() > 50, "umoci made only {} entries", expected.len());
    for (name, options) in [
        ("oci", &["--format=oci"][..]),
        ("docker", &["--format=v2s2"]),
        ("zstd", &["--format=oci", "--dest-compress-format=zstd", "--dest-compress-level=1"]),
    ] {
        registry.push(&layout, "test", name, options);
        let name = registry.name(name);
        host.corten(&["pull", &name]).ok();
        let (child, pid) =
            host.start(&["run", "--rm", "--init", &name, "/bin/busybox", "sleep", "1000"]);
        let found = tree::read(Path::new(&format!("/proc/{pid}/root/")));
        drop(child);
        host.corten(&["rm", "-f", &host.names("running").remove(0)]).ok();
        tree::assert_equal(&found, &expected);
    }
    host.corten(&["images"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn pull_run_and_rmi_as_a_user_does_it() {
    let (host, registry) = (Host::new(), Registry::start());
    let layers = [support::busybox_layer(), LayerBuilder::new().file("top", 0o644, "x").build()];
    let config = serde_json::json!({
        "Env": ["GREETING=hello"], "Entrypoint": ["sh", "-c"], "Cmd": ["echo $GREETING $(id -un); pwd"],
        "User": "web", "WorkingDir": "/srv",
    });
    registry.push(&layout(&host, &layers, config), "test", "app:1.0", &[]);
    let name = registry.name("app:1.0");

    // A missing image is fetched first, and only standard error tells of it.
    let outcome = host.corten(&["run", "--rm", &name]);
    assert!(outcome.err.starts_with(&format!("Unable to find image '{name}' locally\n")));
    assert!(outcome.err.contains("Pull complete"), "{}", outcome.err);
    assert_eq!(outcome.ok(), "hello web\n/srv\n");
    let again = host.corten(&["run", "--rm", &name]);
    assert_eq!((again.err.as_str(), again.status), ("", 0));

    let out = host.corten(&["pull", &name]).ok();
    assert!(out.contains("1.0: Pulling from app\n"), "{out}");
    assert!(out.contains("Digest: sha256:"), "{out}");
    assert!(out.contains(&format!("Status: Image is up to date for {name}\n")), "{out}");
    assert_eq!(host.corten(&["pull", "-q", &name]).ok(), format!("{name}\n"));

    let removed = host.corten(&["rmi", &name]).ok();
    assert_eq!(removed.matches("Deleted: ").count(), 3, "{removed}");
    assert_eq!(host.names("layers"), [""; 0]);
    assert_eq!(host.names("images/blobs/sha256"), [""; 0]);
    host.assert_clean();
}

#[corten_tier::t1]
fn shared_layers_are_kept_for_the_other_image() {
    let (host, registry) = (Host::new(), Registry::start());
    let base = support::busybox_layer();
    for name in ["a", "b"] {
        let layers = [base.clone(), LayerBuilder::new().file(name, 0o644, name).build()];
        registry.push(&layout(&host, &layers, serde_json::json!({})), "test", name, &[]);
        host.corten(&["pull", "-q", &registry.name(name)]).ok();
    }
    assert_eq!(host.names("layers").len(), 3);
    host.corten(&["rmi", &registry.name("a")]).ok();
    assert_eq!(host.names("layers").len(), 2);
    assert_eq!(host.corten(&["run", "--rm", &registry.name("b"), "cat", "/b"]).ok(), "b");
    host.assert_clean();
}

#[corten_tier::t1]
fn a_hostile_image_is_refused_and_the_old_one_stays() {
    let (host, registry) = (Host::new(), Registry::start());
    let canary = host.path("canary");
    std::fs::write(&canary, "alive").unwrap();
    let good = [support::busybox_layer()];
    registry.push(&layout(&host, &good, serde_json::json!({})), "test", "app", &[]);
    let name = registry.name("app");
    host.corten(&["pull", "-q", &name]).ok();
    let before = host.corten(&["images", "--no-trunc"]).ok();
    let (layers, blobs) = (host.names("layers"), host.names("images/blobs/sha256"));

    let hostile = [
        LayerBuilder::new().file("../../escape", 0o644, "x").build(),
        LayerBuilder::new()
            .symlink("d", text(&host.path("")))
            .file("d/canary", 0o644, "dead")
            .build(),
        LayerBuilder::new().hard_link("passwd", "../../../../etc/passwd").build(),
    ];
    for layer in hostile {
        let image = [good[0].clone(), layer];
        registry.push(&layout(&host, &image, serde_json::json!({})), "test", "app", &[]);
        let outcome = host.corten(&["pull", &name]);
        // Some are harmless once the path is resolved inside; none may touch the host.
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive");
        outcome.fails(1, "layer refused: ");
        assert_eq!(host.corten(&["images", "--no-trunc"]).ok(), before);
        assert_eq!(host.names("layers"), layers);
        assert_eq!(host.names("images/blobs/sha256"), blobs);
        assert_eq!(host.corten(&["run", "--rm", &name, "echo", "fine"]).ok(), "fine\n");
    }
    host.assert_clean();
}

#[corten_tier::t1]
fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let (host, registry) = (Host::new(), Registry::start());
    let layout = layout(&host, &[support::busybox_layer()], serde_json::json!({}));
    registry.push(&layout, "test", "app", &[]);
    let manifest = host.path("layout/index.json");
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let manifest = std::fs::read(host.path("layout/blobs/sha256").join(digest)).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let blob = registry.blob(&manifest["layers"][0]["digest"].as_str().unwrap()[7..]);
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    for (change, why) in [(0, "digest"), (1, "bytes")] {
        if change == 0 {
            bytes[middle] ^= 1
        } else {
            bytes.truncate(middle)
        }
        std::fs::write(&blob, &bytes).unwrap();
        let outcome = host.corten(&["pull", &registry.name("app")]);
        assert_eq!(outcome.status, 1, "{outcome:?}");
        assert!(outcome.err.contains(why), "{}", outcome.err);
        assert_eq!(host.names("layers"), [""; 0]);
        assert_eq!(host.corten(&["images"]).ok().lines().count(), 1);
    }
    host.assert_clean();
}

#[corten_tier::t1]
fn what_the_registry_lacks_is_said() {
    let (host, registry) = (Host::new(), Registry::start());
    let name = registry.name("nope:1");
    host.corten(&["pull", &name]).fails(1, "404");
    host.corten(&["run", "--rm", &name]).fails(125, "404");
    host.corten(&["pull", "127.0.0.1:1/x"]).fails(1, "127.0.0.1:1");
    host.assert_clean();
}
