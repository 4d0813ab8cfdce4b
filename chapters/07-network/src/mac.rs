//! Link layer addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that belongs to an IPv4 address, as Docker made them for long: whoever gets that
    /// address next is found at once, whatever its neighbours remember.
    pub fn of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([0x02, 0x42, a, b, c, d])
    }

    /// Any address that no manufacturer has given.
    pub fn random() -> Mac {
        let mut bytes = [0; 6];
        crate::id::random(&mut bytes);
        bytes[..2].copy_from_slice(&[0x02, 0x42]);
        Mac(bytes)
    }

    /// The address that IPv6 makes of it for the link alone (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0.map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, (a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

impl Mac {
    /// The same with the length of the prefix that such addresses have.
    pub(crate) fn link_local_net(self) -> IpNet {
        Ipv6Net::new_assert(self.link_local(), 64).into()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mac> {
        let wrong = |why: &str| Error::invalid(format!("MAC address `{text}`"), why);
        let parts: Vec<_> = text.split([':', '-']).collect();
        let bytes: Option<Vec<u8>> = parts
            .iter()
            .map(|part| (part.len() == 2).then(|| u8::from_str_radix(part, 16).ok()).flatten())
            .collect();
        let bytes = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
        match bytes.ok_or_else(|| wrong("write six bytes like 02:42:ac:11:00:02"))? {
            [first, ..] if first & 1 != 0 => Err(wrong("is one of a group, not of a device")),
            [0, 0, 0, 0, 0, 0] => Err(wrong("is nobody's")),
            bytes => Ok(Mac(bytes)),
        }
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Mac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_made() {
        let mac: Mac = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac, Mac::of(Ipv4Addr::new(172, 17, 0, 2)));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        for wrong in ["", "02:42", "02:42:ac:11:00:2", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
        assert_eq!(Mac::random().0[..2], [2, 0x42]);
        assert_ne!(Mac::random(), Mac::random());
    }
}
