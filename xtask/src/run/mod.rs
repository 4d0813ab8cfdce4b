//! `./x run`: from a clone to a container.

pub mod image;
mod rootless;

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, OnPath, Result};
use crate::setup::apt::Privilege;
use crate::{doctor, process, say, workspace};

const SHOW: &str = include_str!("show.sh");

/// Builds Corten, makes the image and runs a container that shows itself.
///
/// # Errors
/// Where something is missing that cannot be installed, or a step fails.
pub fn run() -> Result<()> {
    let way = Way::choose()?;
    let busybox = image::busybox()?;
    let layer = image::layer(&busybox)?;
    match way {
        Way::Engine(privilege) => in_engine(privilege, &layer),
        Way::UserNamespace => in_user_namespace(&layer),
    }
}

/// By which rights the container is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The whole engine, as root.
    Engine(Privilege),
    /// Chapter 1's program, which needs no root.
    UserNamespace,
}

impl Way {
    fn choose() -> Result<Way> {
        match Privilege::here() {
            Privilege::Root => Ok(Way::Engine(Privilege::Root)),
            _ if doctor::user_namespaces_work() => Ok(Way::UserNamespace),
            Privilege::Sudo => Ok(Way::Engine(Privilege::Sudo)),
            Privilege::None => Err(Error::failed(
                "a container needs root or user namespaces, and this kernel forbids user \
                 namespaces to you (./x doctor says which setting does). Let sudo remember your \
                 password and try again:\n    sudo -v && ./x run",
            )),
        }
    }
}

fn in_engine(privilege: Privilege, layer: &[u8]) -> Result<()> {
    build("corten")?;
    let corten = workspace::target().join("release/corten");
    import(privilege, &corten, layer)?;
    say!("corten run --rm --hostname corten busybox sh -c '…' (xtask/src/run/show.sh)");
    let options = ["run", "--rm", "--hostname", "corten", "busybox", "sh", "-c", SHOW];
    let shown = process::run(privilege.command(&corten).args(options));
    // Unless others are on networks: this machine has no bridge then, no rules, and passes on no packets
    // because of us.
    process::run(privilege.command(&corten).args(["network", "unload"]))?;
    shown?;
    let sudo = if privilege == Privilege::Sudo { "sudo " } else { "" };
    say!("and now a shell of your own: {sudo}target/release/corten run --rm -it busybox");
    Ok(())
}

fn in_user_namespace(layer: &[u8]) -> Result<()> {
    build("corten-namespaces")?;
    let program = workspace::target().join("release/corten-namespaces");
    let root = image::unpacked(layer)?;
    say!("you are not root, so this is chapter 1's program in a user namespace:");
    say!("corten-namespaces run --rootfs … --map-root --hostname corten -- sh -c '…'");
    rootless::run(&program, &root, SHOW)?;
    say!("as root, ./x run shows the whole engine: an image, an overlay, `corten run`");
    Ok(())
}

/// Builds the binaries of `package` in the release profile.
///
/// # Errors
/// Where cargo fails.
pub fn build(package: &str) -> Result<()> {
    let first = !workspace::target().join("release").join(package).exists();
    let hint = if first { " (the first time takes some minutes)" } else { "" };
    say!("building {package}{hint}");
    let start = Instant::now();
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--quiet", "-p", package]);
    if package == "corten" {
        // Each container's supervisor is a program of its own.
        cargo.args(["-p", "corten-supervisor"]);
    }
    process::run(&mut cargo)?;
    say!("built {package} in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Imports the layer as the image `busybox`, unless the engine has it from the same bytes.
fn import(privilege: Privilege, corten: &Path, layer: &[u8]) -> Result<()> {
    let file = workspace::scratch("image")?.join("busybox.tar");
    let same = fs::read(&file).is_ok_and(|old| old == layer);
    if same && process::read(privilege.command(corten).arg("images")).is_ok_and(|l| lists(&l)) {
        return Ok(());
    }
    // Named like the imported archive only after the import, so that a failure is not remembered.
    let draft = file.with_extension("new");
    fs::write(&draft, layer).on("write", &draft)?;
    say!("importing the image busybox, made of {} KiB of busybox-static", layer.len() / 1024);
    process::run(
        privilege
            .command(corten)
            .arg("import")
            .args(["--change", r#"CMD ["sh"]"#, "--change", &format!("ENV PATH={}", image::PATH)])
            .arg(&draft)
            .arg("busybox"),
    )?;
    fs::rename(&draft, &file).on("rename", &draft)
}

/// Whether the table of `corten images` has a row of the image `busybox`.
fn lists(images: &str) -> bool {
    images.lines().filter_map(|line| line.split_whitespace().next()).any(|reference| {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        name == "busybox" || name == "busybox:latest"
    })
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn the_image_is_found_under_its_short_and_its_full_name() {
        assert!(lists("REPOSITORY TAG\nbusybox latest 1 MB\n"));
        assert!(lists("REFERENCE\nregistry.test/library/busybox:latest sha256:0\n"));
        assert!(!lists("REPOSITORY TAG\nmy-busybox latest\n"));
    }
}
