//! Power cuts. A VM pulls onto its scratch disk, and QEMU is killed at a random moment. The next VM
//! with that disk finds every blob whole and every image complete; it pulls again, and what had come
//! before need not come again.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use corten_registry::{Client, ClientOptions, Digest, Reference, Silent, Store, push};
use corten_vm::{Ended, Job, PowerCut, Vm, VmBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

mod peer;
use peer::{Registry, Settings};

const PORT: u16 = 5000;
const NAME: &str = "127.0.0.1:5000/app:1";
/// Bytes of the image's layers.
const LAYERS: [usize; 4] = [1 << 20, 4 << 20, 12 << 20, 24 << 20];
/// A pull in an emulated VM takes about as long; the cut comes within.
const WITHIN_MS: u64 = 6000;

/// A registry's files with one image, and the disk of the VMs.
struct Scene {
    dir: TempDir,
    size: u64,
}

/// What one life of the VM found and did.
struct Life {
    blobs: u64,
    partial: u64,
    came: u64,
}

/// Bytes and moments that look random: a chain of digests.
struct Chain(Digest);

impl Chain {
    fn next(&mut self) -> u64 {
        self.0 = Digest::sha256(self.0.hex().as_bytes());
        u64::from_str_radix(&self.0.hex()[..16], 16).unwrap()
    }
}

/// An archive as `docker save` writes it, of one image.
fn archive() -> Vec<u8> {
    let mut chain = Chain(Digest::sha256(b"layers"));
    let mut layer = |size| (0..size / 8).flat_map(|_| chain.next().to_le_bytes()).collect();
    let layers: Vec<Vec<u8>> = LAYERS.iter().map(|size| layer(*size)).collect();
    let diff_ids: Vec<String> = layers.iter().map(|l| Digest::sha256(l).to_string()).collect();
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}.tar")).collect();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": names}]);
    let mut tar = tar::Builder::new(Vec::new());
    let documents = [("c.json".to_owned(), config), ("manifest.json".to_owned(), manifest)];
    let documents = documents.into_iter().map(|(name, json)| (name, json.to_string().into_bytes()));
    for (name, content) in names.into_iter().zip(layers).chain(documents) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, &*content).unwrap();
    }
    tar.into_inner().unwrap()
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path());
        let store = Store::open(dir.path().join("images")).unwrap();
        let image = &store.unpack_archive(&mut &*archive()).unwrap()[0];
        let options = ClientOptions { docker_config: None, ..ClientOptions::default() };
        let to = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
        push(&Client::new(options), &store, "app:1", &to, &mut Silent).unwrap();
        drop(registry);
        fs::write(
            dir.path().join("vm.yml"),
            Settings::default().text(Path::new("/registry"), PORT),
        )
        .unwrap();
        Scene { dir, size: image.size() }
    }

    fn vm(&self) -> VmBuilder {
        let disk = self.dir.path().join("disk");
        Vm::builder()
            .unwrap()
            .tool("/usr/bin/docker-registry")
            .unwrap()
            .binary(PathBuf::from(env!("CARGO_BIN_EXE_corten-registry")))
            .unwrap()
            .file(self.dir.path().join("registry"), "/registry")
            .unwrap()
            .file(self.dir.path().join("vm.yml"), "/registry.yml")
            .unwrap()
            .scratch_disk(disk, 160)
            .unwrap()
    }

    /// One life: is the store whole, can the pull be repeated; then, unless it is the last, a fresh
    /// pull in which the power is cut after so many milliseconds.
    fn live(&self, cut_after: Option<u64>) -> Life {
        let program = Path::new(env!("CARGO_BIN_EXE_corten-registry"));
        let client = program.file_name().unwrap().to_string_lossy().into_owned();
        let check = format!("{client} fsck --store /scratch/images");
        let pull = format!(
            "docker-registry serve /registry.yml >/dev/null 2>&1 &\n\
             until nc -w 1 127.0.0.1 {PORT} </dev/null; do usleep 100000; done\n\
             time {client} pull {NAME} --platform linux/amd64 --store /scratch/images && {check}"
        );
        let mut vm = self.vm().job(Job::shell(&check)).job(Job::shell(&pull));
        if let Some(milliseconds) = cut_after {
            let fresh = format!(
                "{client} prune -a --store /scratch/images >/dev/null; sync\n\
                 docker-registry serve /registry.yml >/dev/null 2>&1 &\n\
                 until nc -w 1 127.0.0.1 {PORT} </dev/null; do usleep 100000; done\n\
                 {client} pull {NAME} --platform linux/amd64 --store /scratch/images &\n\
                 usleep {milliseconds}000; echo cut now; sleep 100"
            );
            let moment = PowerCut::AfterOutput("cut now\n".into());
            vm = vm.job(Job::shell(&fresh)).power_cut(moment);
        }
        let outcome = vm.run(&mut std::io::sink()).unwrap();
        let expected = if cut_after.is_some() { Ended::PowerCut } else { Ended::PowerOff };
        assert_eq!(outcome.ended, expected);
        let (found, pulled) = (outcome.jobs[0].text(), outcome.jobs[1].text());
        assert!(outcome.jobs[0].status.success(), "after the cut: {found}");
        assert!(outcome.jobs[1].status.success(), "the pull again: {pulled}");
        assert!(
            pulled.contains(" 1 images complete, 0 bytes to be resumed, 0 problems"),
            "{pulled}"
        );
        let came = before(&pulled, &format!(" of {} bytes came", self.size));
        Life {
            blobs: before(&found, " blobs verified"),
            partial: before(&found, " bytes to be"),
            came,
        }
    }

    /// Cuts the power at these moments and gives what was found after each.
    fn cut(&self, moments: &[u64]) -> Vec<Value> {
        let mut cuts = Vec::new();
        assert_eq!(self.live(moments.first().copied()).came, self.size);
        for (index, after) in moments.iter().enumerate() {
            let life = self.live(moments.get(index + 1).copied());
            let Life { blobs, partial, came } = life;
            println!(
                "cut after {after} ms: {blobs} blobs whole, {partial} bytes partial, {came} came"
            );
            // What is partial may be damaged, and comes again then.
            assert!(came <= self.size);
            cuts.push(json!({"after_ms": after, "blobs": blobs, "partial": partial,
                "came_again": came}));
        }
        cuts
    }
}

/// The number before these words.
fn before(text: &str, words: &str) -> u64 {
    let head = text.split(words).next().filter(|head| head.len() < text.len());
    let digits = head.unwrap_or_else(|| panic!("no {words:?} in {text}"));
    let digits = digits.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap_or_else(|_| panic!("no number before {words:?} in {text}"))
}

#[corten_tier::boots_vm]
fn a_power_cut_leaves_the_store_whole_and_the_pull_is_repeated() {
    assert_eq!(Scene::new().cut(&[2500, 1200]).len(), 2);
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: ./x soak pulls"]
    fn power_cuts_at_random_moments() {
        let times = std::env::var("CORTEN_SOAK_CUTS").map_or(100, |n| n.parse().unwrap());
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos().to_string();
        let scene = Scene::new();
        let mut chain = Chain(Digest::sha256(seed.as_bytes()));
        let moments: Vec<u64> = (0..times).map(|_| chain.next() % WITHIN_MS).collect();
        let cuts = scene.cut(&moments);
        let count = |test: &dyn Fn(&Value) -> bool| cuts.iter().filter(|c| test(c)).count();
        let resumed = count(&|cut| cut["came_again"].as_u64() < Some(scene.size));
        let partial = count(&|cut| cut["partial"].as_u64() > Some(0));
        let document = json!({"soak": "pulls", "cuts": times, "seed": seed, "image_bytes": scene.size,
            "stores_whole": times, "pulls_repeated": times, "with_partial_layer": partial,
            "resumed": resumed, "each": cuts});
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            fs::write(path, document.to_string()).unwrap();
        }
    }
}
