//! Warnings as a client gets them (the recorder of `apiserver/pkg/endpoints/filters/warning.go`): each text once; when all of
//! them together are too long, each is cut, and what has no room then is not told.

use std::collections::BTreeSet;

use crate::defaults::{MOST, MOST_OF_ONE};

/// The values of the `Warning` headers that tell these texts.
pub(crate) fn warning_headers(warnings: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut distinct: Vec<&str> = Vec::new();
    for text in warnings {
        if !text.is_empty() && is_plain(text) && seen.insert(text.as_str()) {
            distinct.push(text);
        }
    }
    let characters: usize = distinct.iter().map(|text| text.chars().count()).sum();
    if characters <= MOST {
        return distinct.into_iter().map(header).collect();
    }
    // Those up to the first that had no room are told again, cut; those after it while there is room.
    let (mut told, mut whole, mut written) = (Vec::new(), 0, 0);
    for text in distinct {
        if whole > MOST && written >= MOST {
            break;
        }
        let cut = beginning(text);
        whole += text.chars().count();
        written += cut.chars().count();
        told.push(header(cut));
    }
    told
}

/// What is told of a text that is cut.
fn beginning(text: &str) -> &str {
    let end = text.char_indices().nth(MOST_OF_ONE).map(|(end, _)| end);
    &text[..end.unwrap_or(text.len())]
}

/// `net.NewWarningHeader` refuses others.
fn is_plain(text: &str) -> bool {
    !text.contains(char::is_control)
}

/// RFC 7234: no code of a server's own, nobody's name, and the text in quotes.
fn header(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("299 - \"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_told_once_and_has_an_end() {
        let told = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            warning_headers(&texts)
        };
        assert_eq!(
            told(&["a \"b\"", "", "\u{e9}\\", "a \"b\"", "bell\u{7}"]),
            ["299 - \"a \\\"b\\\"\"", "299 - \"\u{e9}\\\\\""]
        );
        // What fits is not cut.
        let long = "\u{e9}".repeat(MOST);
        assert_eq!(told(&[&long]), [format!("299 - \"{long}\"")]);
        // All are cut when one does not fit, and it is told with them.
        let cut = |n: usize| format!("299 - \"{}\"", "\u{e9}".repeat(n.min(MOST_OF_ONE)));
        assert_eq!(told(&[&long, "a"]), [cut(MOST), "299 - \"a\"".to_owned()]);
        let many: Vec<String> = (1..=40).map(|n| "\u{e9}".repeat(300 + n)).collect();
        let told = warning_headers(&many);
        assert_eq!(told.len(), MOST / MOST_OF_ONE);
        assert!(told.iter().all(|t| *t == cut(300)), "cut");
        // Twenty short ones, then one that has no room.
        let mut short: Vec<String> = (0..5000).map(|n| format!("{n:04}")).collect();
        assert_eq!(warning_headers(&short[..1024]).len(), 1024);
        assert_eq!(warning_headers(&short).len(), 1025);
        short.truncate(1024);
        short.push("\u{e9}".repeat(300));
        assert_eq!(warning_headers(&short).last(), Some(&cut(300)));
    }
}
