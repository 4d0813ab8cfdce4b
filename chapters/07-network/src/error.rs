//! What goes wrong, said with the operation, the object, the errno by name and the remedy.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use corten_namespaces::error::{errno_name, errno_of, said};
use nix::errno::Errno;

use crate::endpoint::Endpoint;
use crate::network::Network;

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that this crate reports. Where Docker has a sentence for it, it is Docker's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused a request or a system call.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A system call on a file failed.
    #[error("{operation} {}: {}", path.display(), said(operation, errno_of(source)))]
    Path {
        /// What was tried: a verb, like `open`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A file of JSON is not what this crate writes.
    #[error("{}: not what Corten writes: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Chapter 5: a file of ours, or the poller.
    #[error(transparent)]
    Supervisor(#[from] corten_supervisor::Error),
    /// Chapter 4 refused.
    #[error(transparent)]
    Runtime(#[from] corten_runtime::Error),
    /// The process that resolves a network's names does not answer.
    #[error("the name server of network {network}: {why}")]
    NameServer {
        /// The network.
        network: String,
        /// What is known of it.
        why: String,
    },
    /// Chapter 1 refused.
    #[error(transparent)]
    Namespaces(#[from] corten_namespaces::Error),
    /// What the caller asked for is malformed or contradicts itself.
    #[error("{what}: {why}")]
    Invalid {
        /// Which argument or field.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// No network has this name or id.
    #[error("network {name} not found")]
    NoSuchNetwork {
        /// As it was asked for.
        name: String,
    },
    /// Several networks have ids that begin so.
    #[error("network {prefix} is ambiguous ({count} matches found based on ID prefix)")]
    Ambiguous {
        /// The beginning.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// Another network has this name.
    #[error("network with name {name} already exists")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// Networks that are always there.
    #[error("{name} is a pre-defined network and cannot be {what}")]
    Predefined {
        /// Which one.
        name: String,
        /// `removed` or `created`.
        what: &'static str,
    },
    /// Something does not go together with a configuration.
    #[error("{why}")]
    Configuration {
        /// What, in moby's words.
        why: &'static str,
    },
    /// No configuration has this name.
    #[error("configuration network {name:?} does not exist")]
    NoSuchConfiguration {
        /// As it was asked for.
        name: String,
    },
    /// A configuration by which a network is made cannot be removed.
    #[error("error while removing network: configuration network {name:?} is in use")]
    ConfigurationInUse {
        /// Its name.
        name: String,
    },
    /// A network with containers cannot be removed.
    #[error("error while removing network: network {name} id {id} has active endpoints ({users})")]
    ActiveEndpoints {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// Its containers: `name:"web" id:"0123456789ab"`.
        users: String,
    },
    /// The container is connected to this network.
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected {
        /// The container's name.
        container: String,
        /// The network's.
        network: String,
    },
    /// The container is not connected to this network.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// A subnet touches another network's, or one that the host has a route to.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}"
    )]
    Overlap {
        /// The subnet that was asked for.
        subnet: String,
        /// What has it.
        other: String,
    },
    /// Every pool of addresses collides with something.
    #[error(
        "all predefined address pools have been fully subnetted: name a subnet that is free here"
    )]
    NoPool,
    /// Every address of a network is taken.
    #[error(
        "no available IPv4 or IPv6 addresses on the address pool {subnet} of network {network}"
    )]
    NoAddress {
        /// The network.
        network: String,
        /// Its subnet or range.
        subnet: String,
    },
    /// The address that was asked for is another one's.
    #[error("Address already in use: {address} ({owner})")]
    AddressInUse {
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// A port of the host that was asked for is another one's.
    #[error("Bind for {place} failed: port is already allocated ({owner})")]
    PortInUse {
        /// `0.0.0.0:8080/tcp`.
        place: String,
        /// Who has it.
        owner: String,
    },
}

impl Error {
    /// A failed system call on `path`.
    pub fn path(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Path { operation, path: path.to_path_buf(), source }
    }

    /// Something malformed.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), why: why.into() }
    }

    /// A network that has these endpoints.
    pub(crate) fn active(network: Network, endpoints: &[Endpoint]) -> Error {
        let user = |endpoint: &Endpoint| {
            let short = endpoint.container.get(..12).unwrap_or(&endpoint.container);
            format!("name:{:?} id:{short:?}", endpoint.name)
        };
        let users: Vec<String> = endpoints.iter().map(user).collect();
        let Network { name, id, .. } = network;
        Error::ActiveEndpoints { name, id, users: users.join(", ") }
    }

    /// The errno, where the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Kernel(error) => Some(error.errno),
            Error::Path { source, .. } => source.raw_os_error().map(Errno::from_raw),
            Error::Namespaces(error) => error.errno(),
            Error::Supervisor(error) => error.errno(),
            _ => None,
        }
    }
}

/// A request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// What was tried: `create bridge`, `add address 172.18.0.2/16 to`.
    pub operation: String,
    /// What it was applied to: the name of a link or a table.
    pub object: String,
    /// What the kernel answered.
    pub errno: Errno,
    /// What it said about it in words (NLMSGERR_ATTR_MSG), where it did.
    pub said: Option<String>,
}

impl KernelError {
    /// Without words of the kernel's own.
    pub fn new(operation: impl Into<String>, object: impl Into<String>, errno: Errno) -> Self {
        KernelError { operation: operation.into(), object: object.into(), errno, said: None }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.object.is_empty() { "" } else { " " };
        let errno = errno_name(self.errno);
        write!(f, "{}{space}{}: {errno}", self.operation, self.object)?;
        if let Some(said) = &self.said {
            write!(f, ": {said}")?;
        }
        match remedy(self.errno) {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

/// What usually lies behind an errno of rtnetlink or nfnetlink.
fn remedy(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::EPERM => Some("needs CAP_NET_ADMIN: run as root, or in the lab VM: ./x lab shell"),
        Errno::EOPNOTSUPP => Some(
            "this kernel lacks a module: bridge, veth, macvlan, ipvlan, dummy, nf_tables, nft_chain_nat, \
             nft_fib_inet, nft_masq and nft_nat are used",
        ),
        Errno::EPROTONOSUPPORT => Some("this kernel was built without nf_tables"),
        _ => None,
    }
}

/// Adds what was tried to a bare errno.
pub(crate) trait Context<T> {
    /// Names the operation and its object.
    fn on(self, operation: &str, object: &str) -> Result<T>;

    /// Names an operation that has no object.
    fn during(self, operation: &str) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn on(self, operation: &str, object: &str) -> Result<T> {
        self.map_err(|errno| KernelError::new(operation, object, errno).into())
    }

    fn during(self, operation: &str) -> Result<T> {
        self.on(operation, "")
    }
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, operation: &str, object: &str) -> Result<T> {
        self.map_err(|error| errno_of(&error)).on(operation, object)
    }

    fn during(self, operation: &str) -> Result<T> {
        self.on(operation, "")
    }
}

/// Adds the operation and the path to an error of a file.
pub(crate) trait At<T> {
    /// Names what was tried, and on which file.
    fn at(self, operation: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::path(operation, path, source))
    }
}

impl<T> At<T> for nix::Result<T> {
    fn at(self, operation: &'static str, path: &Path) -> Result<T> {
        self.map_err(|errno| Error::path(operation, path, errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_operation_object_errno_words_and_remedy() {
        let mut error = KernelError::new("create veth", "eth0", Errno::EPERM);
        assert!(error.to_string().starts_with("create veth eth0: EPERM (needs CAP_NET_ADMIN"));
        error.errno = Errno::EEXIST;
        error.said = Some("Device already exists".into());
        assert_eq!(error.to_string(), "create veth eth0: EEXIST: Device already exists");
    }
}
