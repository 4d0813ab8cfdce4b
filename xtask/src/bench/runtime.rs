//! The comparisons of corten-runtime with crun, runc and a bare program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Before, Method, compare, record, shell};
use crate::error::{Error, OnPath, Result};
use crate::run::{build, image};
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// A seccomp profile as Docker writes it into a container's configuration.
const SECCOMP: &str = "chapters/04-runtime/tests/rig/docker-seccomp.json";

/// `run` of a static true: with runc's default configuration, and with Docker's seccomp profile.
pub fn whole() -> Result<()> {
    let stage = Stage::new()?;
    let floor = stage.floor()?;
    for (name, seccomp, title) in [
        ("runtime", false, "Running one container of runc's default configuration"),
        ("runtime-seccomp", true, "The same with Docker's seccomp profile"),
    ] {
        let profile = if seccomp { Some(profile()?) } else { None };
        let bundle = stage.bundle(name, &["/bin/true"], |config| {
            if let Some(profile) = profile {
                config["linux"]["seccomp"] = profile;
            }
        })?;
        let mut commands: Vec<(&str, String)> = Vec::new();
        for (label, program) in &stage.runtimes {
            commands.push((label, format!("{program} --root /mnt/{name} run --bundle {bundle} x")));
        }
        commands.push(("floor", floor.clone()));
        compare(stage.privilege, name, title, &Method::default(), &commands)?;
    }
    Ok(())
}

/// Each verb alone; what comes before it is not measured.
pub fn verbs() -> Result<()> {
    let stage = Stage::new()?;
    let bundle = stage.bundle("verbs", &["/bin/sleep", "1000"], |_| {})?;
    for (verb, title) in [
        ("create", "create"),
        ("start", "start of a created container"),
        ("exec", "exec of true in a running container"),
        ("delete", "delete --force of a running container"),
    ] {
        let (mut commands, mut prepare, mut cleanup) = (Vec::new(), Vec::new(), String::new());
        for (label, program) in &stage.runtimes {
            let runtime = format!("{program} --root /mnt/{verb}");
            let create = format!("{runtime} create --bundle {bundle} x");
            let delete = format!("{runtime} delete --force x");
            let gone = format!("{delete} 2>/dev/null");
            let (command, before) = match verb {
                "create" => (create, gone.clone()),
                "start" => (format!("{runtime} start x"), format!("{gone}; {create}")),
                "exec" => {
                    let there = format!("{runtime} state x >/dev/null 2>&1");
                    let before = format!("{there} || {{ {create} && {runtime} start x; }}");
                    (format!("{runtime} exec x /bin/true"), before)
                }
                _ => (delete.clone(), format!("{gone}; {create} && {runtime} start x")),
            };
            commands.push((*label, command));
            prepare.push(shell(&format!("{before} || true")));
            cleanup += &format!("{gone}; ");
        }
        let before = Before::Commands { prepare, cleanup: shell(&format!("{cleanup} true")) };
        let method = Method { before, rounds: 4, runs: 25, warmup: 5, ..Method::default() };
        compare(stage.privilege, &format!("runtime-{verb}"), title, &method, &commands)?;
    }
    Ok(())
}

/// Many containers at the same time.
pub fn many() -> Result<()> {
    let stage = Stage::new()?;
    let floor = stage.floor()?;
    let bundle = stage.bundle("many", &["/bin/true"], |_| {})?;
    let commands: Vec<(&str, String)> = stage
        .runtimes
        .iter()
        .map(|(label, program)| {
            let run = format!("{program} --root /mnt/{label} run --bundle {bundle} x{{}}");
            (*label, shell(&format!("seq 100 | xargs -P 100 -I{{}} {run}")))
        })
        .collect();
    let title = "100 containers at the same time";
    let method = Method { rounds: 3, runs: 5, warmup: 1, ..Method::default() };
    compare(stage.privilege, "runtime-parallel", title, &method, &commands)?;

    let sleeper = stage.bundle("sleeper", &["/bin/sleep", "10000"], |_| {})?;
    let script = workspace::root().join("benches/runtime/alive.sh");
    let (mut commands, mut prepare, mut cleanup) = (Vec::new(), Vec::new(), String::new());
    for (label, program) in stage.runtimes.iter().filter(|(label, _)| *label != "runc") {
        let root = format!("/mnt/{label}");
        let alive = |count| format!("{} {count} {program} {root} {sleeper}", script.display());
        cleanup += &format!("{}; ", alive(0));
        for (what, count) in [("500 others alive", 500), ("none", 0)] {
            commands.push((
                format!("{label}, {what}"),
                format!("{program} --root {root} run --bundle {bundle} x"),
            ));
            prepare.push(alive(count));
        }
    }
    // What the kernel itself takes longer: the containers that live are ours.
    for (place, what) in [(0, "500 others alive"), (1, "none")] {
        commands.push((format!("floor, {what}"), floor.clone()));
        prepare.push(prepare[place].clone());
    }
    let commands: Vec<(&str, String)> =
        commands.iter().map(|(label, command)| (label.as_str(), command.clone())).collect();
    let before = Before::Commands { prepare, cleanup: shell(&cleanup) };
    let method = Method { before, rounds: 4, runs: 50, warmup: 10, ..Method::default() };
    let title = "Running one container while others live";
    compare(stage.privilege, "runtime-alive", title, &method, &commands)
}

/// The programs' files, stripped, and the memory that the largest process of a run has at its peak.
pub fn size() -> Result<()> {
    const MB: f64 = 1e6;
    let stage = Stage::new()?;
    let bundle = stage.bundle("size", &["/bin/true"], |_| {})?;
    let (mut commands, mut sizes, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for (label, program) in &stage.runtimes {
        let path =
            process::read(Command::new("sh").args(["-c", &format!("command -v {program}")]))?;
        let stripped = stage.scratch.join(format!("{label}.stripped"));
        process::read(Command::new("strip").arg("-o").arg(&stripped).arg(path.trim()))?;
        sizes.push(vec![fs::metadata(&stripped).on("read", &stripped)?.len() as f64 / MB]);
        let mut peak = Vec::new();
        for _ in 0..20 {
            let mut command = stage.privilege.command("benches/runtime/world.sh");
            command.current_dir(workspace::root());
            command.args(["/usr/bin/time", "-f", "%M", program, "--root", "/mnt/size", "run"]);
            let output = process::try_output(command.args(["--bundle", &bundle, "x"]));
            let said = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            let kib = said.as_deref().and_then(|said| said.trim().parse::<f64>().ok());
            let kib =
                kib.ok_or_else(|| Error::failed(format!("time -f %M {program}: {said:?}")))?;
            peak.push(kib * 1024.0 / MB);
        }
        peak.sort_by(f64::total_cmp);
        peaks.push(peak);
        commands.push((*label, format!("{program} --root /mnt/size run --bundle {bundle} x")));
    }
    let title = "Peak memory of the largest process of one run";
    record("runtime-memory", title, ("MB", "GNU time"), &commands, &peaks)?;
    for (_, command) in &mut commands {
        *command = command.split(' ').next().map_or_else(String::new, str::to_owned);
    }
    record("runtime-size", "The programs, stripped", ("MB", "strip"), &commands, &sizes)
}

/// `run` with one part of the configuration left out at a time: what that part costs.
pub fn parts() -> Result<()> {
    let stage = Stage::new()?;
    let program = &stage.runtimes[0].1;
    type Change = fn(&mut Value) -> Result<()>;
    let changes: [(&str, Change); 6] = [
        ("all of it", |_| Ok(())),
        ("no network namespace", |config| {
            retain(&mut config["linux"]["namespaces"], |entry| entry["type"] != "network");
            Ok(())
        }),
        ("no masked or read-only paths", |config| {
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            Ok(())
        }),
        ("no mounts but /proc", |config| {
            retain(&mut config["mounts"], |entry| entry["destination"] == "/proc");
            Ok(())
        }),
        ("with Docker's filter, cached", |config| {
            config["linux"]["seccomp"] = profile()?;
            Ok(())
        }),
        ("with Docker's filter, compiled", |config| {
            config["linux"]["seccomp"] = profile()?;
            Ok(())
        }),
    ];
    let (mut commands, mut prepare) = (Vec::new(), Vec::new());
    for (place, (label, change)) in changes.into_iter().enumerate() {
        let name = format!("parts-{place}");
        let mut changed = Ok(());
        let bundle = stage.bundle(&name, &["/bin/true"], |config| changed = change(config))?;
        changed?;
        commands.push((label, format!("{program} --root /mnt/{name} run --bundle {bundle} x")));
        prepare.push(match label.ends_with("compiled") {
            // The cache of filters is in the state directory.
            true => format!("rm -rf /mnt/{name}/.seccomp"),
            false => "true".to_owned(),
        });
    }
    commands.push(("corten-runtime --version", format!("{program} --version")));
    prepare.push("true".to_owned());
    let before = Before::Commands { prepare, cleanup: "true".to_owned() };
    let method = Method { before, ..Method::default() };
    let title = "Running one container, with one part of its configuration changed";
    compare(stage.privilege, "runtime-parts", title, &method, &commands)
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    list.as_array_mut().into_iter().for_each(|list| list.retain(&keep));
}

fn profile() -> Result<Value> {
    let path = workspace::root().join(SECCOMP);
    let text = fs::read_to_string(&path).on("read", &path)?;
    serde_json::from_str(&text).map_err(|e| Error::failed(format!("{}: {e}", path.display())))
}

/// What every comparison needs.
pub(super) struct Stage {
    pub(super) privilege: Privilege,
    rootfs: PathBuf,
    pub(super) scratch: PathBuf,
    /// Name and path: ours first, then those that this machine has.
    pub(super) runtimes: Vec<(&'static str, String)>,
}

impl Stage {
    pub(super) fn new() -> Result<Stage> {
        let privilege = Privilege::here();
        if privilege == Privilege::None {
            return Err(Error::failed("containers need root: run `sudo -v` first"));
        }
        build("corten-runtime")?;
        let program = workspace::target().join("release/corten-runtime");
        let mut runtimes = vec![("corten-runtime", program.display().to_string())];
        for other in ["crun", "runc"] {
            if process::exists(other) {
                runtimes.push((other, other.to_owned()));
            }
        }
        Ok(Stage {
            privilege,
            rootfs: image::unpacked(&image::layer(&image::busybox()?)?)?,
            scratch: workspace::scratch("bench-runtime")?,
            runtimes,
        })
    }

    /// The command line of the program that makes the same system calls and nothing else.
    fn floor(&self) -> Result<String> {
        let program = self.scratch.join("floor");
        let source = workspace::root().join("benches/runtime/floor.c");
        let mut cc = Command::new("cc");
        process::read(cc.args(["-O2", "-static", "-o"]).arg(&program).arg(source))?;
        Ok(format!("{} {} /bin/true", program.display(), self.rootfs.display()))
    }

    /// A bundle of runc's default configuration that runs `command`, changed by `change`. The
    /// version is one that older runtimes know.
    pub(super) fn bundle(
        &self,
        name: &str,
        command: &[&str],
        change: impl FnOnce(&mut Value),
    ) -> Result<String> {
        let directory = self.scratch.join(name);
        let file = directory.join("config.json");
        // It is there from the last time.
        let _ = fs::remove_file(&file);
        fs::create_dir_all(&directory).on("create", &directory)?;
        let program = Path::new(&self.runtimes[0].1);
        process::read(Command::new(program).args(["spec", "--bundle"]).arg(&directory))?;
        let text = fs::read_to_string(&file).on("read", &file)?;
        let json = |e: serde_json::Error| Error::failed(format!("{}: {e}", file.display()));
        let mut config: Value = serde_json::from_str(&text).map_err(json)?;
        config["ociVersion"] = json!("1.0.2");
        config["root"]["path"] = json!(self.rootfs);
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(command);
        change(&mut config);
        fs::write(&file, config.to_string()).on("write", &file)?;
        Ok(directory.display().to_string())
    }
}
