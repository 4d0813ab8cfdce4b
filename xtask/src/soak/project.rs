//! The engine builds itself: the image of the Dockerfile in this repository, on a base that debootstrap makes,
//! and a container of it runs a container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, OnPath, Result};
use crate::run::image;
use crate::setup::{self, Purpose};
use crate::{process, say, workspace};

/// Built, and everything looked at, in a directory that is removed.
///
/// # Errors
/// Where a step fails.
pub fn project() -> Result<Value> {
    setup::ensure(&[Purpose::Run, Purpose::Project])?;
    process::run(workspace::cargo().args([
        "build",
        "--release",
        "--package=corten",
        "--package=corten-supervisor",
        "--bins",
    ]))?;
    let place = workspace::scratch("project")?;
    let result = Project { place: place.clone() }.perform();
    fs::remove_dir_all(&place).on("remove", &place)?;
    result
}

struct Project {
    /// Everything is below it.
    place: PathBuf,
}

impl Project {
    /// The engine, with directories of its own.
    fn corten(&self, args: &[&str]) -> Command {
        let mut command = Command::new(workspace::target().join("release/corten"));
        command.arg("--root").arg(self.place.join("root"));
        command.arg("--state").arg(self.place.join("state")).args(args);
        command.current_dir(workspace::root());
        command
    }

    fn perform(&self) -> Result<Value> {
        let start = Instant::now();
        let base = self.place.join("debian");
        say!("debootstrap makes the base");
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", "bookworm"]).arg(&base).stdout(Stdio::null());
        process::run(&mut debootstrap)?;
        self.import(&base, "debian")?;
        fs::remove_dir_all(&base).on("remove", &base)?;
        let based = start.elapsed();

        let crates = self.place.join("crates");
        let mut vendor = workspace::cargo();
        vendor.args(["vendor", "--locked", "--quiet"]).arg(&crates);
        process::run(vendor.stdout(Stdio::null()))?;
        let sysroot = process::read(Command::new("rustc").args(["--print", "sysroot"]))?;
        let contexts = [format!("rust={}", sysroot.trim()), format!("crates={}", crates.display())];
        let build = || {
            let mut build = self.corten(&["build", "--tag=corten", "--allow=network.host"]);
            for context in &contexts {
                build.args(["--build-context", context]);
            }
            process::run(build.arg("."))
        };
        let (built, again) = (timed(&build)?, timed(&build)?);

        let image = process::read(&mut self.corten(&["inspect", "corten"]))?;
        let image: Value = serde_json::from_str(&image)
            .map_err(|e| Error::failed(format!("what inspect says of the image: {e}")))?;
        let inner = self.inner()?;
        if inner != "a container in a container is process 1\n" {
            return Err(Error::failed(format!("the container in the container said: {inner}")));
        }
        Ok(json!({
            "soak": "project",
            "base_seconds": based.as_secs(),
            "build_seconds": built,
            "again_seconds": again,
            "image_bytes": image[0]["Size"],
            "layers": image[0]["RootFS"]["Layers"].as_array().map(Vec::len),
            "inner": inner,
        }))
    }

    /// Makes an image of a directory.
    fn import(&self, root: &Path, name: &str) -> Result<()> {
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Error::failed(format!("tar: {e}")))?;
        let mut import = self.corten(&["import", "-", name]);
        if let Some(archive) = tar.stdout.take() {
            import.stdin(archive);
        }
        process::run(import.stdout(Stdio::null()))?;
        tar.wait().map(drop).map_err(|e| Error::failed(format!("tar: {e}")))
    }

    /// What a container says that a container of the image runs.
    fn inner(&self) -> Result<String> {
        let script = "corten import - busybox >/dev/null && corten run --rm --network none busybox \
            sh -c 'echo a container in a container is process $$'";
        let line = ["run", "--rm", "--interactive", "--privileged", "--network=none"];
        let mut outer =
            self.corten(&[&line[..], &["--entrypoint=sh", "corten", "-c", script]].concat());
        let archive = self.place.join("busybox.tar");
        fs::write(&archive, image::layer(&image::busybox()?)?).on("write", &archive)?;
        let archive = fs::File::open(&archive).on("open", &archive)?;
        let output = outer.stdin(archive).stderr(Stdio::inherit()).output();
        let output = output.map_err(|e| Error::failed(format!("corten run: {e}")))?;
        process::run(self.corten(&["volume", "prune", "--all", "--force"]).stdout(Stdio::null()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Seconds.
fn timed(perform: &dyn Fn() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    perform()?;
    Ok((start.elapsed().as_secs_f64() * 10.0).round() / 10.0)
}
