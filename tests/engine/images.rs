//! The commands for images that do not run one: push, tag, history, inspect, save, load, prune.

use std::path::Path;
use std::process::Command;

use crate::support::registry::Registry;
use crate::support::{self, Host};

fn skopeo_digest(name: &str) -> String {
    let from = format!("docker://{name}");
    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &from])
        .output()
        .expect("skopeo (package skopeo)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn import(host: &Host, name: &str) -> String {
    let tar = host.path("layer.tar");
    std::fs::write(&tar, support::busybox_layer()).unwrap();
    let tar = tar.display().to_string();
    host.corten(&["import", "--change", "CMD [\"sh\"]", "-m", "made here", &tar, name]).ok();
    tar
}

#[corten_tier::t1]
fn an_image_is_pushed_removed_and_pulled_again() {
    let (host, registry) = (Host::new(), Registry::start());
    import(&host, "made:1");
    let name = registry.name("team/made:1");
    host.corten(&["tag", "made:1", &name]).ok();
    let pushed = host.corten(&["push", &name]).ok();
    assert!(pushed.contains("The push refers to repository"), "{}", pushed);
    let digest = skopeo_digest(&name);
    assert!(pushed.contains(&format!("1: digest: {digest} size: ")), "{}", pushed);
    let again = host.corten(&["image", "push", &name]).ok();
    assert!(again.contains("Layer already exists"), "{}", again);

    host.corten(&["rmi", "made:1", &name]).ok();
    let pulled = host.corten(&["pull", &name]).ok();
    assert!(pulled.contains(&digest), "{}", pulled);
    host.corten(&["run", "--rm", &name, "true"]).ok();
    let error = host.corten(&["push", "nothing:1"]);
    assert!(error.err.contains("no image"), "{}", error.err);

    // All tags of a repository, both ways.
    let (two, repository) = (registry.name("team/made:2"), registry.name("team/made"));
    import(&host, &two);
    let pushed = host.corten(&["push", "--all-tags", &repository]).ok();
    for tag in ["1", "2"] {
        assert!(pushed.contains(&format!("{tag}: digest: sha256:")), "{pushed}");
    }
    host.corten(&["rmi", &name, &two]).ok();
    let pulled = host.corten(&["pull", "-a", &repository]).ok();
    assert!(pulled.ends_with(&format!("{repository}\n")), "{pulled}");
    let format = ["images", "--format", "{{.Tag}}", &repository];
    let mut tags: Vec<_> = host.corten(&format).ok().lines().map(str::to_owned).collect();
    tags.sort();
    assert_eq!(tags, ["1", "2"]);
    assert_eq!(host.corten(&["pull", "-qa", &repository]).ok(), format!("{repository}\n"));
    for command in ["pull", "push"] {
        host.corten(&[command, "-a", &name]).fails(1, "names one image, and --all-tags means all");
    }
    host.corten(&["push", &format!("{repository}@{digest}")]).fails(1, "has a digest");
    host.corten(&["push", "-a", "nothing"]).fails(1, "is the name of no image here");
    host.assert_clean();
}

#[corten_tier::t1]
fn an_image_is_saved_loaded_inspected_and_pruned() {
    let host = Host::new();
    import(&host, "made:1");
    let history = host.corten(&["history", "made:1"]).ok();
    assert!(history.contains("made here"), "{}", history);
    let inspected = host.corten(&["inspect", "made:1", "nothing:1"]);
    assert!(inspected.err.contains("no image nothing:1"), "{}", inspected.err);
    let inspected: serde_json::Value = serde_json::from_str(&inspected.out).unwrap();
    assert_eq!(inspected[0]["RepoTags"][0], "made:1");
    assert_eq!(inspected[0]["Config"]["Cmd"][0], "sh");

    let file = host.path("saved.tar").display().to_string();
    host.corten(&["save", "-o", &file, "made:1"]).ok();
    assert!(!Path::new(&file).with_extension("part").exists());
    host.corten(&["rmi", "made:1"]).ok();
    let loaded = host.corten(&["load", "-i", &file]).ok();
    assert_eq!(loaded, "Loaded image: made:1\n");
    host.corten(&["run", "--rm", "made:1", "true"]).ok();

    let refused = host.corten(&["image", "prune"]);
    assert!(refused.err.contains("use -f"), "{}", refused.err);
    assert_eq!(host.corten(&["image", "prune", "-f"]).ok(), "Total reclaimed space: 0B\n");
    let pruned = host.corten(&["image", "prune", "-a", "-f"]).ok();
    assert!(pruned.starts_with("Untagged: made:1\nDeleted: sha256:"), "{}", pruned);
    assert_eq!(host.corten(&["images", "-q"]).ok(), "");
    host.assert_clean();
}

/// Whoever has a damaged image wants to be rid of it.
#[corten_tier::t1]
fn an_image_that_was_damaged_on_disk_is_removed() {
    let host = Host::new();
    import(&host, "made:1");
    let images = host.root().join("images");
    let index = std::fs::read(images.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    std::fs::write(images.join("blobs").join(digest.replace(':', "/")), "{}").unwrap();
    assert!(host.corten(&["inspect", "made:1"]).err.contains("ended after 2 bytes"));
    host.corten(&["rmi", "made:1"]).ok();
    assert_eq!(host.corten(&["images", "-q"]).ok(), "");
    host.assert_clean();
}

#[corten_tier::t1]
fn a_policy_is_obeyed_by_pull_and_by_run() {
    let (host, registry) = (Host::new(), Registry::start());
    import(&host, "made:1");
    let name = registry.name("made:1");
    host.corten(&["tag", "made:1", &name]).ok();
    host.corten(&["push", &name]).ok();
    let policy = host.path("policy.json");
    std::fs::write(&policy, r#"{"default": [{"type": "reject"}]}"#).unwrap();
    for arguments in [&["run", "--rm", &name, "true"][..], &["pull", &name]] {
        host.corten(arguments).ok();
        let output = host.command(arguments).env("CORTEN_POLICY", &policy).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("it refuses all images of it"), "{said}");
    }
    host.assert_clean();
}
