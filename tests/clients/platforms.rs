//! Archives of one name with images for several platforms, over the API, by docker's client and by ours.

use std::fs;
use std::path::Path;

use corten_registry::{Digest, Image, ImportOptions, Platform, Reference, Store};
use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::{self, Host, text};

/// A document of an archive.
fn document(archive: &[u8], name: &str) -> Value {
    let mut archive = tar::Archive::new(archive);
    let mut entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let found = entries.find(|entry| &*entry.path_bytes() == name.as_bytes());
    serde_json::from_reader(found.unwrap_or_else(|| panic!("no {name}"))).unwrap()
}

/// The platforms that an archive's only name has an index of.
fn platforms(archive: &[u8]) -> Vec<String> {
    let top = document(archive, "index.json")["manifests"][0].take();
    assert_eq!(top["mediaType"], "application/vnd.oci.image.index.v1+json", "{top}");
    assert_eq!(top["annotations"]["org.opencontainers.image.ref.name"], "many:1");
    let index =
        document(archive, &format!("blobs/{}", top["digest"].as_str().unwrap().replace(':', "/")));
    let manifests = index["manifests"].as_array().unwrap();
    let own = |one: &Value| one["platform"]["architecture"].as_str().unwrap().to_owned();
    manifests.iter().map(own).collect()
}

/// An archive of the name `many:1`, made as other tools make it: with an image for each of these machines.
fn made(dir: &Path, architectures: &[&str]) -> Vec<u8> {
    let store = Store::open(dir).unwrap();
    let layer = support::busybox_layer();
    let images: Vec<Image> = architectures
        .iter()
        .map(|it| {
            let config = json!({"os": "linux", "architecture": it, "config": {"Cmd": ["sh"]}, "container": "x9"});
            let config = config.as_object().unwrap().clone();
            let name = Some(Reference::parse(&format!("{it}:1")).unwrap());
            let options = ImportOptions { name, config, message: String::new() };
            store.import(&mut &*layer, &options).unwrap()
        })
        .collect();
    let kind = "application/vnd.oci.image.index.v1+json";
    let manifests = images.iter().zip(architectures).map(|(image, it)| {
        let Image { descriptor, .. } = image;
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": descriptor.digest.to_string(), "size": descriptor.size,
            "platform": {"os": "linux", "architecture": it}})
    });
    let manifests: Vec<Value> = manifests.collect();
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).to_string();
    let digest = Digest::sha256(index.as_bytes());
    fs::write(store.blob_path(&digest), &index).unwrap();
    let top = json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "size": index.len(),
        "digest": digest.to_string(),
        "annotations": {"org.opencontainers.image.ref.name": "many:1"}}]});
    fs::write(dir.join("index.json"), top.to_string()).unwrap();
    let mut archive = Vec::new();
    store.save(&["many:1".to_owned()], &mut archive).unwrap();
    archive
}

#[corten_tier::t1]
fn one_archive_has_images_for_several_platforms() {
    let host = Host::new();
    let daemon = Daemon::start(&host, &[]);
    let own = Platform::host().architecture;
    let archive = made(&host.path("other"), &[&own, "s390x", "riscv64"]);
    assert_eq!(platforms(&archive), [&*own, "s390x", "riscv64"]);
    let file = host.path("many.tar");
    fs::write(&file, &archive).unwrap();
    let told = daemon.docker(&["load", "-i", text(&file)]).ok();
    assert!(told.contains("Loaded image: many:1"), "{told}");
    let shown = daemon.docker(&[
        "image",
        "inspect",
        "many:1",
        "--format",
        "{{.Architecture}} {{.Container}}",
    ]);
    assert_eq!(shown.ok().trim(), format!("{own} x9"));
    assert_eq!(
        daemon.docker(&["run", "--rm", "--network", "none", "many:1", "echo", "it runs"]).ok(),
        "it runs\n"
    );

    // The API, as its newest clients ask.
    let of = |architecture: &str| json!({"os": "linux", "architecture": architecture}).to_string();
    let ask = |version: &str, wanted: &[&str]| {
        let url = format!("http://d/v{version}/images/many:1/get");
        let mut args =
            vec!["-sS".to_owned(), "-G".to_owned(), "-w".into(), "%{stderr}%{http_code}".into()];
        args.extend(["--unix-socket".into(), text(&daemon.socket).to_owned(), url]);
        for architecture in wanted {
            args.extend(["--data-urlencode".into(), format!("platform={}", of(architecture))]);
        }
        let output = std::process::Command::new("curl").args(&args).output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.stdout)
    };
    let (status, two) = ask("1.52", &["riscv64", "s390x"]);
    assert_eq!((status.as_str(), platforms(&two)), ("200", vec!["s390x".into(), "riscv64".into()]));
    let (status, all) = ask("1.52", &[]);
    assert_eq!((status.as_str(), all == archive), ("200", true), "what came is what is saved");
    let first = document(&all, "manifest.json")[0].take();
    assert_eq!(first["RepoTags"], json!(["many:1"]));
    assert_eq!(ask("1.48", &["riscv64", "s390x"]).0, "400");
    let (status, why) = ask("1.52", &["arm64"]);
    let why = String::from_utf8(why).unwrap();
    assert!(
        status == "404" && why.contains("actual: linux/") && why.contains("linux/s390x"),
        "{why}"
    );

    // Docker's client has one, ours several; here and at a daemon elsewhere.
    let one = host.path("one.tar");
    let save = ["save", "--platform", "linux/s390x", "-o", text(&one), "many:1"];
    daemon.docker(&save).ok();
    let top = document(&fs::read(&one).unwrap(), "index.json")["manifests"][0].take();
    assert_eq!(top["platform"]["architecture"], "s390x");
    let several = host.path("several.tar");
    let wanted = format!("linux/{own},linux/riscv64");
    let save = ["save", "--platform", &wanted, "-o", text(&several), "many:1"];
    let remote = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_corten");
        support::outcome(daemon.program(program, args).env_remove("CORTEN_ROOT").output().unwrap())
    };
    remote(&save).ok();
    let by_remote = fs::read(&several).unwrap();
    assert_eq!(platforms(&by_remote), [&*own, "riscv64"]);
    drop(daemon);
    host.corten(&save).ok();
    assert_eq!(fs::read(&several).unwrap(), by_remote);
    host.corten(&["rmi", "many:1"]).ok();
    host.assert_clean();
    host.corten(&["load", "-i", text(&file), "--platform", "linux/riscv64,linux/s390x"]).ok();
    let shown = host.corten(&["save", "many:1", "-o", text(&several)]);
    shown.ok();
    assert_eq!(fs::read(&several).unwrap(), two);
    host.corten(&["rmi", "many:1"]).ok();
    host.assert_no_trace();
}
