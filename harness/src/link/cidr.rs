//! A range of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of IPv4 addresses: `10.7.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Not a range of IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of IPv4 addresses such as 10.7.2.0/24")]
pub struct NotCidr(String);

impl Cidr {
    /// The range of `prefix` leading bits that holds `address`; a prefix above 32 counts as 32.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Self {
            address: Ipv4Addr::from_bits(address.to_bits() & mask),
            prefix,
        }
    }

    /// Its first address.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// How many leading bits its addresses share.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NotCidr;

    /// A single address is a range of one.
    fn from_str(s: &str) -> Result<Self, NotCidr> {
        let (address, prefix) = s.split_once('/').unwrap_or((s, "32"));
        match (address.parse(), prefix.parse::<u8>()) {
            (Ok(a), Ok(p)) if p <= 32 => Ok(Self::new(a, p)),
            _ => Err(NotCidr(s.to_owned())),
        }
    }
}

impl TryFrom<String> for Cidr {
    type Error = NotCidr;
    fn try_from(s: String) -> Result<Self, NotCidr> {
        s.parse()
    }
}

impl From<Cidr> for String {
    fn from(c: Cidr) -> Self {
        c.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_and_write() {
        for (text, want) in [
            ("10.7.2.9/24", Some("10.7.2.0/24")),
            ("10.7.2.9", Some("10.7.2.9/32")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.7.2.9/33", None),
            ("10.7.2/24", None),
            ("fd00::1/64", None),
            ("", None),
        ] {
            let seen = text.parse::<Cidr>().ok().map(|c| c.to_string());
            assert_eq!(seen.as_deref(), want, "{text}");
        }
    }
}
