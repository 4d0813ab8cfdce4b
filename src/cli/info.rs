//! `corten info`.

use clap::Args;
use corten_daemon::backend::Backend;
use corten_daemon::version::NEWEST;

use serde_json::{Value, json};

use super::format::Shown;
use crate::cli::Result;
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Info {
    #[command(flatten)]
    shown: Shown,
}

impl Info {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let info = engine.info()?;
        let mut text = format!(
            "root: {}\nimages: {}\ncontainers: {}\nlayers: {}, {} bytes\nstorage driver: {}\n",
            info.root.display(),
            info.images,
            info.containers,
            info.layers,
            info.usage.total,
            info.driver,
        );
        if engine.machine()?.rootless {
            text.push_str("rootless: root here is a user outside\n");
        }
        for probe in &info.probes {
            text.push_str(&format!("  {probe}\n"));
        }
        let views = engine.views(true, &[])?;
        let count = |word: &str| views.iter().filter(|view| view.word() == word).count();
        let (running, paused) = (count("running") + count("restarting"), count("paused"));
        let machine = engine.machine()?;
        let shown = json!({
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "DockerRootDir": info.root,
            "Images": info.images,
            "Containers": views.len(),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": views.len() - running - paused,
            "Driver": info.driver,
            "Name": machine.hostname,
            "NCPU": machine.cpus,
            "CgroupVersion": if machine.unified { "2" } else { "1" },
            "SecurityOptions": if machine.rootless { vec!["name=rootless"] } else { Vec::new() },
            "OSType": std::env::consts::OS,
            "Architecture": std::env::consts::ARCH,
        });
        self.shown.print_one(&shown, || text)
    }

    /// What a daemon says of itself.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let info = engine.info(NEWEST)?;
        self.shown.print_one(&info, || told(&info))
    }
}

/// As docker prints it, without what is about swarms and plugins.
fn told(info: &Value) -> String {
    const LINES: [(&str, &str); 19] = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Total Memory", "MemTotal"),
        ("Name", "Name"),
        ("ID", "ID"),
        ("Docker Root Dir", "DockerRootDir"),
    ];
    let mut text = format!("Client:\n Version: {}\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    for (title, field) in LINES {
        let value = match &info[field] {
            Value::String(value) => value.clone(),
            Value::Number(bytes) if field == "MemTotal" => {
                super::table::size(bytes.as_u64().unwrap_or(0))
            }
            Value::Null => continue,
            value => value.to_string(),
        };
        text += &format!(" {title}: {value}\n");
    }
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text += &format!("{warning}\n");
    }
    text
}
