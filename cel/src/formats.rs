//! Named formats, which say what is wrong with a text (`k8s.io/apiserver/pkg/cel/library/format.go`).

use super::{names, strfmt};

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

/// The format of a name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|n| *n == name)
}

/// All that is wrong with a text.
pub(super) fn wrong(format: &str, text: &str) -> Vec<String> {
    let unlike = |why: &str| match strfmt::has(format, text) {
        true => Vec::new(),
        false => vec![why.to_owned()],
    };
    match format.strip_suffix("Prefix") {
        // What will follow a dash makes it no end.
        Some(format) => match text.strip_suffix('-').filter(|rest| !rest.is_empty()) {
            Some(rest) => wrong(format, &format!("{}a", &rest[..rest.len() - last(rest)])),
            None => wrong(format, text),
        },
        None => match format {
            "dns1123Label" => names::dns1123_label(text),
            "dns1123Subdomain" => names::dns1123_subdomain(text),
            "dns1035Label" => names::dns1035_label(text),
            "qualifiedName" => names::qualified_name(text),
            "labelValue" => names::label_value(text),
            "uri" => super::url::Url::of_request(text).err().into_iter().collect(),
            "uuid" => unlike("does not match the UUID format"),
            "byte" => unlike("invalid base64"),
            "date" => unlike("invalid date"),
            _ => unlike("invalid datetime"),
        },
    }
}

/// Bytes of the last character.
fn last(text: &str) -> usize {
    text.chars().next_back().map_or(0, char::len_utf8)
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
            ("datetime", "2024-01-02T03:04Z", 1),
            ("datetime", "2024-01-02T03:04:05+99:00", 0),
            ("uri", "/x", 0),
            ("uri", "x", 1),
        ] {
            assert_eq!(wrong(format, text).len(), count, "{format} {text}");
        }
    }
}
