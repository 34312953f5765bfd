//! Rules for names, labels and the like, with the words of `k8s.io/apimachinery/pkg/util/validation`. Every function
//! answers all that is wrong.

use super::go::quote;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_FORMAT: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// What the rules of domains, ports and keys say of what is too long.
fn characters(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} characters"))
}

/// What the rules of labels say of what is too long.
fn bytes(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} bytes"))
}

/// All that is wrong, in order.
fn told<const N: usize>(checks: [Option<String>; N]) -> Vec<String> {
    checks.into_iter().flatten().collect()
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

fn label_format(text: &str) -> Option<String> {
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

fn subdomain_format(text: &str) -> Option<String> {
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character";
    (!text.split('.').all(is_label)).then(|| regex_error(words, SUBDOMAIN_FORMAT, &["example.com"]))
}

/// RFC 1123 label: namespaces, container names.
pub fn dns1123_label(text: &str) -> Vec<String> {
    told([characters(text, 63), label_format(text)])
}

/// RFC 1123 subdomain: most objects' names.
pub fn dns1123_subdomain(text: &str) -> Vec<String> {
    told([characters(text, 253), subdomain_format(text)])
}

/// RFC 1035 label: services.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character";
    let good = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    let format = "[a-z]([-a-z0-9]*[a-z0-9])?";
    told([
        characters(text, 63),
        (!good).then(|| regex_error(words, format, &["my-name", "abc-123"])),
    ])
}

/// A name that can stand in a path.
pub fn path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => told(['/', '%'].map(|c| text.contains(c).then(|| format!("may not contain '{c}'")))),
    }
}

fn is_key_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty()
        && text.bytes().all(inner)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// Go's `isValidConditionReason`.
pub fn condition_reason(text: &str) -> Vec<String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let inner = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b',' | b':'));
    if first && inner && !text.ends_with([',', ':']) {
        return Vec::new();
    }
    let words = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                 characters or '_,:', and must end with an alphanumeric character or '_'";
    let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
    vec![regex_error(words, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)]
}

/// Key of a label, an annotation, a taint, ...: a name, or a subdomain, `/` and a name.
pub fn qualified_name(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            let error = regex_error(KEY_WORDS, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "a valid label key {error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut wrong = match prefix {
        Some("") => vec!["prefix part must be non-empty".to_owned()],
        Some(prefix) => {
            told([bytes(prefix, 253), subdomain_format(prefix)].map(|e| e.map(|e| format!("prefix part {e}"))))
        }
        None => Vec::new(),
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    }
    wrong.extend(bytes(name, 63).map(|e| format!("name part {e}")));
    if !is_key_part(name) {
        wrong.push(bad_name_part());
    }
    wrong
}

/// What is said of a key's name that is not one.
pub fn bad_name_part() -> String {
    let error = regex_error(KEY_WORDS, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
    format!("name part {error}")
}

/// Name of an HTTP header.
pub fn http_header(text: &str) -> Vec<String> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let words = "a valid HTTP header must consist of alphanumeric characters or '-'";
    told([(!good).then(|| regex_error(words, "[-A-Za-z0-9]+", &["X-Header-Name"]))])
}

/// A subdomain in which underscores may stand: a domain to search.
pub fn dns1123_subdomain_with_underscore(text: &str) -> Vec<String> {
    let part = |part: &str| {
        let rest = part.strip_prefix('_').unwrap_or(part);
        is_label(&rest.replace('_', "-"))
    };
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
                 and must start and end with an alphanumeric character";
    let format = UNDERSCORE_FORMAT;
    told([
        characters(text, 253),
        (!text.split('.').all(part)).then(|| regex_error(words, format, &["example.com"])),
    ])
}

/// A subdomain after `*.`.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let good = text
        .strip_prefix("*.")
        .is_some_and(|rest| rest.split('.').all(is_label));
    let words = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                 consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
    let format = format!(r"\*\.{SUBDOMAIN_FORMAT}");
    told([
        characters(text, 253),
        (!good).then(|| regex_error(words, &format, &["*.example.com"])),
    ])
}

/// Value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                 must start and end with an alphanumeric character";
    let format = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
    let good = text.is_empty() || is_key_part(text);
    told([
        bytes(text, 63),
        (!good).then(|| regex_error(words, format, &["MyValue", "my_value", "12345"])),
    ])
}

/// Key of a ConfigMap or Secret.
pub fn config_map_key(text: &str) -> Vec<String> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = !text.is_empty() && text.bytes().all(inner);
    let words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
    let place = match text {
        "." => Some("must not be '.'"),
        ".." => Some("must not be '..'"),
        _ if text.starts_with("..") => Some("must not start with '..'"),
        _ => None,
    };
    told([
        characters(text, 253),
        (!good).then(|| regex_error(words, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"])),
        place.map(str::to_owned),
    ])
}

/// Name of an environment variable (relaxed: anything printable but `=`).
pub fn env_name(text: &str) -> Vec<String> {
    let good = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    let words = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    told([(!good).then(|| words.to_owned())])
}

/// Name of a port: IANA_SVC_NAME.
pub fn port_name(text: &str) -> Vec<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let checks = [
        (
            text.is_empty() || !text.bytes().all(inner),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (
            !text.bytes().any(|b| b.is_ascii_lowercase()),
            "must contain at least one letter (a-z)",
        ),
        (text.contains("--"), "must not contain consecutive hyphens"),
        (
            text.starts_with('-') || text.ends_with('-'),
            "must not begin or end with a hyphen",
        ),
    ];
    let mut wrong = told([characters(text, 15)]);
    wrong.extend(
        checks
            .into_iter()
            .filter(|(w, _)| *w)
            .map(|(_, words)| words.to_owned()),
    );
    wrong
}

/// Names of choices in a message: `"a", "b"`.
pub fn quoted(values: &[&str]) -> String {
    values.iter().map(|value| quote(value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kubernetes() {
        assert_eq!(
            dns1123_subdomain("Foo")[0],
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
        assert_eq!(
            dns1035_label("1a")[0],
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        );
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(label_value(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(qualified_name("").len(), 2, "both that it is empty and what it must be");
        assert_eq!(port_name("--").len(), 3);
        assert_eq!(dns1123_subdomain(&"A".repeat(254)).len(), 2);
    }

    #[test]
    fn good_names_pass() {
        for name in ["a", "a-b", "1", "a.b-c.d"] {
            assert!(dns1123_subdomain(name).is_empty(), "{name}");
        }
        for key in ["a", "A_b.c", "example.com/Name", "kubernetes.io/metadata.name"] {
            assert!(qualified_name(key).is_empty(), "{key}");
        }
        for (key, wrong) in [
            ("", true),
            ("/a", true),
            ("a/", true),
            ("a/b/c", true),
            ("-a", true),
            ("Ex.com/a", true),
        ] {
            assert_eq!(!qualified_name(key).is_empty(), wrong, "{key}");
        }
        assert!(label_value("").is_empty());
        assert!(!label_value("-").is_empty());
        assert!(config_map_key(".dockerconfigjson").is_empty());
        assert!(port_name("http").is_empty());
        assert!(!port_name("80").is_empty());
        assert!(dns1123_subdomain_with_underscore("_a.b_c").is_empty());
    }
}
