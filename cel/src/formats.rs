//! Named formats, which say what is wrong with a text (`k8s.io/apiserver/pkg/cel/library/format.go`).

/// The formats there are.
pub(super) const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_WORDS: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// The format of a name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|n| *n == name)
}

/// All that is wrong with a text.
pub(super) fn wrong(format: &str, text: &str) -> Vec<String> {
    let unless = |fine: bool, why: &str| if fine { Vec::new() } else { vec![why.to_owned()] };
    match format.strip_suffix("Prefix") {
        // What will follow a dash makes it no end.
        Some(format) => match text.strip_suffix('-').filter(|rest| !rest.is_empty()) {
            Some(rest) => wrong(format, &format!("{}a", &rest[..rest.len() - last(rest)])),
            None => wrong(format, text),
        },
        None => match format {
            "dns1123Label" => label(text),
            "dns1123Subdomain" => long(text, 253, "characters")
                .into_iter()
                .chain(subdomain(text))
                .collect(),
            "dns1035Label" => first_label(text),
            "qualifiedName" => qualified(text),
            "labelValue" => value(text),
            "uri" => super::url::Url::of_request(text).err().into_iter().collect(),
            "uuid" => unless(is_uuid(text), "does not match the UUID format"),
            "byte" => {
                use base64::Engine;
                let fine = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
                unless(fine && !text.is_empty(), "invalid base64")
            }
            "date" => unless(
                text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
                "invalid date",
            ),
            _ => unless(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime"),
        },
    }
}

/// Bytes of the last character.
fn last(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn long(text: &str, most: usize, unit: &str) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} {unit}"))
}

fn example(words: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{words} (e.g. {}regex used for validation is '{format}')",
        examples.join(" or ")
    )
}

fn label(text: &str) -> Vec<String> {
    let words = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character";
    let form = match text {
        _ if is_label(text) => None,
        _ if text.split('.').all(is_label) => Some("must not contain dots".to_owned()),
        _ => Some(example(words, LABEL, &["my-name", "123-abc"])),
    };
    long(text, 63, "characters").into_iter().chain(form).collect()
}

fn subdomain(text: &str) -> Option<String> {
    let words = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                 must start and end with an alphanumeric character";
    (!text.split('.').all(is_label)).then(|| example(words, SUBDOMAIN, &["example.com"]))
}

fn first_label(text: &str) -> Vec<String> {
    let words = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                 character, and end with an alphanumeric character";
    let fine = is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase());
    let form = (!fine).then(|| example(words, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    long(text, 63, "characters").into_iter().chain(form).collect()
}

fn is_key(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let end = |c: char| c.is_ascii_alphanumeric();
    text.bytes().all(inner) && text.starts_with(end) && text.ends_with(end)
}

fn qualified(text: &str) -> Vec<String> {
    let form = example(KEY_WORDS, KEY, &["MyName", "my.name", "123-abc"]);
    let (prefix, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            return vec![format!(
                "a valid label key {form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    let mut wrong: Vec<String> = match prefix {
        Some("") => vec!["prefix part must be non-empty".to_owned()],
        Some(prefix) => {
            let all = long(prefix, 253, "bytes").into_iter().chain(subdomain(prefix));
            all.map(|why| format!("prefix part {why}")).collect()
        }
        None => Vec::new(),
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    }
    wrong.extend(long(name, 63, "bytes").map(|why| format!("name part {why}")));
    if !is_key(name) {
        wrong.push(format!("name part {form}"));
    }
    wrong
}

fn value(text: &str) -> Vec<String> {
    let words = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                 start and end with an alphanumeric character";
    let format = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
    let fine = text.is_empty() || is_key(text);
    let form = (!fine).then(|| example(words, format, &["MyValue", "my_value", "12345"]));
    long(text, 63, "bytes").into_iter().chain(form).collect()
}

fn is_uuid(text: &str) -> bool {
    // Dashes may be left out, but stand nowhere else.
    let (mut rest, mut fine) = (text, true);
    for (i, n) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.split_at_checked(n) {
            Some((part, more)) => {
                fine &= part.bytes().all(|b| b.is_ascii_hexdigit());
                rest = more;
            }
            None => return false,
        }
    }
    fine && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::wrong;

    #[test]
    fn formats_say_what_is_wrong() {
        for (format, text, count) in [
            ("dns1123Label", "a-b", 0),
            ("dns1123Label", "a.b", 1),
            ("dns1123LabelPrefix", "a-", 0),
            ("dns1123Subdomain", "a.b", 0),
            ("dns1035Label", "1a", 1),
            ("qualifiedName", "example.com/Name", 0),
            ("qualifiedName", "/", 3),
            ("labelValue", "", 0),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", 0),
            ("uuid", "x", 1),
            ("byte", "eA==", 0),
            ("date", "2024-01-02", 0),
            ("datetime", "2024-01-02T03:04:05Z", 0),
            ("uri", "/x", 0),
            ("uri", "x", 1),
        ] {
            assert_eq!(wrong(format, text).len(), count, "{format} {text}");
        }
    }
}
