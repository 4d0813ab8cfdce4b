//! Ports as `docker ps` prints them: those that follow one another as a range.

use std::net::IpAddr;

/// A port of a container, and where it is published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub container: u16,
    /// The host's address as text, by which Docker sorts, and port.
    pub host: Option<(String, u16)>,
    pub protocol: String,
}

impl Port {
    pub(super) fn published(host: IpAddr, port: u16, container: u16, protocol: String) -> Port {
        Port { container, host: Some((host.to_string(), port)), protocol }
    }

    /// `80/tcp`.
    pub(super) fn exposed(text: &str) -> Option<Port> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Port { container: number.parse().ok()?, host: None, protocol: protocol.to_owned() })
    }
}

/// Ports that follow one another, at one address.
struct Range {
    address: Option<String>,
    protocol: String,
    first: u16,
    last: u16,
}

impl Range {
    fn text(&self) -> String {
        let mut ports = self.first.to_string();
        if self.first != self.last {
            ports += &format!("-{}", self.last);
        }
        match &self.address {
            Some(address) => format!("{}:{ports}->{ports}/{}", bracketed(address), self.protocol),
            None => format!("{ports}/{}", self.protocol),
        }
    }
}

/// `0.0.0.0:8080->80/tcp, [::]:8080->80/tcp`: first what has the same number on the host, as ranges,
/// or is not published, then what has another.
pub(super) fn display(mut ports: Vec<Port>) -> String {
    ports.sort();
    let (mut shown, mut mapped) = (Vec::new(), Vec::new());
    let mut open: Vec<Range> = Vec::new();
    for Port { container, host, protocol } in ports {
        let address = match host {
            Some((address, port)) if port != container => {
                mapped.push(format!("{}:{port}->{container}/{protocol}", bracketed(&address)));
                continue;
            }
            host => host.map(|(address, _)| address),
        };
        let new = Range { address, protocol, first: container, last: container };
        let same =
            |range: &&mut Range| (&range.address, &range.protocol) == (&new.address, &new.protocol);
        match open.iter_mut().find(same) {
            Some(range) if u32::from(range.last) + 1 == u32::from(container) => {
                range.last = container;
            }
            Some(range) => shown.push(std::mem::replace(range, new).text()),
            None => open.push(new),
        }
    }
    shown.extend(open.iter().map(Range::text));
    shown.extend(mapped);
    shown.join(", ")
}

fn bracketed(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ports: &[(&str, u16, u16, &str)]) -> String {
        let port = |(host, at, container, protocol): &(&str, u16, u16, &str)| Port {
            container: *container,
            host: (!host.is_empty()).then(|| ((*host).to_owned(), *at)),
            protocol: (*protocol).to_owned(),
        };
        display(ports.iter().map(port).collect())
    }

    /// Those of docker/cli's own test (formatter/container_test.go).
    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        let every = "0.0.0.0";
        for (ports, expected) in [
            (&[("", 0, 9988, "tcp")][..], "9988/tcp"),
            (&[("", 0, 9988, "udp")], "9988/udp"),
            (&[(every, 8899, 9988, "tcp")], "0.0.0.0:8899->9988/tcp"),
            (&[("::", 9988, 9988, "tcp")], "[::]:9988->9988/tcp"),
            (&[("", 0, 9988, "tcp"), ("", 0, 9989, "tcp")], "9988-9989/tcp"),
            (&[("1.2.3.4", 9, 9, "udp"), ("1.2.3.4", 10, 10, "udp")], "1.2.3.4:9-10->9-10/udp"),
            (
                &[(every, 8080, 80, "tcp"), ("::", 8080, 80, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                &[("1.2.3.4", 998, 80, "tcp"), ("", 0, 443, "tcp"), (every, 53, 53, "udp")],
                "0.0.0.0:53->53/udp, 443/tcp, 1.2.3.4:998->80/tcp",
            ),
            (&[("", 0, 80, "tcp"), ("", 0, 82, "tcp"), ("", 0, 83, "tcp")], "80/tcp, 82-83/tcp"),
        ] {
            assert_eq!(shown(ports), expected);
        }
    }
}
