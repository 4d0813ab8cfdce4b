//! `corten network`.

use clap::{Args, Subcommand};
use corten_daemon::backend::Backend;
use corten_network::cli::CreateArgs;
use serde_json::{Value, json};

use super::ask::Ask;
use super::format::{Columns, Format, Shown};
use super::making::value::strict_pairs;
use super::{each, print, remote, warn};
use crate::cli::Result;
use crate::engine;
use crate::engine::Engine;
use crate::engine::networks::Attachment;

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
    /// A further address, of this link alone
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<String>,
    /// A name by which it alone knows another container there
    #[arg(long, value_name = "CONTAINER[:NAME]")]
    link: Vec<String>,
    /// Of its networks, the one with the highest leads everywhere else
    #[arg(long, value_name = "NUMBER", default_value_t, allow_hyphen_values = true)]
    gw_priority: i64,
    /// For the driver: com.docker.network.endpoint.ifname=…, com.docker.network.endpoint.sysctls=…
    #[arg(long = "driver-opt", value_name = "NAME=VALUE")]
    driver_options: Vec<String>,
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
                    warn(&obstacle);
                }
            }
            Network::Ls(ls) => ls.execute(engine)?,
            Network::Inspect(Inspect { names, shown, .. }) => {
                let mut found = Vec::new();
                let status = each(names, debug, |name| {
                    found.push(engine.inspect_network(name)?);
                    Ok(())
                });
                shown.print(found)?;
                return Ok(status);
            }
            Network::Connect(connect) => {
                let wanted = connect.wanted()?;
                engine.connect_network(&connect.network, &connect.container, &wanted)?;
                engine.closed_ways([&connect.network]).iter().for_each(|closed| warn(closed));
            }
            Network::Disconnect(disconnect) => disconnect.execute(engine)?,
            Network::Rm(Rm { names, force }) => {
                return Ok(each(names, debug, |name| match engine.remove_network(name) {
                    Err(engine::Error::Network(corten_network::Error::NoSuchNetwork {
                        ..
                    })) if *force => Ok(()),
                    removed => print(&format!("{}\n", removed?)),
                }));
            }
            Network::Prune(prune) => prune.execute(engine)?,
            Network::Unload => {
                if !engine.networks()?.unload()? {
                    warn("nothing is taken off: containers are on networks");
                }
            }
        }
        Ok(0)
    }
}

impl Network {
    /// The same of a daemon's networks; `None` for what only this machine has.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<Option<u8>> {
        match self {
            Network::Create(create) => {
                let mut body = json!(create.request()?);
                // Before version 1.44 a name could be two networks' unless somebody asked.
                body["CheckDuplicate"] = json!(true);
                let (id, warning) = engine.create_network(&body)?;
                if !warning.is_empty() {
                    warn(&warning);
                }
                print(&format!("{id}\n"))?;
            }
            Network::Ls(ls) => ls.remote(engine)?,
            Network::Inspect(Inspect { names, shown, verbose }) => {
                let mut found = Vec::new();
                let status = each(names, debug, |name| {
                    found.push(engine.inspect_network(name, *verbose, "")?);
                    Ok(())
                });
                shown.print(found)?;
                return Ok(Some(status));
            }
            Network::Connect(connect) => {
                let wanted = json!({
                    "Container": connect.container, "EndpointConfig": connect.wanted()?,
                });
                engine.connect(&connect.network, &wanted)?;
            }
            Network::Disconnect(Disconnect { force, network, container }) => {
                engine.disconnect(network, &json!({"Container": container, "Force": force}))?;
            }
            Network::Rm(Rm { names, force }) => {
                return Ok(Some(each(names, debug, |name| match engine.remove_network(name) {
                    Err(failure) if failure.status == 404 && *force => Ok(()),
                    removed => {
                        removed?;
                        print(&format!("{name}\n"))
                    }
                })));
            }
            Network::Prune(prune) => prune.remote(engine)?,
            Network::Unload => return Ok(None),
        }
        Ok(Some(0))
    }
}

impl Connect {
    fn wanted(&self) -> Result<Attachment> {
        let wanted = Attachment {
            aliases: self.alias.clone(),
            links: self.link.clone(),
            gw_priority: self.gw_priority,
            driver_opts: strict_pairs("--driver-opt", &self.driver_options)?,
            ..Attachment::default()
        };
        Ok(wanted.with_local(self.link_local_ip.clone()).at(&self.ip, &self.ip6))
    }
}

impl Disconnect {
    fn execute(&self, engine: &Engine) -> Result<()> {
        Ok(engine.disconnect_network(&self.network, &self.container, self.force)?)
    }
}

impl Prune {
    fn execute(&self, engine: &Engine) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        tell(&engine.prune_networks(&self.filters)?)
    }

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        if !self.confirmed()? {
            return Ok(());
        }
        tell(&engine.prune_networks(&remote::filters(&self.filters)?)?)
    }

    fn confirmed(&self) -> Result<bool> {
        let question = "This will remove all custom networks not used by at least one container.";
        self.ask.confirmed("network prune", question)
    }
}

fn tell(names: &[String]) -> Result<()> {
    match names {
        [] => Ok(()),
        names => print(&format!("Deleted Networks:\n{}\n\n", names.join("\n"))),
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

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let all = engine.list_networks(&remote::filters(&self.filters)?)?;
        let text = |network: &Value, field: &str| remote::text(network, field).to_owned();
        let id = |network: &Value| remote::short(remote::text(network, "Id"), self.no_trunc);
        if self.quiet {
            return print(&all.iter().map(|network| id(network) + "\n").collect::<String>());
        }
        let yes = |value: &Value, otherwise: bool| value.as_bool().unwrap_or(otherwise).to_string();
        let row = |network: &Value| {
            json!({
                "ID": id(network), "Name": text(network, "Name"),
                "Driver": text(network, "Driver"), "Scope": text(network, "Scope"),
                "Internal": yes(&network["Internal"], false),
                // Older daemons have no network without it.
                "IPv4": yes(&network["EnableIPv4"], true),
                "IPv6": yes(&network["EnableIPv6"], false),
                "CreatedAt": text(network, "Created"),
                "Labels": remote::format_labels(&network["Labels"]),
            })
        };
        let mut rows: Vec<Value> = all.iter().map(row).collect();
        rows.sort_by_cached_key(|row| text(row, "Name"));
        print(&self.format.list(COLUMNS, &rows)?)
    }
}
