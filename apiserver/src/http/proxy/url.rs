//! URLs of links, as Go's `net/url` reads and writes them, and where they lead through the proxy.

use std::borrow::Cow;

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// In lower case; empty where there is none.
    scheme: String,
    /// Behind a scheme without slashes: all there is.
    opaque: Option<String>,
    /// With user and port; empty where there is none.
    authority: String,
    /// As it was sent.
    raw_path: String,
    /// Without its escapes.
    path: Vec<u8>,
    /// With the question mark.
    query: String,
    /// With the number sign.
    fragment: String,
}

/// What is escaped; `None`: an escape is wrong.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [b, tail @ ..] = rest {
        rest = tail;
        if *b != b'%' {
            out.push(*b);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        out.push(
            u8::from_str_radix(digits, 16)
                .ok()
                .filter(|_| !digits.starts_with('+'))?,
        );
        rest = &tail[2..];
    }
    Some(out)
}

/// As Go escapes a path.
fn escape(path: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@".contains(&b);
    path.iter().fold(String::with_capacity(path.len()), |mut out, b| {
        match plain(*b) {
            true => out.push(char::from(*b)),
            false => out += &format!("%{b:02X}"),
        }
        out
    })
}

/// A path from the root on, escaped.
pub(super) fn rooted(path: &str) -> String {
    format!("/{}", escape(path.trim_start_matches('/').as_bytes()))
}

/// Whether a path may be written as it was sent (`validEncoded`).
fn is_valid(raw: &str) -> bool {
    raw.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&b))
}

/// Without dots and doubled slashes (`path.Join` of two parts).
fn join(prefix: &str, path: &[u8]) -> Vec<u8> {
    let whole = [prefix.as_bytes(), b"/", path].concat();
    let mut parts: Vec<&[u8]> = Vec::new();
    for p in whole.split(|b| *b == b'/') {
        match p {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            p => parts.push(p),
        }
    }
    let mut out = Vec::with_capacity(whole.len());
    for p in parts {
        out.push(b'/');
        out.extend_from_slice(p);
    }
    out
}

impl Url {
    /// `None`: it is none that Go would parse.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|b| b < b' ' || b == 0x7f) {
            return None;
        }
        let (text, fragment) = match text.find('#') {
            Some(i) => text.split_at(i),
            None => (text, ""),
        };
        unescape(fragment)?;
        let (scheme, rest) = match text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))) {
            Some(0) if text.starts_with(':') => return None,
            Some(i) if text[i..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                (text[..i].to_ascii_lowercase(), &text[i + 1..])
            }
            _ => (String::new(), text),
        };
        let (rest, query) = match rest.find('?') {
            Some(i) => rest.split_at(i),
            None => (rest, ""),
        };
        let mut url = Self {
            scheme,
            opaque: None,
            authority: String::new(),
            raw_path: String::new(),
            path: Vec::new(),
            query: query.to_owned(),
            fragment: fragment.to_owned(),
        };
        if !url.scheme.is_empty() && !rest.starts_with('/') {
            url.opaque = Some(rest.to_owned());
            return Some(url);
        }
        // A first part with a colon could be a scheme.
        if url.scheme.is_empty() && rest.split('/').next().is_some_and(|p| p.contains(':')) {
            return None;
        }
        let path = match rest.strip_prefix("//") {
            Some(there) if !url.scheme.is_empty() || !rest.starts_with("///") => {
                let (authority, path) = there.split_at(there.find('/').unwrap_or(there.len()));
                if authority.contains([' ', '<', '>', '"', '^', '`'])
                    || authority.contains('[') != authority.contains(']')
                {
                    return None;
                }
                authority.clone_into(&mut url.authority);
                path
            }
            _ => rest,
        };
        url.path = unescape(path)?;
        path.clone_into(&mut url.raw_path);
        Some(url)
    }

    fn escaped_path(&self) -> Cow<'_, str> {
        let same = unescape(&self.raw_path).is_some_and(|p| p == self.path);
        match same && is_valid(&self.raw_path) {
            true => Cow::Borrowed(&self.raw_path),
            false => Cow::Owned(escape(&self.path)),
        }
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        let mut out = match self.scheme.as_str() {
            "" => String::new(),
            s => format!("{s}:"),
        };
        match &self.opaque {
            Some(o) => out += o,
            None => {
                if !self.authority.is_empty() || self.scheme == "file" {
                    out += &format!("//{}", self.authority);
                }
                out += &self.escaped_path();
            }
        }
        out + &self.query + &self.fragment
    }

    /// As it is below `before` (`rewriteURL`): of the servers that are this one, a path from the root on.
    pub(super) fn through(&self, before: &str, this: &[&str]) -> String {
        let elsewhere = !self.authority.is_empty() && !this.contains(&self.authority.as_str());
        if elsewhere || self.path.first() != Some(&b'/') {
            return self.text();
        }
        let mut url = self.clone();
        (url.scheme, url.authority) = (String::new(), String::new());
        if !self.path.starts_with(before.as_bytes()) {
            url.path = join(before, &self.path);
            if self.path.ends_with(b"/") {
                url.path.push(b'/');
            }
        }
        url.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_root_lead_through_the_proxy() {
        for (from, to) in [
            ("/x", "/p/x"),
            ("/", "/p/"),
            ("/x/?a=b", "/p/x/?a=b"),
            ("/x/../y#z", "/p/y#z"),
            ("x", "x"),
            ("#x", "#x"),
            ("", ""),
            ("/p/x", "/p/x"),
            ("http://other/x", "http://other/x"),
            ("http://10.0.0.1:80/x", "/p/x"),
            ("http://front/x", "/p/x"),
            ("//10.0.0.1:80/x", "/p/x"),
            ("http://10.0.0.1:80", "http://10.0.0.1:80"),
            ("mailto:a@b", "mailto:a@b"),
            ("/login?next=http://other/x", "/p/login?next=http://other/x"),
            ("/a%20b", "/p/a%20b"),
            ("/a%2Fb", "/p/a/b"),
            ("/a(b)", "/p/a%28b%29"),
            ("a(b)", "a(b)"),
            ("HTTP://other/é", "http://other/%C3%A9"),
        ] {
            let url = Url::parse(from).unwrap();
            assert_eq!(url.through("/p", &["10.0.0.1:80", "front"]), to, "{from}");
        }
    }

    #[test]
    fn what_is_no_url() {
        for text in [":x", "/%zz", "x\ny", "http://[::1", "1:2/3", "http://a b/"] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }
}
