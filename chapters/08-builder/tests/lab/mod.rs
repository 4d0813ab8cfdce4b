//! A store of its own, and a runner without an engine: what `RUN` runs is chrooted into the step's tree, or
//! is a function of the test's.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use corten_builder::dockerfile;
use corten_builder::error::Result;
use corten_builder::execute::{BuildOptions, Builder, Built};
use corten_builder::ignore::Ignore;
use corten_builder::progress::Event;
use corten_builder::run::{Bases, Cancel, Ended, Runner, Step, Tell, Told};
use corten_builder::tree::Tree;
use corten_registry::{Image, Reference, Store};
use corten_unionfs::LayerStore;
use corten_unionfs::fixture::LayerBuilder;

/// What a test does in the place of a command; `None` where the command is to run.
pub type Instead<'a> = dyn Fn(&Step<'_>) -> Option<Ended> + Sync + 'a;

/// A directory with the stores of a builder, and a context beside them.
pub struct Lab {
    dir: tempfile::TempDir,
    pub images: Store,
    pub layers: LayerStore,
    /// The commands that were run, in the order in which they were begun.
    pub ran: Mutex<Vec<String>>,
}

/// What a build has told.
#[derive(Debug, Default)]
pub struct Heard {
    pub events: Vec<Event>,
}

impl Heard {
    /// The texts of steps that were not in the cache, but for `FROM`.
    pub fn done(&self) -> Vec<String> {
        let cached = |number: usize| self.events.contains(&Event::Cached { number });
        let mut done = Vec::new();
        for event in &self.events {
            if let Event::Step { number, text, .. } = event
                && !text.starts_with("FROM")
                && !cached(*number)
            {
                done.push(text.clone());
            }
        }
        done
    }
}

impl Lab {
    /// With the image `busybox`.
    pub fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let images = Store::open(dir.path().join("images")).unwrap();
        let layers = LayerStore::open(dir.path().join("layers")).unwrap();
        let lab = Lab { dir, images, layers, ran: Mutex::default() };
        lab.context(&[("Dockerfile", "FROM scratch\nADD base.tar /\n")]);
        std::fs::write(lab.path("context/base.tar"), busybox()).unwrap();
        let date = Some(1_000_000_000);
        lab.build("busybox", BuildOptions { source_date_epoch: date, ..BuildOptions::default() })
            .unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new context with these files.
    pub fn context(&self, files: &[(&str, &str)]) {
        let path = self.path("context");
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        for (name, content) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content).unwrap();
        }
    }

    /// A file of the context.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path("context").join(name), content).unwrap();
    }

    /// Builds the context as `name`.
    pub fn build(&self, name: &str, options: BuildOptions) -> Result<(Built, Heard)> {
        self.build_with(name, options, &|_| None, &Cancel::new().unwrap())
    }

    /// Builds with `instead` in the place of commands.
    pub fn build_with(
        &self,
        name: &str,
        options: BuildOptions,
        instead: &Instead<'_>,
        cancel: &Cancel,
    ) -> Result<(Built, Heard)> {
        self.ran.lock().unwrap().clear();
        let text = std::fs::read_to_string(self.path("context/Dockerfile")).unwrap();
        let ignore = std::fs::read_to_string(self.path("context/.dockerignore"));
        let ignore = Ignore::parse(".dockerignore", &ignore.unwrap_or_default())?;
        let tree = Tree::context(&self.path("context"), ignore)?;
        let runner = Chroot { lab: self, instead };
        let builder = Builder {
            images: &self.images,
            layers: &self.layers,
            directory: self.path("build"),
            volatile: self.path("secrets"),
            runner: &runner,
            bases: &runner,
        };
        let options = BuildOptions { tags: vec![Reference::parse(name).unwrap()], ..options };
        let mut heard = Heard::default();
        let file = dockerfile::parse("Dockerfile", &text)?;
        let built =
            builder.build(&file, &tree, &options, cancel, &mut |event| heard.events.push(event))?;
        Ok((built, heard))
    }

    /// What a shell prints that is run in the tree of an image.
    pub fn look(&self, built: &Built, script: &str) -> String {
        let lowers = self.layers.lowers(built.layers.last()).unwrap();
        let tree = self.layers.build_driver().mount(&lowers, None).unwrap();
        let root = format!("/proc/{}/fd/{}", std::process::id(), tree.as_raw_fd());
        let output =
            Command::new("chroot").args([&root, "/bin/sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The files below the lab's directory, but for the context, in which `text` stands.
    pub fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut pending = vec![self.dir.path().to_path_buf()];
        while let Some(path) = pending.pop() {
            let kind = path.symlink_metadata().unwrap();
            if kind.is_dir() && !path.ends_with("context") {
                pending.extend(std::fs::read_dir(&path).unwrap().map(|one| one.unwrap().path()));
            } else if kind.is_file() && contains(&plain(&path), text.as_bytes()) {
                found.push(path);
            }
        }
        found
    }
}

/// The content of a file; what is compressed is unpacked.
fn plain(path: &Path) -> Vec<u8> {
    use std::io::Read;
    let bytes = std::fs::read(path).unwrap();
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => bytes,
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// Runs commands by chroot(1) in the step's tree.
struct Chroot<'a> {
    lab: &'a Lab,
    instead: &'a Instead<'a>,
}

impl Runner for Chroot<'_> {
    fn run(&self, step: &Step<'_>, tell: &mut dyn FnMut(Told<'_>)) -> Result<Ended> {
        let strings = |name: &str| -> Vec<String> {
            let list = step.config[name].as_array().into_iter().flatten();
            list.map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let words = strings("Cmd");
        self.lab.ran.lock().unwrap().push(words.last().cloned().unwrap_or_default());
        if let Some(ended) = (self.instead)(step) {
            return Ok(ended);
        }
        let layers = &self.lab.layers;
        let lowers = layers.lowers(step.layers.last())?;
        let tree = layers.build_driver().mount(&lowers, Some(step.writable))?;
        let root = format!("/proc/{}/fd/{}", std::process::id(), tree.as_raw_fd());
        let mut command = Command::new("chroot");
        command.arg(root).args(&words).env_clear();
        let environment = strings("Env");
        command.envs(environment.iter().filter_map(|pair| pair.split_once('=')));
        let output = command.output().map_err(corten_builder::Error::runner)?;
        tell(Told::Output(&output.stdout));
        tell(Told::Error(&output.stderr));
        Ok(Ended::with(output.status.code().unwrap_or(137)))
    }
}

impl Bases for Chroot<'_> {
    fn base(&self, name: &str, _: Option<&str>, _: bool, _: Tell<'_>) -> Result<Image> {
        Ok(self.lab.images.image(name)?)
    }
}

/// A root file system of busybox, as a tar archive.
pub fn busybox() -> Vec<u8> {
    let applets = "sh cat echo ls touch rm mkdir mv ln stat readlink chmod chown test true \
                   id grep hostname sleep";
    let mut layer = LayerBuilder::new().dir(".", 0o755).busybox(applets);
    for directory in ["etc", "d", "d/old"] {
        layer = layer.dir(directory, 0o755);
    }
    layer
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n")
        .file("d/gone", 0o644, "gone")
        .file("d/old/file", 0o644, "old")
        .build()
}
