//! Addresses, networks and URLs, which are kept as their text.

use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) fn is_url(s: &str) -> bool {
    match s.split_once("://") {
        Some((scheme, rest)) => {
            !scheme.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && !rest.contains(' ')
        }
        None => s.starts_with('/'),
    }
}

pub(super) fn part_of_url(what: &str, s: &str) -> String {
    let (scheme, rest) = s.split_once("://").unwrap_or(("", s));
    let (host, path) = match rest.find('/') {
        Some(i) if !scheme.is_empty() => rest.split_at(i),
        _ if scheme.is_empty() => ("", rest),
        _ => (rest, ""),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (hostname, port) = match host.rfind(':') {
        Some(i) if !host.ends_with(']') => (&host[..i], &host[i + 1..]),
        _ => (host, ""),
    };
    match what {
        "getScheme" => scheme,
        "getHost" => host,
        "getHostname" => hostname.trim_matches(['[', ']']),
        "getPort" => port,
        _ => path,
    }
    .to_owned()
}

/// The parameters of an URL: what cannot be read is left out, as Go does.
pub(super) fn query(s: &str) -> BTreeMap<String, Vec<String>> {
    let whole = s.split('#').next().unwrap_or_default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let pairs = whole.split_once('?').map_or("", |(_, query)| query).split('&');
    for pair in pairs.filter(|p| !p.is_empty() && !p.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (plain(key), plain(value)) {
            all.entry(key).or_default().push(value);
        }
    }
    all
}

/// A part of a query without its escapes.
fn plain(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        out.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(more.get(..2)?).ok()?;
                rest = &more[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            other => *other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// What an address is, as Go's `net/netip` decides it (`IsGlobalUnicast` and its like).
pub(super) fn is_of(what: &str, a: IpAddr) -> bool {
    let link_local = |multicast: bool| match a {
        IpAddr::V4(a) if multicast => a.octets()[..3] == [224, 0, 0],
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) if multicast => a.segments()[0] & 0xff0f == 0xff02,
        IpAddr::V6(a) => a.is_unicast_link_local(),
    };
    match what {
        "isUnspecified" => a.is_unspecified(),
        "isLoopback" => a.is_loopback(),
        "isLinkLocalMulticast" => link_local(true),
        "isLinkLocalUnicast" => link_local(false),
        _ => {
            let broadcast = matches!(a, IpAddr::V4(a) if a.is_broadcast());
            !(a.is_unspecified() || a.is_loopback() || a.is_multicast() || link_local(false) || broadcast)
        }
    }
}

/// An address without the bits of its host.
pub(super) fn masked(a: IpAddr, bits: u8) -> IpAddr {
    match a {
        IpAddr::V4(a) => (u32::from(a) & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0))
            .to_be_bytes()
            .into(),
        IpAddr::V6(a) => (u128::from(a) & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0))
            .to_be_bytes()
            .into(),
    }
}

/// `address/bits`.
pub(super) fn network(s: &str) -> Option<(IpAddr, u8)> {
    let (a, bits) = s.split_once('/')?;
    let (a, bits): (IpAddr, u8) = (a.parse().ok()?, bits.parse().ok()?);
    (bits <= if a.is_ipv4() { 32 } else { 128 }).then_some((a, bits))
}

pub(super) fn within(net: IpAddr, bits: u8, a: IpAddr) -> bool {
    let wide = |a: IpAddr| match a {
        IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, true),
        IpAddr::V6(a) => (u128::from(a), false),
    };
    let ((n, four), (a, also)) = (wide(net), wide(a));
    let mask = if bits == 0 {
        0
    } else {
        u128::MAX << (128 - u32::from(bits))
    };
    four == also && n & mask == a & mask
}
