//! Which container has which port of the host: one small file for each port, so that nothing is read
//! of containers that have others.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Protocol, Published};
use corten_supervisor::durable::{self, Worth};

use crate::error::Result;
use crate::store;

/// A container's claim on a port at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Claim {
    /// Which address; every one where it is unspecified.
    pub host: IpAddr,
    /// The endpoint.
    pub endpoint: String,
    /// The container's name, for messages.
    pub name: String,
}

impl Claim {
    /// Whether both cannot be had.
    fn excludes(&self, address: IpAddr) -> bool {
        self.host.is_ipv4() == address.is_ipv4()
            && (self.host == address || self.host.is_unspecified() || address.is_unspecified())
    }
}

/// The claims of all containers, in a directory.
#[derive(Debug, Clone)]
pub(crate) struct Claims {
    directory: PathBuf,
}

impl Claims {
    pub fn new(directory: &Path) -> Claims {
        Claims { directory: directory.to_owned() }
    }

    fn file(&self, protocol: Protocol, port: u16) -> PathBuf {
        self.directory.join(format!("{protocol}-{port}"))
    }

    fn of(&self, protocol: Protocol, port: u16) -> Result<Vec<Claim>> {
        Ok(durable::read_json(&self.file(protocol, port))?.unwrap_or_default())
    }

    fn write(&self, protocol: Protocol, port: u16, claims: &[Claim]) -> Result<()> {
        let file = self.file(protocol, port);
        if claims.is_empty() {
            return store::remove(&file);
        }
        Ok(durable::write_json(&file, &claims, Worth::Volatile)?)
    }

    /// The container that has this port at an address that `address` collides with.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn holder(&self, protocol: Protocol, port: u16, address: IpAddr) -> Result<Option<Claim>> {
        Ok(self.of(protocol, port)?.into_iter().find(|claim| claim.excludes(address)))
    }

    /// Claims the ports for an endpoint. The caller holds the lock of all ports.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn take(&self, ports: &[Published], endpoint: &str, name: &str) -> Result<()> {
        for port in ports {
            let mut claims = self.of(port.protocol, port.host_port)?;
            claims.push(Claim {
                host: port.host,
                endpoint: endpoint.to_owned(),
                name: name.to_owned(),
            });
            self.write(port.protocol, port.host_port, &claims)?;
        }
        Ok(())
    }

    /// Those of `ports` that this endpoint has.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn held<'p>(&self, ports: &'p [Published], endpoint: &str) -> Result<Vec<&'p Published>> {
        let mut held = Vec::new();
        for port in ports {
            let claims = self.of(port.protocol, port.host_port)?;
            if claims.iter().any(|claim| claim.endpoint == endpoint && claim.host == port.host) {
                held.push(port);
            }
        }
        Ok(held)
    }

    /// Gives back what an endpoint has of `ports`.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn give_back(&self, ports: &[Published], endpoint: &str) -> Result<()> {
        for port in ports {
            let mut claims = self.of(port.protocol, port.host_port)?;
            let before = claims.len();
            claims.retain(|claim| claim.endpoint != endpoint);
            if claims.len() != before {
                self.write(port.protocol, port.host_port, &claims)?;
            }
        }
        Ok(())
    }

    /// Removes the claims of endpoints that are not there.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn sweep(&self, alive: &dyn Fn(&str) -> bool) -> Result<()> {
        for name in store::names(&self.directory)? {
            let file = self.directory.join(name);
            let Some(mut claims) = durable::read_json::<Vec<Claim>>(&file)? else { continue };
            let before = claims.len();
            claims.retain(|claim| alive(&claim.endpoint));
            match claims.len() {
                0 => store::remove(&file)?,
                left if left != before => durable::write_json(&file, &claims, Worth::Volatile)?,
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_at_every_address_excludes_it_at_each_and_the_other_way_round() {
        let directory = tempfile::tempdir().unwrap();
        let claims = Claims::new(directory.path());
        let port = Published {
            protocol: Protocol::Tcp,
            host: "127.0.0.1".parse().unwrap(),
            host_port: 80,
            container: "10.0.0.2".parse().unwrap(),
            container_port: 80,
        };
        claims.take(std::slice::from_ref(&port), "e", "web").unwrap();
        let holder = |protocol, address: &str| {
            claims.holder(protocol, 80, address.parse().unwrap()).unwrap().map(|claim| claim.name)
        };
        assert_eq!(holder(Protocol::Tcp, "0.0.0.0").as_deref(), Some("web"));
        assert_eq!(holder(Protocol::Tcp, "127.0.0.1").as_deref(), Some("web"));
        assert_eq!(holder(Protocol::Tcp, "127.0.0.2"), None);
        assert_eq!(holder(Protocol::Tcp, "::"), None);
        assert_eq!(holder(Protocol::Udp, "0.0.0.0"), None);
        claims.give_back(std::slice::from_ref(&port), "e").unwrap();
        assert!(store::names(directory.path()).unwrap().is_empty());
    }
}
