//! `ls` and `inspect`.

use clap::Args;

use crate::error::{Error, Result};
use crate::networks::Networks;

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// Ids alone
    #[arg(short, long)]
    quiet: bool,
}

impl LsArgs {
    pub(super) fn execute(&self, networks: &Networks) -> Result<()> {
        let all = networks.all()?;
        if self.quiet {
            all.iter().for_each(|network| println!("{}", &network.id[..12]));
            return Ok(());
        }
        let width = all.iter().map(|network| network.name.len()).max().unwrap_or_default().max(4);
        println!("{:<12}  {:<width$}  {:<8}  SUBNETS", "NETWORK ID", "NAME", "DRIVER");
        for network in all {
            let subnets: Vec<String> = network.subnets().iter().map(ToString::to_string).collect();
            let (id, name, driver) = (&network.id[..12], &network.name, &network.driver);
            let line = format!("{id}  {name:<width$}  {driver:<8}  {}", subnets.join(" "));
            println!("{}", line.trim_end());
        }
        Ok(())
    }
}

pub(super) fn inspect(networks: &Networks, names: &[String]) -> Result<()> {
    let found: Vec<_> = names.iter().map(|name| networks.inspect(name)).collect::<Result<_>>()?;
    println!("{}", json(&found)?);
    Ok(())
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|source| Error::Json { path: "standard output".into(), source })
}
