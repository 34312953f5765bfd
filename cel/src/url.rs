//! URLs as Go reads them (`net/url`).

use std::collections::BTreeMap;

use super::address;
use super::go::quote;

/// An URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Url {
    pub(crate) scheme: String,
    /// Without who asks, but with the port.
    pub(crate) host: String,
    /// With its escapes.
    path: String,
    query: String,
    /// All of it, as it was written.
    pub(crate) text: String,
}

/// Where a part of an URL stands, for what may be in it as it is.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Host,
    Zone,
    Other,
}

type Result<T> = std::result::Result<T, String>;

impl Url {
    /// As a request for it says it: `url.ParseRequestURI`.
    ///
    /// # Errors
    /// Go's, of what is no such URL.
    pub fn of_request(text: &str) -> Result<Self> {
        Self::parts(text, true).map_err(|why| format!("parse {}: {why}", quote(text)))
    }

    /// As expressions have it, without its fragment: `url.Parse` of what is an URL of requests.
    ///
    /// # Errors
    /// As [`Url::of_request`].
    pub fn of_expression(text: &str) -> Result<Self> {
        Self::of_request(text)?;
        let (own, fragment) = text.split_once('#').unwrap_or((text, ""));
        let parsed = Self::parts(own, false).map_err(|why| format!("parse {}: {why}", quote(own)))?;
        unescaped(fragment, Part::Other).map_err(|why| format!("parse {}: {why}", quote(text)))?;
        Ok(Self {
            text: text.to_owned(),
            ..parsed
        })
    }

    fn parts(text: &str, of_request: bool) -> Result<Self> {
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if text.is_empty() && of_request {
            return Err("empty url".to_owned());
        }
        let whole = text.to_owned();
        if text == "*" {
            let path = whole.clone();
            return Ok(Self {
                path,
                text: whole,
                ..Self::default()
            });
        }
        let (scheme, rest) = scheme(text)?;
        let scheme = scheme.to_lowercase();
        let (mut rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.to_owned();
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Self {
                    scheme,
                    query,
                    text: whole,
                    ..Self::default()
                });
            }
            if of_request {
                return Err("invalid URI for request".to_owned());
            }
            if rest.split('/').next().is_some_and(|first| first.contains(':')) {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let mut host = String::new();
        let may = !scheme.is_empty() || !of_request && !rest.starts_with("///");
        if let Some(behind) = rest.strip_prefix("//").filter(|_| may) {
            let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
            host = of_authority(&scheme, authority)?;
            rest = path;
        }
        unescaped(rest, Part::Other)?;
        let path = rest.to_owned();
        Ok(Self {
            scheme,
            host,
            path,
            query,
            text: whole,
        })
    }

    /// The host without its port and its brackets, and the port.
    pub(crate) fn host_and_port(&self) -> (&str, &str) {
        let (host, port) = match self.host.rfind(':') {
            Some(i) if is_port(&self.host[i..]) => (&self.host[..i], &self.host[i + 1..]),
            _ => (self.host.as_str(), ""),
        };
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        (inner.unwrap_or(host), port)
    }

    /// The path with its escapes, written as it was where it could be.
    pub(crate) fn escaped_path(&self) -> String {
        let as_is = |b: u8| is_plain(b) || b"!$&'()*+,;=:@[]%/".contains(&b);
        if self.path.bytes().all(as_is) {
            return self.path.clone();
        }
        let Ok(plain) = unescaped(&self.path, Part::Other) else {
            return self.path.clone();
        };
        let mut out = String::new();
        for b in plain {
            if is_plain(b) || b"$&+,/:;=@".contains(&b) {
                out.push(char::from(b));
            } else {
                out.push_str(&format!("%{b:02X}"));
            }
        }
        out
    }

    /// The parameters: what cannot be read is left out, as Go does.
    pub(crate) fn parameters(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let pairs = self.query.split('&');
        for pair in pairs.filter(|p| !p.is_empty() && !p.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let plain = |text: &str| {
                let text = unescaped(&text.replace('+', " "), Part::Other).ok()?;
                Some(String::from_utf8_lossy(&text).into_owned())
            };
            if let (Some(key), Some(value)) = (plain(key), plain(value)) {
                all.entry(key).or_default().push(value);
            }
        }
        all
    }
}

/// Letters, digits and what else is never escaped.
fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.~".contains(&b)
}

/// What stands before the first colon, if it can be a scheme, and the rest.
fn scheme(text: &str) -> Result<(&str, &str)> {
    for (i, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..i], &text[i + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text
            .strip_prefix(':')
            .is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
}

/// The host of what stands between the slashes.
fn of_authority(scheme: &str, authority: &str) -> Result<String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let host = of_host(scheme, host)?;
    if let Some(user) = user {
        let may = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
        if !user.chars().all(may) {
            return Err("net/url: invalid userinfo".to_owned());
        }
        unescaped(user, Part::Other)?;
    }
    Ok(host)
}

fn of_host(scheme: &str, host: &str) -> Result<String> {
    let text = |part: &str, of: Part| unescaped(part, of).map(|t| String::from_utf8_lossy(&t).into_owned());
    let port = |port: &str| match is_port(port) {
        true => Ok(()),
        false => Err(format!("invalid port {} after host", quote(port))),
    };
    match host.rfind('[') {
        Some(0) => {}
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {
            // Databases have lists of hosts with ports; those of the web have not.
            let web = matches!(scheme, "http" | "https");
            let colon = if web { host.find(':') } else { host.rfind(':') };
            port(colon.map_or("", |i| &host[i..]))?;
            return text(host, Part::Host);
        }
    }
    let Some(end) = host.rfind(']') else {
        return Err("missing ']' in host".to_owned());
    };
    port(&host[end + 1..])?;
    let name = &host[1..end];
    let name = match name.find("%25") {
        Some(zone) => text(&name[..zone], Part::Host)? + &text(&name[zone..], Part::Zone)?,
        None => text(name, Part::Host)?,
    };
    match address::parse(&name) {
        Err(why) => Err(format!("invalid host: {why}")),
        Ok((address, _)) if address.is_ipv4() => Err("invalid IP-literal".to_owned()),
        Ok(_) => Ok(format!("[{name}]{}", &host[end + 1..])),
    }
}

/// A part without its escapes.
fn unescaped(text: &str, part: Part) -> Result<Vec<u8>> {
    let bytes = text.as_bytes();
    let in_host = |b: u8| is_plain(b) || b"!$&'()*+,;=:[]<>\"".contains(&b);
    let wrong = |text: &[u8]| format!("invalid URL escape {}", quote(&String::from_utf8_lossy(text)));
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(b) = bytes.get(i) {
        if *b != b'%' {
            if part != Part::Other && b.is_ascii() && !in_host(*b) {
                let shown = quote(&char::from(*b).to_string());
                return Err(format!("invalid character {shown} in host name"));
            }
            out.push(*b);
            i += 1;
            continue;
        }
        let shown = &bytes[i..(i + 3).min(bytes.len())];
        let digits = bytes.get(i + 1..i + 3).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
        let Some(value) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) else {
            return Err(wrong(shown));
        };
        let allowed = match part {
            Part::Other => true,
            Part::Host => value >= 0x80 || shown == b"%25",
            Part::Zone => shown == b"%25" || value == b' ' || in_host(value),
        };
        if !allowed {
            return Err(wrong(shown));
        }
        out.push(value);
        i += 3;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn urls_are_read_as_go_reads_them() {
        for (text, wanted) in [
            ("https://u:p@h.example:8/p/q?a=1", Ok(("https", "h.example:8", "/p/q"))),
            ("mailto:x@y", Ok(("mailto", "", ""))),
            ("HTTP://[fe80::1%25e0]:1/", Ok(("http", "[fe80::1%e0]:1", "/"))),
            ("//h/p", Ok(("", "", "//h/p"))),
            ("/a b", Ok(("", "", "/a%20b"))),
            ("", Err("parse \"\": empty url")),
            ("x", Err("parse \"x\": invalid URI for request")),
            (":x", Err("parse \":x\": missing protocol scheme")),
            ("/%zz", Err("parse \"/%zz\": invalid URL escape \"%zz\"")),
            (
                "http://h:x/",
                Err("parse \"http://h:x/\": invalid port \":x\" after host"),
            ),
            (
                "http://a b/",
                Err("parse \"http://a b/\": invalid character \" \" in host name"),
            ),
            ("http://[::1/", Err("parse \"http://[::1/\": missing ']' in host")),
            (
                "http://[1.2.3.4]/",
                Err("parse \"http://[1.2.3.4]/\": invalid IP-literal"),
            ),
            ("/\t", Err("parse \"/\\t\": net/url: invalid control character in URL")),
        ] {
            let found = Url::of_request(text);
            let found = found
                .as_ref()
                .map(|u| (u.scheme.as_str(), u.host.as_str(), u.escaped_path()));
            let wanted = wanted.map(|(s, h, p)| (s, h, p.to_owned()));
            assert_eq!(found.map_err(String::as_str), wanted, "{text}");
        }
    }
}
