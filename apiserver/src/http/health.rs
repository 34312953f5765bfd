//! Whether the server is well: `/healthz`, `/livez`, `/readyz`, and each of their checks at a path of its own
//! (`apiserver/pkg/server/healthz`). What is checked is what this server has.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;

use super::{Answer, Incoming, headers, with_type};

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The checks of a kind, in order; `None`: there is no such kind. They hold for a server that answers: nothing is
/// served before the store is read.
fn checks(kind: &str) -> Option<&'static [&'static str]> {
    match kind {
        "healthz" | "livez" => Some(&["ping", "log", "etcd"]),
        "readyz" => Some(&["ping", "log", "etcd", "etcd-readiness", "informer-sync", "shutdown"]),
        _ => None,
    }
}

/// All paths here.
pub(super) fn paths() -> Vec<String> {
    let of = |kind: &str| {
        let own = checks(kind).unwrap_or_default().iter();
        let mut all: Vec<String> = own.map(|c| format!("/{kind}/{c}")).collect();
        all.push(format!("/{kind}"));
        all
    };
    ["healthz", "livez", "readyz"].into_iter().flat_map(of).collect()
}

/// The answer where a path is one of these, whatever the method.
pub(super) fn serve(r: &Incoming) -> Option<Answer> {
    let path = r.path.strip_prefix('/')?;
    if let Some((kind, check)) = path.split_once('/') {
        let there = checks(kind)?.contains(&check);
        return there.then(|| with_type(200, TEXT, Bytes::from_static(b"ok")));
    }
    let text = match r.query.has("verbose") {
        true => report(path, checks(path)?, &r.query.all("exclude")),
        false => checks(path).map(|_| "ok".to_owned())?,
    };
    Some(answer(&text))
}

fn answer(text: &str) -> Answer {
    let mut a = with_type(200, TEXT, Bytes::from(text.to_owned()));
    headers::no_sniff(&mut a);
    a
}

fn report(kind: &str, checks: &[&str], excluded: &[String]) -> String {
    let mut text = String::new();
    for check in checks {
        let how = match excluded.iter().any(|e| e == check) {
            true => "excluded: ok",
            false => "ok",
        };
        let _ = writeln!(text, "[+]{check} {how}");
    }
    let unknown: BTreeSet<&String> = excluded.iter().filter(|e| !checks.contains(&e.as_str())).collect();
    if !unknown.is_empty() {
        let all: Vec<String> = unknown.iter().map(|e| crate::schema::quote(e)).collect();
        let _ = writeln!(
            text,
            "warn: some health checks cannot be excluded: no matches for {}",
            all.join(",")
        );
    }
    let _ = writeln!(text, "{kind} check passed");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_tell_what_was_left_out() {
        let text = report("livez", &["ping", "etcd"], &["etcd".to_owned(), "nope".to_owned()]);
        assert_eq!(
            text,
            "[+]ping ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \
             \"nope\"\nlivez check passed\n"
        );
    }
}
