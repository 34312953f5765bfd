//! Rules for names, labels and the like, with the words of `k8s.io/apimachinery/pkg/util/validation`. Every function
//! answers what is wrong, or `None`.

use crate::schema::quote;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

fn max_length(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn regex_error(words: &str, format: &str, examples: &[&str]) -> String {
    // Two blanks before the "or", as upstream prints it.
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!(
        "{words} (e.g. {}regex used for validation is '{format}')",
        examples.join(" or ")
    )
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// RFC 1123 label: namespaces, container names.
pub fn dns1123_label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(max_length(63));
    }
    if is_label(text) {
        return None;
    }
    if text.split('.').all(is_label) {
        // A name that is a subdomain but no label is told so.
        return Some("must not contain dots".to_owned());
    }
    let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character";
    Some(regex_error(words, LABEL_FORMAT, &["my-name", "123-abc"]))
}

/// RFC 1123 subdomain: most objects' names.
pub fn dns1123_subdomain(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(max_length(253));
    }
    if text.split('.').all(is_label) {
        return None;
    }
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character";
    Some(regex_error(words, SUBDOMAIN_FORMAT, &["example.com"]))
}

/// RFC 1035 label: services.
pub fn dns1035_label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(max_length(63));
    }
    if is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character";
    Some(regex_error(
        words,
        "[a-z]([-a-z0-9]*[a-z0-9])?",
        &["my-name", "abc-123"],
    ))
}

/// A name that can stand in a path.
pub fn path_segment(text: &str) -> Option<String> {
    match text {
        "." | ".." => Some(format!("may not be '{text}'")),
        _ => ['/', '%']
            .into_iter()
            .find(|c| text.contains(*c))
            .map(|c| format!("may not contain '{c}'")),
    }
}

fn is_key_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Key of a label, an annotation, a taint, ...: a name, or a subdomain, `/` and a name.
pub fn qualified_name(text: &str) -> Option<String> {
    let (prefix, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            let error = regex_error(KEY_WORDS, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
            return Some(format!(
                "a valid label key {error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
        }
    };
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            return Some("prefix part must be non-empty".to_owned());
        }
        if let Some(error) = dns1123_subdomain(prefix) {
            return Some(format!("prefix part {error}"));
        }
    }
    if name.is_empty() {
        return Some("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Some(format!("name part {}", max_length(63)));
    }
    if is_key_part(name) {
        return None;
    }
    Some(format!(
        "name part {}",
        regex_error(KEY_WORDS, KEY_FORMAT, &["MyName", "my.name", "123-abc"])
    ))
}

/// What is said of a key's name that is not one.
pub(super) fn bad_name_part() -> String {
    let error = regex_error(KEY_WORDS, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
    format!("name part {error}")
}

/// Name of an HTTP header.
pub fn http_header(text: &str) -> Option<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return None;
    }
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    Some(regex_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"]))
}

/// A subdomain in which underscores may stand: a domain to search.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Option<String> {
    let part = |part: &str| is_label(&part.replace('_', "a"));
    if text.len() > 253 {
        return Some(max_length(253));
    }
    if text.split('.').all(part) {
        return None;
    }
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', \
                 and must start and end with an alphanumeric character";
    let format = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
    Some(regex_error(words, format, &["example.com"]))
}

/// A subdomain after `*.`.
pub fn wildcard_subdomain(text: &str) -> Option<String> {
    if text
        .strip_prefix("*.")
        .is_some_and(|rest| rest.split('.').all(is_label))
    {
        return None;
    }
    let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                 consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
    Some(regex_error(
        words,
        &format!(r"\*\.{SUBDOMAIN_FORMAT}"),
        &["*.example.com"],
    ))
}

/// Value of a label.
pub fn label_value(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(max_length(63));
    }
    if text.is_empty() || is_key_part(text) {
        return None;
    }
    let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character";
    Some(regex_error(
        words,
        "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
        &["MyValue", "my_value", "12345"],
    ))
}

/// Key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(max_length(253));
    }
    if text.is_empty()
        || !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        return Some(regex_error(
            words,
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// Name of an environment variable (relaxed: anything printable but `=`).
pub fn env_name(text: &str) -> Option<String> {
    if text.is_empty() || !text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
        return Some(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    None
}

/// Name of a port: IANA_SVC_NAME.
pub fn port_name(text: &str) -> Option<String> {
    if text.len() > 15 {
        return Some("must be no more than 15 characters".to_owned());
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        || text.is_empty()
    {
        return Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Some("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        return Some("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Some("must not begin or end with a hyphen".to_owned());
    }
    None
}

/// Names of choices in a message: `"a", "b"`.
pub(super) fn quoted(values: &[&str]) -> String {
    values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kubernetes() {
        assert_eq!(
            dns1123_subdomain("Foo").unwrap(),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
        assert_eq!(
            dns1035_label("1a").unwrap(),
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        );
        assert_eq!(dns1123_label(&"a".repeat(64)).unwrap(), "must be no more than 63 bytes");
    }

    #[test]
    fn good_names_pass() {
        for name in ["a", "a-b", "1", "a.b-c.d"] {
            assert_eq!(dns1123_subdomain(name), None, "{name}");
        }
        for key in ["a", "A_b.c", "example.com/Name", "kubernetes.io/metadata.name"] {
            assert_eq!(qualified_name(key), None, "{key}");
        }
        for (key, wrong) in [
            ("", true),
            ("/a", true),
            ("a/", true),
            ("a/b/c", true),
            ("-a", true),
            ("Ex.com/a", true),
        ] {
            assert_eq!(qualified_name(key).is_some(), wrong, "{key}");
        }
        assert_eq!(label_value(""), None);
        assert!(label_value("-").is_some());
        assert_eq!(config_map_key(".dockerconfigjson"), None);
        assert_eq!(port_name("http"), None);
        assert!(port_name("80").is_some());
    }
}
