//! `corten network`.

use clap::{Args, Subcommand};
use corten_network::cli::CreateArgs;
use serde_json::json;

use super::ask::Ask;
use super::format::{Columns, Format, Shown};
use super::{each, print};
use crate::engine::networks::Attachment;
use crate::engine::{Engine, Error, Result};

#[derive(Debug, Subcommand)]
pub(super) enum Network {
    /// Make a network
    Create(CreateArgs),
    /// List networks
    #[command(alias = "list")]
    Ls(Ls),
    /// Show all that is known of networks, as JSON
    Inspect(Inspect),
    /// Connect a container to a network
    Connect(Connect),
    /// Take a container off a network
    Disconnect(Disconnect),
    /// Remove networks that no container is on
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove all networks that no container names
    Prune(Prune),
    /// Take what networks have in the kernel off this host, where no container is on any: the next
    /// container brings it back
    Unload,
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
    /// Those that fit: name=, id=, driver=, label=, scope=, type=, dangling=
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Names or ids of networks
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
    /// It is no mistake that there is none of that name
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    shown: Shown,
    /// Accepted for docker's sake: everything is shown
    #[arg(short, long)]
    verbose: bool,
    /// Names or ids of networks
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Connect {
    /// Another name of the container there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Its address there
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    ip: String,
    /// Its IPv6 address there
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    ip6: String,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

#[derive(Debug, Args)]
pub(super) struct Disconnect {
    /// It is no mistake that the container is gone
    #[arg(short, long)]
    force: bool,
    /// Name or id of the network
    network: String,
    /// Name or id of the container
    container: String,
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    #[command(flatten)]
    ask: Ask,
    /// Those that fit: label=, label!=, until=
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

impl Network {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        match self {
            Network::Create(create) => {
                print(&format!("{}\n", engine.create_network(&create.request()?)?.id))?;
                for obstacle in engine.networks()?.obstacles()? {
                    super::warn(&obstacle);
                }
            }
            Network::Ls(ls) => ls.execute(engine)?,
            Network::Inspect(Inspect { names, shown, .. }) => {
                let mut found = Vec::new();
                let status = each(names, debug, |name| {
                    found.push(json!(engine.networks()?.inspect(name)?));
                    Ok(())
                });
                shown.print(found)?;
                return Ok(status);
            }
            Network::Connect(connect) => {
                let aliases = connect.alias.clone();
                let wanted = Attachment { aliases, ..Attachment::default() };
                let wanted = wanted.at(&connect.ip, &connect.ip6);
                engine.connect_network(&connect.network, &connect.container, &wanted)?;
            }
            Network::Disconnect(disconnect) => disconnect.execute(engine)?,
            Network::Rm(Rm { names, force }) => {
                return Ok(each(names, debug, |name| match engine.remove_network(name) {
                    Err(Error::Network(corten_network::Error::NoSuchNetwork { .. })) if *force => {
                        Ok(())
                    }
                    removed => print(&format!("{}\n", removed?)),
                }));
            }
            Network::Prune(prune) => prune.execute(engine)?,
            Network::Unload => {
                if !engine.networks()?.unload()? {
                    super::warn("nothing is taken off: containers are on networks");
                }
            }
        }
        Ok(0)
    }
}

impl Disconnect {
    fn execute(&self, engine: &Engine) -> Result<()> {
        match engine.disconnect_network(&self.network, &self.container) {
            Err(Error::NoSuchContainer { .. }) if self.force => Ok(()),
            other => other,
        }
    }
}

impl Prune {
    fn execute(&self, engine: &Engine) -> Result<()> {
        let question = "This will remove all custom networks not used by at least one container.";
        if !self.ask.confirmed("network prune", question)? {
            return Ok(());
        }
        match engine.prune_networks(&self.filters)?.as_slice() {
            [] => Ok(()),
            names => print(&format!("Deleted Networks:\n{}\n\n", names.join("\n"))),
        }
    }
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Internal", "INTERNAL"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("CreatedAt", "CREATED AT"),
        ("Labels", "LABELS"),
    ],
    usual: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

impl Ls {
    fn execute(&self, engine: &Engine) -> Result<()> {
        let all = engine.list_networks(&self.filters)?;
        let id = |id: &str| {
            let short = id.get(..12).filter(|_| !self.no_trunc);
            short.unwrap_or(id).to_owned()
        };
        if self.quiet {
            return print(&all.iter().map(|network| id(&network.id) + "\n").collect::<String>());
        }
        let row = |network: &corten_network::Network| {
            let labels = network.labels.iter().map(|(name, value)| format!("{name}={value}"));
            json!({
                "ID": id(&network.id), "Name": network.name, "Driver": network.driver,
                "Scope": network.scope, "Internal": network.internal.to_string(),
                "IPv4": network.enable_ipv4.to_string(),
                "IPv6": network.enable_ipv6.to_string(), "CreatedAt": network.created,
                "Labels": labels.collect::<Vec<_>>().join(","),
            })
        };
        print(&self.format.list(COLUMNS, &all.iter().map(row).collect::<Vec<_>>())?)
    }
}
