//! Kubernetes' Go structs as data: the fields of API types with their protobuf numbers (`data/messages.json.gz`, by
//! `ci/record-messages`) and those of the internal types (`data/structs.json.gz`, by `ci/record-structs`).

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The API types.
#[derive(Deserialize)]
pub struct Messages {
    /// Names of messages by `group/version/kind`.
    pub kinds: BTreeMap<String, String>,
    /// Fields in the order they are declared in.
    pub messages: BTreeMap<String, Vec<Field>>,
}

/// Number, member, shape, type, whether a zero value stays, whether it is written always, what Go calls the type, whether Go
/// may hold none of it.
#[derive(Deserialize)]
pub struct Field(
    pub u32,
    pub String,
    pub String,
    pub String,
    pub u8,
    pub u8,
    pub String,
    pub u8,
);

/// Name, shape and type of a field of an internal struct.
#[derive(Deserialize)]
pub struct Member(pub String, pub String, pub String);

fn read<T: DeserializeOwned>(data: &[u8]) -> T {
    let mut text = String::new();
    let mut reader = flate2::read::GzDecoder::new(data);
    reader.read_to_string(&mut text).expect("the recorded data is gzip");
    serde_json::from_str(&text).expect("the recorded data is JSON")
}

/// The API types.
pub static MESSAGES: LazyLock<Messages> = LazyLock::new(|| read(include_bytes!("../../data/messages.json.gz")));

/// The internal types by `group.Name`.
pub static STRUCTS: LazyLock<BTreeMap<String, Vec<Member>>> =
    LazyLock::new(|| read(include_bytes!("../../data/structs.json.gz")));

/// Whether a kind is one of Kubernetes' own in a version.
pub fn is_api_type(api_version: &str, kind: &str) -> bool {
    MESSAGES.kinds.contains_key(&format!("{api_version}/{kind}"))
}

/// What the scheme that reads objects says of a type that it does not know.
pub fn not_registered(api_version: &str, kind: &str) -> String {
    let (kind, version) = (super::quote(kind), super::quote(api_version));
    format!("no kind {kind} is registered for version {version} in scheme \"pkg/runtime/scheme.go:111\"")
}

/// Calls `each` for the fields of an API type, those of embedded structs among them.
pub fn each_field(fields: &'static [Field], each: &mut dyn FnMut(&'static Field)) {
    for field in fields {
        let Field(_, _, shape, kind, ..) = field;
        match MESSAGES.messages.get(kind) {
            Some(inner) if shape == "<" => each_field(inner, each),
            _ if shape == "<" => {}
            _ => each(field),
        }
    }
}
