//! `corten volume`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use corten_daemon::backend::Backend;
use corten_daemon::version::NEWEST;
use serde_json::{Value, json};

use super::ask::Ask;
use super::format::{Columns, Format, Shown};
use super::{each, print, remote, table};
use crate::cli::{Error, Result};
use crate::engine::volumes::filter::{Filters, For};
use crate::engine::volumes::{self, Volumes, Wish};
use crate::engine::{Engine, shape};

#[derive(Debug, Subcommand)]
pub(super) enum Volume {
    /// Make a volume
    Create(Create),
    /// List volumes
    #[command(alias = "list")]
    Ls(Ls),
    /// Show all that is known of volumes, as JSON
    Inspect(Inspect),
    /// Remove volumes that no container uses
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove volumes without a name that no container uses
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its name; a random one where none is given
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
    /// Who makes it
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// An option of the driver: type, device or o
    #[arg(short = 'o', long = "opt", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// A label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
    /// Those that fit: name=, label=, driver=, dangling=
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    shown: Shown,
    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Names of volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
    /// It is no mistake that there is none of that name
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Remove volumes with names, too
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    ask: Ask,
    /// Those that fit: label=, label!=
    #[arg(long = "filter", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

impl Volume {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        let volumes = engine.volumes();
        match self {
            Volume::Create(create) => create.execute(volumes)?,
            Volume::Ls(ls) => ls.execute(volumes)?,
            Volume::Inspect(inspect) => return inspect.execute(volumes, debug),
            Volume::Rm(rm) => return rm.execute(volumes, debug),
            Volume::Prune(prune) => prune.execute(volumes)?,
        }
        Ok(0)
    }
}

impl Volume {
    /// The same of a daemon's volumes.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        match self {
            Volume::Create(create) => create.remote(engine)?,
            Volume::Ls(ls) => ls.remote(engine)?,
            Volume::Inspect(Inspect { shown, names }) => {
                let mut found = Vec::new();
                let status = each(names, debug, |name| {
                    found.push(engine.inspect_volume(name)?);
                    Ok(())
                });
                shown.print(found)?;
                return Ok(status);
            }
            Volume::Rm(Rm { names, force }) => {
                return Ok(each(names, debug, |name| {
                    engine.remove_volume(name, *force)?;
                    print(&format!("{name}\n"))
                }));
            }
            Volume::Prune(prune) => prune.remote(engine)?,
        }
        Ok(0)
    }
}

impl Create {
    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.check()?;
        let made = engine.create_volume(&json!({
            "Name": self.name.clone().unwrap_or_default(),
            "Driver": self.driver,
            "DriverOpts": pairs(&self.options),
            "Labels": pairs(&self.labels),
        }))?;
        print(&format!("{}\n", remote::text(&made, "Name")))
    }

    fn check(&self) -> Result<()> {
        // A name that is given and empty would be a random one.
        match self.name.as_deref() {
            Some("") => Err(Error::invalid("volume name", "is empty")),
            _ => Ok(()),
        }
    }

    fn execute(&self, volumes: &Volumes) -> Result<()> {
        self.check()?;
        let volume = volumes.create(&Wish {
            name: self.name.clone().unwrap_or_default(),
            driver: self.driver.clone(),
            options: pairs(&self.options),
            labels: pairs(&self.labels),
        })?;
        print(&format!("{}\n", volume.name))
    }
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    texts.iter().map(split).collect()
}

const COLUMNS: Columns = Columns {
    titles: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
    usual: "{{.Driver}}\t{{.Name}}",
};

/// Under the names of `docker volume ls --format json`: those of Swarm have nothing to say.
fn row(volumes: &Volumes, volume: &volumes::Volume) -> Value {
    let labels: Vec<_> =
        volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volumes.data(&volume.name),
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}

impl Ls {
    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let mut list = engine.list_volumes(&remote::filters(&self.filters)?)?;
        list.sort_by_cached_key(|volume| remote::text(volume, "Name").to_owned());
        if self.quiet {
            let names = list.iter().map(|volume| format!("{}\n", remote::text(volume, "Name")));
            return print(&names.collect::<String>());
        }
        let row = |volume: &Value| {
            let text = |field: &str| remote::text(volume, field).to_owned();
            json!({
                "Availability": "N/A", "Group": "N/A", "Links": "N/A", "Size": "N/A",
                "Status": "N/A", "Driver": text("Driver"), "Mountpoint": text("Mountpoint"),
                "Name": text("Name"), "Scope": text("Scope"),
                "Labels": remote::format_labels(&volume["Labels"]),
            })
        };
        print(&self.format.list(COLUMNS, &list.iter().map(row).collect::<Vec<_>>())?)
    }

    fn execute(&self, volumes: &Volumes) -> Result<()> {
        let list = volumes.list(&Filters::parse(&self.filters, For::List)?)?;
        if self.quiet {
            return print(
                &list.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>(),
            );
        }
        let rows: Vec<Value> = list.iter().map(|volume| row(volumes, volume)).collect();
        print(&self.format.list(COLUMNS, &rows)?)
    }
}

impl Inspect {
    fn execute(&self, volumes: &Volumes, debug: bool) -> Result<u8> {
        let mut found = Vec::new();
        let status = each(&self.names, debug, |name| {
            found.push(shape::volume(volumes, &volumes.get(name)?));
            Ok(())
        });
        self.shown.print(found)?;
        Ok(status)
    }
}

impl Rm {
    fn execute(&self, volumes: &Volumes, debug: bool) -> Result<u8> {
        Ok(each(&self.names, debug, |name| {
            volumes.remove(name, self.force)?;
            print(&format!("{name}\n"))
        }))
    }
}

impl Prune {
    fn execute(&self, volumes: &Volumes) -> Result<()> {
        let filters = Filters::parse(&self.filters(), For::Prune)?;
        if !self.confirmed()? {
            return Ok(());
        }
        let (names, bytes) = volumes.prune(&filters)?;
        tell(&names, bytes)
    }

    fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let filters = remote::filters(&self.filters())?;
        if !self.confirmed()? {
            return Ok(());
        }
        let (names, bytes) = engine.prune_volumes(&filters, NEWEST)?;
        tell(&names, bytes)
    }

    fn filters(&self) -> Vec<String> {
        let all = self.all.then(|| "all=true".to_owned());
        self.filters.iter().cloned().chain(all).collect()
    }

    fn confirmed(&self) -> Result<bool> {
        let which = if self.all { "" } else { "anonymous " };
        let question = format!("This removes all {which}volumes that no container uses.");
        self.ask.confirmed("volume prune", &question)
    }
}

fn tell(names: &[String], bytes: u64) -> Result<()> {
    let mut text = String::new();
    if !names.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", names.join("\n"));
    }
    print(&format!("{text}Total reclaimed space: {}\n", table::size(bytes)))
}
