//! Columns of the built-in kinds, as `data/columns.yaml` tells them.

use super::duration::since;
use super::functions::call;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What OpenAPI says of `metadata.name`.
const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
/// What OpenAPI says of `metadata.creationTimestamp`.
pub(super) const AGE_DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column as the file has it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Short(String),
    Full {
        name: String,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        format: String,
        #[serde(default)]
        priority: i64,
        #[serde(default)]
        description: String,
        value: String,
        #[serde(default)]
        default: Option<String>,
    },
}

/// A column of a built-in kind.
#[derive(Debug)]
pub(super) struct BuiltinColumn {
    name: String,
    kind: String,
    format: String,
    priority: i64,
    description: String,
    cell: Cell,
    default: Option<String>,
}

/// How a cell is made.
#[derive(Debug)]
enum Cell {
    Path(String),
    /// Texts, each followed by a path with its default.
    Template(Vec<(String, Option<(String, String)>)>),
    Function(String, String),
    Created,
}

/// The columns of a kind; those of any other kind are its name and when it was created.
pub(super) fn of_kind(group: &str, kind: &str) -> &'static [BuiltinColumn] {
    static COLUMNS: LazyLock<BTreeMap<String, Vec<BuiltinColumn>>> = LazyLock::new(|| {
        let file: BTreeMap<String, Vec<Entry>> =
            serde_yaml::from_str(include_str!("../../data/columns.yaml")).expect("the columns' file is well formed");
        file.into_iter()
            .map(|(kind, entries)| (kind, entries.into_iter().map(column).collect()))
            .collect()
    });
    static OTHERS: LazyLock<Vec<BuiltinColumn>> = LazyLock::new(|| {
        ["name", "created"]
            .map(|short| column(Entry::Short(short.to_owned())))
            .into()
    });
    let key = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    COLUMNS.get(&key).unwrap_or(&OTHERS)
}

fn column(entry: Entry) -> BuiltinColumn {
    match entry {
        Entry::Short(short) => {
            let (name, kind, format, description, cell) = match short.as_str() {
                "name" => (
                    "Name",
                    "string",
                    "name",
                    NAME_DESCRIPTION,
                    Cell::Path(".metadata.name".to_owned()),
                ),
                "age" => (
                    "Age",
                    "string",
                    "",
                    AGE_DESCRIPTION,
                    Cell::Function("since".to_owned(), ".metadata.creationTimestamp".to_owned()),
                ),
                _ => ("Created At", "date", "", AGE_DESCRIPTION, Cell::Created),
            };
            BuiltinColumn {
                name: name.to_owned(),
                kind: kind.to_owned(),
                format: format.to_owned(),
                priority: 0,
                description: description.to_owned(),
                cell,
                default: None,
            }
        }
        Entry::Full {
            name,
            kind,
            format,
            priority,
            description,
            value,
            default,
        } => BuiltinColumn {
            name,
            kind: kind.unwrap_or_else(|| "string".to_owned()),
            format,
            priority,
            description,
            cell: parse(&value),
            default,
        },
    }
}

fn parse(value: &str) -> Cell {
    if value.contains('{') {
        let mut pieces = Vec::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').unwrap_or((after, ""));
            let (path, default) = field.split_once(':').unwrap_or((field, ""));
            pieces.push((before.to_owned(), Some((path.to_owned(), default.to_owned()))));
            rest = after;
        }
        pieces.push((rest.to_owned(), None));
        return Cell::Template(pieces);
    }
    match value.split_once('(') {
        Some((name, arguments)) if !value.starts_with('.') => {
            Cell::Function(name.to_owned(), arguments.trim_end_matches(')').to_owned())
        }
        _ => Cell::Path(value.to_owned()),
    }
}

/// The value at a path of names and indexes (`.spec.clusterIPs.0`); null if there is none.
pub(super) fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    path.split('.')
        .filter(|name| !name.is_empty())
        .fold(object, |value, name| match value {
            Value::Array(items) => name
                .parse::<usize>()
                .ok()
                .and_then(|i| items.get(i))
                .unwrap_or(&Value::Null),
            _ => &value[name],
        })
}

impl BuiltinColumn {
    /// Whether upstream's rows have its cell, and its tables no word of it.
    pub(super) fn is_untold(&self) -> bool {
        self.name.is_empty()
    }

    /// Its `TableColumnDefinition`.
    pub(super) fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority
        })
    }

    /// Its cell in an object's row.
    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let absent = || match (&self.default, self.kind.as_str()) {
            (Some(default), _) => default.as_str().into(),
            (None, "integer") => 0.into(),
            (None, "boolean") => false.into(),
            _ => "".into(),
        };
        match &self.cell {
            Cell::Path(path) => match at(object, path) {
                Value::Null => absent(),
                Value::String(text) if text.is_empty() => absent(),
                // Texts are texts, whatever the field is (an IntOrString).
                value @ Value::Number(_) if self.kind == "string" => value.to_string().into(),
                value => value.clone(),
            },
            Cell::Template(pieces) => {
                let mut text = String::new();
                for (before, field) in pieces {
                    text.push_str(before);
                    if let Some((path, default)) = field {
                        match at(object, path) {
                            Value::Null => text.push_str(default),
                            Value::String(value) => text.push_str(value),
                            value => text.push_str(&value.to_string()),
                        }
                    }
                }
                text.into()
            }
            Cell::Function(name, argument) if name == "since" => match at(object, argument) {
                Value::Null if self.default.is_some() => absent(),
                time => since(time, now).into(),
            },
            Cell::Function(name, argument) => match call(name, argument, object, now) {
                Value::Null => absent(),
                value => value,
            },
            Cell::Created => at(object, ".metadata.creationTimestamp").clone(),
        }
    }
}
