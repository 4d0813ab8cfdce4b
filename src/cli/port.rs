//! `corten port`.

use clap::Args;
use corten_daemon::backend::Backend;

use super::print;
use super::remote::text;
use crate::cli::{Error, Result};
use crate::engine::Engine;

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
        self.print(lines)
    }

    /// The same of a daemon's container.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let told = engine.inspect(&self.container, false)?;
        let mut lines = Vec::new();
        for (own, hosts) in told["NetworkSettings"]["Ports"].as_object().into_iter().flatten() {
            let number = own.split('/').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            for host in hosts.as_array().into_iter().flatten() {
                let (address, port) = (text(host, "HostIp"), text(host, "HostPort"));
                let bracketed = address.contains(':');
                let address = if bracketed { format!("[{address}]") } else { address.to_owned() };
                lines.push((number, own.clone(), format!("{address}:{port}")));
            }
        }
        self.print(lines)
    }

    fn print(&self, mut lines: Vec<(u16, String, String)>) -> Result<()> {
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
