//! Links of a page that is handed on (`apimachinery/pkg/util/proxy.Transport`): those to the root lead through the proxy.

/// Attributes that hold a link, by tag.
const LINKS: [(&str, &[&str]); 20] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
];
/// The rest of them.
const MORE: [(&str, &[&str]); 6] = [
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
    ("track", &["src"]),
];

fn is_link(tag: &str, attribute: &str) -> bool {
    let same = |(t, all): &&(&str, &[&str])| {
        t.eq_ignore_ascii_case(tag) && all.iter().any(|a| a.eq_ignore_ascii_case(attribute))
    };
    LINKS.iter().find(same).or_else(|| MORE.iter().find(same)).is_some()
}

/// A link as it is below `before`; `authority` is the host and port that answered.
pub(super) fn rewritten(url: &str, before: &str, authority: &str) -> String {
    let ends = |text: &str| text.find(['/', '?', '#']).unwrap_or(text.len());
    // Behind a scheme, if there is one: what is in a query is no part of it.
    let behind = match ends(url) {
        i if url[..i].ends_with(':') => &url[i..],
        _ => url,
    };
    let (host, rest) = match behind.strip_prefix("//") {
        Some(there) => there.split_at(ends(there)),
        None => ("", url),
    };
    let elsewhere = !host.is_empty() && host != authority;
    let relative = !rest.starts_with('/');
    let below = rest.strip_prefix(before);
    if elsewhere || relative || below.is_some_and(|r| r.is_empty() || r.starts_with('/')) {
        return url.to_owned();
    }
    format!("{before}{rest}")
}

/// A page with its links rewritten; all else stays as it is.
pub(super) fn page(text: &str, before: &str, authority: &str) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let (plain, from) = rest.split_at(start);
        out.push_str(plain);
        if from.starts_with("<!--") {
            let end = from.find("-->").map_or(from.len(), |e| e + 3);
            out.push_str(&from[..end]);
            rest = &from[end..];
            continue;
        }
        let end = end_of_tag(from);
        tag(&from[..end], before, authority, &mut out);
        rest = &from[end..];
    }
    out.push_str(rest);
    out
}

/// Behind the `>` that ends a tag, which is none within quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return i + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn tag(text: &str, before: &str, authority: &str, out: &mut String) {
    let name = |c: char| c.is_ascii_alphanumeric();
    let end = text[1..].find(|c| !name(c)).map_or(text.len(), |e| e + 1);
    let of = &text[1..end];
    out.push_str(&text[..end]);
    let mut rest = &text[end..];
    while let Some(at) = rest.find('=') {
        let key = rest[..at]
            .trim_end()
            .rsplit(|c: char| c.is_whitespace())
            .next()
            .unwrap_or_default();
        let after = &rest[at + 1..];
        let value_at = after.len() - after.trim_start().len();
        let value = &after[value_at..];
        let (open, close) = match value.chars().next() {
            Some(q @ ('"' | '\'')) => (1, value[1..].find(q).map_or(value.len(), |e| e + 1)),
            _ => (
                0,
                value
                    .find(|c: char| c.is_whitespace() || c == '>')
                    .unwrap_or(value.len()),
            ),
        };
        out.push_str(&rest[..=at]);
        out.push_str(&after[..value_at + open]);
        let link = &value[open..close];
        match is_link(of, key) {
            true => out.push_str(&rewritten(link, before, authority)),
            false => out.push_str(link),
        }
        rest = &value[close..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_root_lead_through_the_proxy() {
        for (from, to) in [
            ("/x", "/p/x"),
            ("/x/?a=b", "/p/x/?a=b"),
            ("x", "x"),
            ("#x", "#x"),
            ("/p/x", "/p/x"),
            ("http://other/x", "http://other/x"),
            ("http://10.0.0.1:80/x", "/p/x"),
            ("//10.0.0.1:80/x", "/p/x"),
            ("mailto:a@b", "mailto:a@b"),
            ("/login?next=http://other/x", "/p/login?next=http://other/x"),
            ("/pages", "/p/pages"),
        ] {
            assert_eq!(rewritten(from, "/p", "10.0.0.1:80"), to, "{from}");
        }
    }

    #[test]
    fn pages_are_the_same_but_for_their_links() {
        for (from, to) in [
            ("<a href=\"/rewriteme\">test</a>", "<a href=\"/p/rewriteme\">test</a>"),
            ("<A class='x' HREF = '/b' >", "<A class='x' HREF = '/p/b' >"),
            ("<img alt=\"a > b\" src=/c>", "<img alt=\"a > b\" src=/p/c>"),
            ("<p title=\"/a\">1 < 2</p>", "<p title=\"/a\">1 < 2</p>"),
            ("<!-- <a href=\"/x\"> -->", "<!-- <a href=\"/x\"> -->"),
            ("<a href=\"/x", "<a href=\"/p/x"),
            ("é<a href=\"/é\">", "é<a href=\"/p/é\">"),
        ] {
            assert_eq!(page(from, "/p", "h:1"), to, "{from}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_no_panic(text in "[<>a='\" /é-]{0,40}") {
            let _ = page(&text, "/p", "h");
        }
    }
}
