//! Query parameters.

use std::borrow::Cow;

/// A query, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|p| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k, true).into_owned(), decode(v, true).into_owned())
        });
        Self(pairs.collect())
    }

    /// The first value of `key` that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, v)| k == key && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }

    /// The first value of `key`, which may be empty.
    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether `key` is given at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// All values of a key, in order.
    pub(super) fn all(&self, key: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(k, _)| k == key);
        found.map(|(_, v)| v.clone()).collect()
    }

    /// Whether `key` is given, and not as `0` or `false`: everything else is true, as in
    /// `Convert_Slice_string_To_bool`.
    pub(super) fn is(&self, key: &str) -> bool {
        let said = self.0.iter().find(|(k, _)| k == key);
        said.is_some_and(|(_, v)| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// The number `key` says.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key)?.parse().ok()
    }
}

/// Whether every percent sign is followed by two digits, as in URLs it has to be.
pub(super) fn is_escaped(path: &str) -> bool {
    let digits = |at: usize| {
        let two = path.as_bytes().get(at + 1..at + 3);
        two.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit))
    };
    path.match_indices('%').all(|(at, _)| digits(at))
}

/// Percent-decoding; `plus`: a plus is a space, as in forms.
pub(crate) fn decode(s: &str, plus: bool) -> Cow<'_, str> {
    let b = s.as_bytes();
    if !b.iter().any(|c| *c == b'%' || *c == b'+') {
        return Cow::Borrowed(s);
    }
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        let hex = || u8::from_str_radix(s.get(i + 1..i + 3)?, 16).ok();
        match b[i] {
            b'%' => match hex() {
                Some(x) => {
                    out.push(x);
                    i += 2;
                }
                None => out.push(b'%'),
            },
            b'+' if plus => out.push(b' '),
            c => out.push(c),
        }
        i += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_need_digits() {
        assert!(is_escaped("/a%2Fb%00") && !is_escaped("/%zz") && !is_escaped("/%2"));
    }

    #[test]
    fn queries_decode() {
        let q = Query::parse("labelSelector=a%3Db%2Cc+in+%28x%29&watch&limit=5&x=100%");
        assert_eq!(q.get("labelSelector"), Some("a=b,c in (x)"));
        assert!(q.is("watch"));
        assert_eq!(
            (q.number::<usize>("limit"), q.get("x"), q.get("none")),
            (Some(5), Some("100%"), None)
        );
    }
}
