//! Addresses and networks as Go reads them (`net/netip`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::go::quote;

/// An address and its zone.
///
/// # Errors
/// Go's, of what is none.
pub fn parse(text: &str) -> Result<(IpAddr, &str), String> {
    let wrong = |(what, at): Wrong<'_>| {
        let at = if at.is_empty() {
            String::new()
        } else {
            format!(" (at {})", quote(at))
        };
        format!("ParseAddr({}): {what}{at}", quote(text))
    };
    match text.bytes().find(|b| b".:%".contains(b)) {
        Some(b'.') => parse_v4(text).map(|o| (Ipv4Addr::from(o).into(), "")).map_err(wrong),
        Some(b':') => parse_v6(text).map_err(wrong),
        Some(_) => Err(wrong(("missing IPv6 address", ""))),
        None => Err(wrong(("unable to parse IP", ""))),
    }
}

/// What is wrong, and the part of the text from which on it is.
type Wrong<'t> = (&'static str, &'t str);

fn parse_v4(text: &str) -> Result<[u8; 4], Wrong<'_>> {
    let (mut fields, mut field, mut value, mut digits) = ([0_u8; 4], 0, 0_u32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                if digits == 1 && value == 0 {
                    return Err(("IPv4 field has octet with leading zero", ""));
                }
                value = value * 10 + c.to_digit(10).unwrap_or_default();
                digits += 1;
                if value > 255 {
                    return Err(("IPv4 field has value >255", ""));
                }
            }
            '.' if digits == 0 || i + 1 == text.len() => {
                return Err(("IPv4 field must have at least one digit", &text[i..]));
            }
            '.' if field == 3 => return Err(("IPv4 address too long", "")),
            '.' => {
                fields[field] = value as u8;
                (field, value, digits) = (field + 1, 0, 0);
            }
            _ => return Err(("unexpected character", &text[i..])),
        }
    }
    if field < 3 {
        return Err(("IPv4 address too short", ""));
    }
    fields[3] = value as u8;
    Ok(fields)
}

fn parse_v6(text: &str) -> Result<(IpAddr, &str), Wrong<'_>> {
    let (mut s, zone) = match text.split_once('%') {
        Some((_, "")) => return Err(("zone must be a non-empty string", "")),
        Some((s, zone)) => (s, zone),
        None => (text, ""),
    };
    let (mut octets, mut ellipsis, mut i) = ([0_u8; 16], None, 0);
    if let Some(rest) = s.strip_prefix("::") {
        (ellipsis, s) = (Some(0), rest);
        if s.is_empty() {
            return Ok((Ipv6Addr::UNSPECIFIED.into(), zone));
        }
    }
    while i < 16 {
        let end = s.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(s.len());
        if end > 4 {
            return Err(("each group must have 4 or less digits", s));
        }
        let Ok(value) = u16::from_str_radix(&s[..end], 16) else {
            return Err(("each colon-separated field must have at least one digit", s));
        };
        let rest = &s[end..];
        if rest.starts_with('.') {
            if ellipsis.is_none() && i != 12 {
                let what = "embedded IPv4 address must replace the final 2 fields of the address";
                return Err((what, s));
            }
            if i + 4 > 16 {
                let what = "too many hex fields to fit an embedded IPv4 at the end of the address";
                return Err((what, s));
            }
            octets[i..i + 4].copy_from_slice(&parse_v4(s)?);
            (s, i) = ("", i + 4);
            break;
        }
        octets[i..i + 2].copy_from_slice(&value.to_be_bytes());
        (s, i) = (rest, i + 2);
        if s.is_empty() {
            break;
        }
        match s.strip_prefix(':') {
            None => return Err(("unexpected character, want colon", s)),
            Some("") => return Err(("colon must be followed by more characters", s)),
            Some(rest) => s = rest,
        }
        if let Some(rest) = s.strip_prefix(':') {
            if ellipsis.is_some() {
                return Err(("multiple :: in address", s));
            }
            (ellipsis, s) = (Some(i), rest);
            if s.is_empty() {
                break;
            }
        }
    }
    if !s.is_empty() {
        return Err(("trailing garbage after address", s));
    }
    match ellipsis {
        None if i < 16 => return Err(("address string too short", "")),
        Some(_) if i == 16 => return Err(("the :: must expand to at least one field of zeros", "")),
        Some(at) => {
            octets.copy_within(at..i, at + 16 - i);
            octets[at..at + 16 - i].fill(0);
        }
        None => {}
    }
    Ok((Ipv6Addr::from(octets).into(), zone))
}

/// An address of expressions, which has no zone and is none of version 4 written as one of version 6
/// (`k8s.io/apiserver/pkg/cel/library/ip.go`).
pub(super) fn plain(text: &str) -> Result<IpAddr, String> {
    let shown = quote(text);
    match parse(text) {
        Err(why) => Err(format!(
            "IP Address {shown} parse error during conversion from string: {why}"
        )),
        Ok((_, zone)) if !zone.is_empty() => Err(format!("IP address {shown} with zone value is not allowed")),
        Ok((a, _)) if is_mapped(a) => Err(format!("IPv4-mapped IPv6 address {shown} is not allowed")),
        Ok((a, _)) => Ok(a),
    }
}

/// An address as Go writes it.
pub(super) fn text(a: IpAddr) -> String {
    match a {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => format!("::ffff:{v4}"),
            // Go has no short form with a version 4 at its end.
            None if v6.segments()[..6] == [0; 6] && v6.segments()[6] != 0 => {
                let s = v6.segments();
                format!("::{:x}:{:x}", s[6], s[7])
            }
            None => v6.to_string(),
        },
        IpAddr::V4(_) => a.to_string(),
    }
}

fn is_mapped(a: IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.to_ipv4_mapped().is_some())
}

/// `address/bits`.
///
/// # Errors
/// Go's, of what is no network.
pub fn prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = |why: &str| format!("netip.ParsePrefix({}): {why}", quote(text));
    let Some((address, bits)) = text.rsplit_once('/') else {
        return Err(wrong("no '/'"));
    };
    let (a, zone) = parse(address).map_err(|why| wrong(&why))?;
    if !zone.is_empty() {
        return Err(wrong("IPv6 zones cannot be present in a prefix"));
    }
    let number = bits.bytes().all(|b| b.is_ascii_digit()) && !bits.is_empty();
    let number = number && (bits.len() == 1 || !bits.starts_with('0')) && bits.parse::<i64>().is_ok();
    if !number {
        return Err(wrong(&format!("bad bits after slash: {}", quote(bits))));
    }
    let most = if a.is_ipv4() { 32 } else { 128 };
    let fit = bits.parse::<u8>().ok().filter(|bits| *bits <= most);
    fit.map(|bits| (a, bits))
        .ok_or_else(|| wrong("prefix length out of range"))
}

/// A network of expressions (`k8s.io/apiserver/pkg/cel/library/cidr.go`).
pub(super) fn network(text: &str) -> Result<(IpAddr, u8), String> {
    match prefix(text) {
        Err(why) => Err(format!(
            "network address parse error during conversion from string: {why}"
        )),
        Ok((a, _)) if is_mapped(a) => Err(format!("IPv4-mapped IPv6 address {} is not allowed", quote(text))),
        fine => fine,
    }
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

#[cfg(test)]
mod tests {
    use super::{parse, prefix, text};

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (of, wanted) in [
            ("10.0.0.1", Ok("10.0.0.1")),
            ("::ffff:1.2.3.4", Ok("::ffff:1.2.3.4")),
            ("::1.2.3.4", Ok("::102:304")),
            ("FE80::1%e", Ok("fe80::1")),
            ("1:2:3:4:5:6:7::", Ok("1:2:3:4:5:6:7:0")),
            ("x", Err("ParseAddr(\"x\"): unable to parse IP")),
            ("1.2.3", Err("ParseAddr(\"1.2.3\"): IPv4 address too short")),
            (
                "1..2",
                Err("ParseAddr(\"1..2\"): IPv4 field must have at least one digit (at \".2\")"),
            ),
            (
                "01.2.3.4",
                Err("ParseAddr(\"01.2.3.4\"): IPv4 field has octet with leading zero"),
            ),
            (
                "1.2.3.4x",
                Err("ParseAddr(\"1.2.3.4x\"): unexpected character (at \"x\")"),
            ),
            ("::1::", Err("ParseAddr(\"::1::\"): multiple :: in address (at \":\")")),
            ("1:2", Err("ParseAddr(\"1:2\"): address string too short")),
            (
                "12345::",
                Err("ParseAddr(\"12345::\"): each group must have 4 or less digits (at \"12345::\")"),
            ),
            (
                "1:2:3:4:5:6:7:8:9",
                Err("ParseAddr(\"1:2:3:4:5:6:7:8:9\"): trailing garbage after address (at \"9\")"),
            ),
            ("%e", Err("ParseAddr(\"%e\"): missing IPv6 address")),
        ] {
            let found = parse(of).map(|(a, _)| text(a));
            assert_eq!(found.as_deref().map_err(String::as_str), wanted, "{of}");
        }
        for (of, wanted) in [
            ("10.0.0.0/8", Ok(8)),
            ("x", Err("no '/'")),
            ("::/129", Err("prefix length out of range")),
            ("::/08", Err("bad bits after slash: \"08\"")),
            ("::1%e/8", Err("IPv6 zones cannot be present in a prefix")),
        ] {
            let wanted = wanted.map_err(|why| format!("netip.ParsePrefix(\"{of}\"): {why}"));
            assert_eq!(prefix(of).map(|(_, bits)| bits), wanted, "{of}");
        }
    }
}
