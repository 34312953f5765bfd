//! Warnings as a client gets them (the recorder of `apiserver/pkg/endpoints/filters/warning.go`): each text once; when all of
//! them together are too long, each is cut, and what has no room then is not told.

use std::collections::BTreeSet;

use crate::defaults::{MOST, MOST_OF_ONE};

/// The values of the `Warning` headers that tell these texts.
pub fn warning_headers(warnings: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let distinct = warnings
        .iter()
        .filter(|text| !text.is_empty() && seen.insert(text.as_str()));
    let distinct: Vec<&str> = distinct
        .map(|text| text.as_str())
        .filter(|text| is_plain(text))
        .collect();
    let characters = distinct.iter().map(|text| text.chars().count()).sum::<usize>();
    if characters <= MOST {
        return distinct.into_iter().map(header).collect();
    }
    let (mut whole, mut written) = (0, 0);
    let cut = distinct.iter().map(|text| {
        let end = text.char_indices().nth(MOST_OF_ONE).map_or(text.len(), |(end, _)| end);
        let cut = &text[..end];
        (cut, cut.chars().count())
    });
    // Those up to the first that had no room are told again, cut; those after it while there is room.
    let told = cut.zip(&distinct).take_while(|(cut, text)| {
        let again = whole <= MOST;
        whole += text.chars().count();
        let room = again || written < MOST;
        written += cut.1;
        room
    });
    told.map(|((cut, _), _)| header(cut)).collect()
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
