//! `corten port`.

use clap::Args;

use super::print;
use crate::engine::{Engine, Error, Result};

#[derive(Debug, Args)]
pub(super) struct PortArgs {
    /// Name or id
    container: String,
    /// One port of the container only
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<String>,
}

impl PortArgs {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let record = engine.containers().find(&self.container)?.0;
        let mut lines = Vec::new();
        for endpoint in engine.endpoints(&record)? {
            for port in &endpoint.ports {
                let own = format!("{}/{}", port.container_port, port.protocol);
                let host = std::net::SocketAddr::new(port.host, port.host_port);
                lines.push((port.container_port, own, host.to_string()));
            }
        }
        lines.sort();
        let Some(wanted) = &self.port else {
            return print(
                &lines
                    .iter()
                    .map(|(_, own, host)| format!("{own} -> {host}\n"))
                    .collect::<String>(),
            );
        };
        let wanted = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
        lines.retain(|(_, own, _)| *own == wanted);
        if lines.is_empty() {
            let name = &self.container;
            return Err(Error::refused(format!("no public port '{wanted}' published for {name}")));
        }
        print(&lines.iter().map(|(_, _, host)| format!("{host}\n")).collect::<String>())
    }
}
