//! `corten info`.

use clap::Args;

use serde_json::json;

use super::format::Shown;
use crate::engine::{Engine, Result};

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
            "OSType": std::env::consts::OS,
            "Architecture": std::env::consts::ARCH,
        });
        self.shown.print_one(&shown, || text)
    }
}
