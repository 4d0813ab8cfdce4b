//! The short form of a published port, as `docker run -p` takes it:
//! `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, where HOST and CONTAINER may be ranges.

use std::net::IpAddr;

use super::{Protocol, Publish};
use crate::error::{Error, Result};

/// A range of ports: `80` or `8000-8010`.
///
/// # Errors
/// Where it is neither, or runs backwards.
pub fn range(text: &str) -> Result<(u16, u16)> {
    let wrong = || Error::invalid(format!("port `{text}`"), "write 80 or 8000-8010");
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => Err(wrong()),
    };
    let (first, last) = match text.split_once('-') {
        None => (number(text)?, number(text)?),
        Some((first, last)) => (number(first)?, number(last)?),
    };
    if first > last { Err(wrong()) } else { Ok((first, last)) }
}

/// Reads one; a range becomes one for each port.
///
/// # Errors
/// Where it is malformed, or its ranges have different lengths.
pub fn publish(text: &str) -> Result<Vec<Publish>> {
    let wrong = |why: &str| Error::invalid(format!("port `{text}`"), why);
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, name)) => (rest, name.parse()?),
        None => (text, Protocol::Tcp),
    };
    let (rest, container) = rest.rsplit_once(':').map_or(("", rest), |(rest, last)| (rest, last));
    let (address, host) = match rest.rsplit_once(':') {
        // `[::1]:8080:80`, or `[::1]::80` for any port.
        Some((address, host)) if !rest.ends_with(']') => (address, host),
        _ if rest.starts_with('[') => (rest, ""),
        _ => ("", rest),
    };
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: Option<IpAddr> = match address {
        "" => None,
        text => {
            Some(text.parse().map_err(|_| wrong("its address is none: write 127.0.0.1:8080:80"))?)
        }
    };
    let (first, last) = range(container)?;
    let hosts = if host.is_empty() { None } else { Some(range(host)?) };
    let one = |container_port, host_ports| Publish {
        container_port,
        protocol,
        host: address,
        host_ports,
    };
    let count = u32::from(last - first);
    match hosts {
        None => Ok((first..=last).map(|port| one(port, None)).collect()),
        // One port, to whichever of the range is free.
        Some(hosts) if count == 0 => Ok(vec![one(first, Some(hosts))]),
        Some((from, to)) if u32::from(to - from) == count => {
            let pairs = (first..=last).zip(from..=to);
            Ok(pairs.map(|(port, host)| one(port, Some((host, host)))).collect())
        }
        Some(_) => Err(wrong("its two ranges have different lengths")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Publish {
        let mut all = publish(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let port = one("8080:80");
        assert_eq!(
            (port.container_port, port.host_ports, port.host),
            (80, Some((8080, 8080)), None)
        );
        assert_eq!(one("80").host_ports, None);
        assert_eq!(one("80/udp").protocol, Protocol::Udp);
        let port = one("127.0.0.1:8080:80/sctp");
        assert_eq!((port.host, port.protocol), (Some([127, 0, 0, 1].into()), Protocol::Sctp));
        assert_eq!(one("127.0.0.1::80").host_ports, None);
        let port = one("[::1]:8080:80");
        assert_eq!(
            (port.host, port.host_ports),
            (Some("::1".parse().unwrap()), Some((8080, 8080)))
        );
        assert_eq!(one("[::1]::80").host, Some("::1".parse().unwrap()));
        assert_eq!(one("8000-8010:80").host_ports, Some((8000, 8010)));
        let range = publish("8000-8002:80-82").unwrap();
        assert_eq!(range.len(), 3);
        assert_eq!((range[2].container_port, range[2].host_ports), (82, Some((8002, 8002))));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for wrong in [
            "", "x", "0", "65536", "80/icmp", "8080:", "90-80", "1-2:1-3", "x:1:2", "+80",
            "1:2:3:4", "80-",
        ] {
            assert!(publish(wrong).is_err(), "{wrong}");
        }
    }
}
