//! What a container sees: mounts, names, addresses.

use clap::Args;

use super::mount;
use crate::cli::{Error, Result};
use crate::engine::options::{Config, HostConfig};

#[derive(Debug, Args)]
#[command(next_help_heading = "Files and names")]
pub(super) struct FileArgs {
    /// Mount a file or directory of the host, or a volume: a name, or nothing for one without
    #[arg(short, long = "volume", value_name = "[SRC:]DST[:ro]")]
    volume: Vec<String>,
    /// The same by names, as in type=bind,src=/a,dst=/b,readonly
    #[arg(long, value_name = "FIELD=VALUE,…")]
    mount: Vec<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "DST[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount what another container mounts
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// The driver of volumes that -v makes
    #[arg(long, value_name = "DRIVER", default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Make the container's root read-only
    #[arg(long)]
    read_only: bool,
    /// The host name; the beginning of the container's id otherwise
    #[arg(short = 'h', long, value_name = "NAME", default_value = "", hide_default_value = true)]
    hostname: String,
    /// The domain name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    domainname: String,
    /// A line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// A name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// An option of the resolver
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// A domain to look in
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
}

impl FileArgs {
    pub(super) fn fill(&self, config: &mut Config, host: &mut HostConfig) -> Result<()> {
        for volume in &self.volume {
            match volume.split(':').count() {
                _ if volume.is_empty() => return Err(Error::refused("invalid empty volume spec")),
                1..=3 => {}
                _ => {
                    return Err(Error::refused(format!("invalid spec: {volume}: too many colons")));
                }
            }
            // One place alone is a volume without a name, of the portable half.
            match volume.contains(':') {
                true => host.binds.push(absolute(volume)?),
                false => drop(config.volumes.insert(volume.clone(), Default::default())),
            }
        }
        host.mounts = self.mount.iter().map(|text| mount::parse(text)).collect::<Result<_>>()?;
        for text in &self.tmpfs {
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            host.tmpfs.insert(path.to_owned(), options.to_owned());
        }
        host.volumes_from.clone_from(&self.volumes_from);
        host.volume_driver.clone_from(&self.volume_driver);
        host.readonly_rootfs = self.read_only;
        config.hostname.clone_from(&self.hostname);
        config.domainname.clone_from(&self.domainname);
        host.extra_hosts.clone_from(&self.add_host);
        host.dns = Some(self.dns.clone());
        host.dns_options = Some(self.dns_option.clone());
        host.dns_search = Some(self.dns_search.clone());
        Ok(())
    }
}

/// A source that begins with a dot is taken from where the user is, as with Docker.
fn absolute(volume: &str) -> Result<String> {
    if !volume.starts_with('.') {
        return Ok(volume.to_owned());
    }
    let (source, rest) = volume.split_once(':').unwrap_or((volume, ""));
    let source = std::path::absolute(source)
        .map_err(|error| Error::invalid(format!("volume `{volume}`"), error.to_string()))?;
    let source = crate::engine::path::lexical(&source);
    Ok(format!("{}:{rest}", source.display()))
}
