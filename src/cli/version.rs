//! `corten version`.

use clap::Args;
use serde_json::json;

use super::format::Shown;
use crate::engine::Result;

#[derive(Debug, Args)]
pub(super) struct Version {
    #[command(flatten)]
    shown: Shown,
}

impl Version {
    pub(super) fn execute(&self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let api = corten_daemon::version::NEWEST.to_string();
        // The program is both sides.
        let side = json!({
            "Version": version,
            "ApiVersion": api,
            "Os": std::env::consts::OS,
            "Arch": corten_registry::Platform::host().architecture,
        });
        let both = json!({"Client": side, "Server": side});
        self.shown.print_one(&both, || format!("corten {version}, Docker Engine API {api}\n"))
    }
}
