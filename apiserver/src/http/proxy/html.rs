//! Links of a page that is handed on (`apimachinery/pkg/util/proxy.Transport`): those to the root lead through the proxy.
//! Upstream reads the page with a tokenizer (`golang.org/x/net/html`, after the HTML standard) and writes its start tags
//! anew, and so does this: what is in scripts, styles and comments is not looked at.

use std::borrow::Cow;
use std::fmt::Write;

use super::url::Url;

/// Attributes that hold a link, by tag (`atomsToAttrs`).
const LINKS: [(&str, &[&str]); 25] = [
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
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// Tags whose content is text up to their end.
const RAW: [&str; 10] = [
    "iframe",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "script",
    "style",
    "textarea",
    "title",
    "xmp",
];

fn is_link(tag: &str, attribute: &str) -> bool {
    let found = LINKS.iter().find(|(t, _)| *t == tag);
    found.is_some_and(|(_, all)| all.contains(&attribute))
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\n' | b'\r' | b'\t' | 0x0c)
}

/// A page with its links rewritten by `f`.
pub(super) fn page(text: &str, f: &dyn Fn(&Url) -> String) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(start) = bytes[at..].iter().position(|b| *b == b'<').map(|i| at + i) {
        out.push_str(&text[at..start]);
        let after = bytes.get(start + 1).copied().unwrap_or_default();
        if after.is_ascii_alphabetic() {
            // A tag that never ends is nothing.
            let Some(tag) = Tag::read(text, start + 1) else {
                return out;
            };
            tag.write(&mut out, f);
            at = tag.end;
            if RAW.contains(&tag.name.as_str()) {
                let end = end_of_raw(text, at, &tag.name);
                out.push_str(&text[at..end]);
                at = end;
            }
            continue;
        }
        let end = match after {
            b'!' | b'?' | b'/' => match end_of_markup(text, start) {
                Some(end) => end,
                None => return out,
            },
            _ => start + 1,
        };
        out.push_str(&text[start..end]);
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// The end of an end tag, a comment or a declaration; `None`: an end tag that never ends is nothing.
fn end_of_markup(text: &str, start: usize) -> Option<usize> {
    let from = &text[start..];
    // These are comments that have ended.
    for short in ["<!-->", "<!--->"] {
        if from.starts_with(short) {
            return Some(start + short.len());
        }
    }
    let end = match from.strip_prefix("<!--") {
        Some(rest) => {
            let mut dashes = rest.match_indices("--").map(|(i, _)| i);
            // Three dashes are two twice.
            let dashes = dashes.by_ref().flat_map(|i| [i, i + 1]);
            let ends = |i: usize| {
                ["-->", "--!>"]
                    .iter()
                    .find(|e| rest[i..].starts_with(**e))
                    .map(|e| i + e.len())
            };
            dashes
                .filter(|i| rest.is_char_boundary(*i))
                .find_map(ends)
                .map(|i| i + 4)
        }
        // An end tag may have attributes, with what they like within quotes.
        None if from.as_bytes().get(2).is_some_and(u8::is_ascii_alphabetic) && from.starts_with("</") => {
            return Tag::read(text, start + 2).map(|t| t.end);
        }
        None => from.find('>').map(|i| i + 1),
    };
    Some(end.map_or(text.len(), |e| start + e))
}

/// Where the content of a tag that is text ends.
fn end_of_raw(text: &str, from: usize, name: &str) -> usize {
    let bytes = text.as_bytes();
    let is = |i: usize, word: &str| {
        let there = bytes.get(i..i + word.len());
        let next = bytes.get(i + word.len()).copied();
        there.is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()))
            && next.is_some_and(|b| is_space(b) || matches!(b, b'/' | b'>'))
    };
    if name == "plaintext" {
        return text.len();
    }
    // In a script, what is in a comment may be a script of its own.
    let (mut escaped, mut inner, mut i) = (false, false, from);
    while i < bytes.len() {
        let rest = &bytes[i..];
        if name == "script" && rest.starts_with(b"<!--") {
            escaped = true;
            // `<!-->` ends at once.
            i += 2;
        } else if escaped && rest.starts_with(b"-->") {
            (escaped, inner) = (false, false);
            i += 3;
        } else if rest.starts_with(b"</") && is(i + 2, name) {
            if !inner {
                return i;
            }
            inner = false;
            i += 2;
        } else if escaped && rest[0] == b'<' && is(i + 1, name) {
            inner = true;
            i += 1;
        } else {
            i += 1;
        }
    }
    text.len()
}

/// A start tag.
struct Tag {
    name: String,
    /// Names in lower case, values with their references to characters.
    attributes: Vec<(String, String)>,
    closes_itself: bool,
    end: usize,
}

impl Tag {
    /// The tag whose name is at `start`; `None` when the text ends before it does.
    fn read(text: &str, start: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let until = |from: usize, stops: &dyn Fn(u8) -> bool| {
            let found = bytes.get(from..)?.iter().position(|b| stops(*b));
            found.map(|i| from + i)
        };
        let skip = |from: usize| until(from, &|b| !is_space(b));
        let mut at = until(start, &|b| is_space(b) || matches!(b, b'/' | b'>'))?;
        let name = text[start..at].to_ascii_lowercase();
        let (mut attributes, mut last_value_end) = (Vec::new(), None);
        loop {
            at = skip(at)?;
            if bytes[at] == b'>' {
                break;
            }
            let key_at = at;
            // An equals sign that a name begins with is part of it.
            let first = usize::from(bytes[at] == b'=');
            at = until(at + first, &|b| is_space(b) || matches!(b, b'/' | b'>' | b'='))?;
            let key = &text[key_at..at];
            let (mut value, mut value_end) = ("", at);
            at = skip(at)?;
            match bytes[at] {
                b'/' => at += 1,
                b'=' => {
                    at = skip(at + 1)?;
                    match bytes[at] {
                        b'>' => {}
                        quote @ (b'"' | b'\'') => {
                            value_end = until(at + 1, &|b| b == quote)?;
                            value = &text[at + 1..value_end];
                            at = value_end + 1;
                        }
                        _ => {
                            value_end = until(at, &|b| is_space(b) || b == b'>')?;
                            value = &text[at..value_end];
                            at = value_end;
                        }
                    }
                }
                _ => {}
            }
            if !key.is_empty() {
                attributes.push((
                    key.to_ascii_lowercase(),
                    value.replace("\r\n", "\n").replace('\r', "\n"),
                ));
                last_value_end = Some(value_end);
            }
        }
        let closes_itself = bytes[at - 1] == b'/' && last_value_end != Some(at);
        Some(Self {
            name,
            attributes,
            closes_itself,
            end: at + 1,
        })
    }

    fn write(&self, out: &mut String, f: &dyn Fn(&Url) -> String) {
        out.push('<');
        out.push_str(&self.name);
        for (key, value) in &self.attributes {
            let mut value = unescaped(value);
            if is_link(&self.name, key)
                && let Some(url) = Url::parse(&value)
            {
                value = Cow::Owned(f(&url));
            }
            // Writing to a string does not fail.
            let _ = write!(out, " {key}=\"{}\"", escaped(&value));
        }
        out.push_str(if self.closes_itself { "/>" } else { ">" });
    }
}

/// References to characters by number, and to those five that are written so, become these characters. Any other is
/// left as it is, which reads the same.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find('&') {
        out.push_str(&rest[..i]);
        let from = &rest[i + 1..];
        let end = from
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '#')
            .unwrap_or(from.len());
        let after = from[end..].strip_prefix(';');
        let reference = after.and_then(|after| Some((character(&from[..end])?, after)));
        rest = match reference {
            Some((c, after)) => {
                out.push(c);
                after
            }
            None => {
                out.push('&');
                from
            }
        };
    }
    out.push_str(rest);
    out.into()
}

fn character(reference: &str) -> Option<char> {
    Some(match reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        other => {
            let number = other.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')?
        }
    })
}

/// As Go's `html.EscapeString`; a reference that was left as it is stays one.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.char_indices() {
        match c {
            '&' if is_reference(&text[i + 1..]) => out.push('&'),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
    out
}

/// Whether a name of a character follows: a word that is none of the five, and its semicolon.
fn is_reference(rest: &str) -> bool {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric());
    let word = end
        .filter(|e| *e > 0 && rest[*e..].starts_with(';'))
        .map(|e| &rest[..e]);
    word.is_some_and(|w| character(w).is_none() && w.starts_with(|c: char| c.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(from: &str) -> String {
        page(from, &|u| u.through("/p", &["h:1"]))
    }

    #[test]
    fn start_tags_are_written_anew_and_nothing_else() {
        for (from, to) in [
            ("<a href=\"/rewriteme\">test</a>", "<a href=\"/p/rewriteme\">test</a>"),
            ("<A class='x' HREF = '/b' >", "<a class=\"x\" href=\"/p/b\">"),
            ("<img alt=\"a > b\" src=/c>", "<img alt=\"a &gt; b\" src=\"/p/c\">"),
            ("<p title=\"/a\">1 < 2</p>", "<p title=\"/a\">1 < 2</p>"),
            ("<!-- <a href=\"/x\"> -->", "<!-- <a href=\"/x\"> -->"),
            ("<!--><a href=/x>", "<!--><a href=\"/p/x\">"),
            ("<!DOCTYPE html><br/>", "<!DOCTYPE html><br/>"),
            ("<link rel=x href=/y/>", "<link rel=\"x\" href=\"/p/y/\">"),
            ("<link href=/y />", "<link href=\"/p/y\"/>"),
            ("<a href='/x?a=1&amp;b=2'>", "<a href=\"/p/x?a=1&amp;b=2\">"),
            ("<a title=\"&eacute; &#233; &lt;\">", "<a title=\"&eacute; é &lt;\">"),
            ("<a href=\"http://[::1\">", "<a href=\"http://[::1\">"),
            ("x<a href=\"/x", "x"),
            ("x</a href=\"/x", "x"),
            ("a </ x> <? y>", "a </ x> <? y>"),
            ("</a title=\">\"><b>", "</a title=\">\"><b>"),
            ("é<a href=\"/é\">", "é<a href=\"/p/%C3%A9\">"),
        ] {
            assert_eq!(rewritten(from), to, "{from}");
        }
    }

    #[test]
    fn scripts_and_styles_are_text() {
        for text in [
            "<script>var x = '<a href=\"/x\">';</script>",
            "<style>a { background: url(/x) } <a href=/x></style>",
            "<title><a href=/x></title>",
            "<textarea><a href=/x></TextArea >",
            "<script><!-- <script> <a href=/x></script> <a href=/y> --></script>",
            "<plaintext><a href=/x></plaintext><a href=/x>",
            "<style><a href=/x>",
        ] {
            assert_eq!(rewritten(text), text);
        }
        let after = rewritten("<script src=/s></script ><a href=/x>");
        assert_eq!(after, "<script src=\"/p/s\"></script ><a href=\"/p/x\">");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_no_panic(text in "[<>a='\"/!&;# é-]{0,40}") {
            let _ = rewritten(&text);
        }

        #[test]
        fn text_without_tags_stays(text in "[<>='\"/!& é-]{0,40}") {
            proptest::prop_assert_eq!(rewritten(&text), text);
        }
    }
}
