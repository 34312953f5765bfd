//! Lists as tables (`meta.k8s.io/v1` Table), as `kubectl get` prints them.

mod columns;
mod duration;
mod functions;
mod jsonpath;
mod pods;
mod references;
#[cfg(test)]
mod tests;

pub use duration::human_duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Which part of each object goes along with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Its metadata, as a PartialObjectMetadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

impl IncludeObject {
    /// From the query parameter `includeObject`; empty is `Metadata`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            "None" => Some(Self::None),
            _ => None,
        }
    }
}

/// An additional printer column of a CRD.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Header.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// OpenAPI format.
    pub format: String,
    /// Text for people.
    pub description: String,
    /// 0 is always shown, more only in wide views.
    pub priority: i64,
    /// JSONPath into the object.
    pub json_path: String,
}

impl Column {
    /// From one version's `additionalPrinterColumns` of a CRD; without any, the age alone, as upstream.
    pub fn from_crd(columns: &Value) -> Vec<Column> {
        let text = |column: &Value, field: &str| column[field].as_str().unwrap_or_default().to_owned();
        match columns.as_array() {
            Some(columns) if !columns.is_empty() => columns
                .iter()
                .map(|column| Column {
                    name: text(column, "name"),
                    kind: text(column, "type"),
                    format: text(column, "format"),
                    description: text(column, "description"),
                    priority: column["priority"].as_i64().unwrap_or_default(),
                    json_path: text(column, "jsonPath"),
                })
                .collect(),
            _ => vec![Column {
                name: "Age".to_owned(),
                kind: "date".to_owned(),
                format: String::new(),
                description: columns::AGE_DESCRIPTION.to_owned(),
                priority: 0,
                json_path: ".metadata.creationTimestamp".to_owned(),
            }],
        }
    }

    fn definition(&self) -> Value {
        let description = match self.description.as_str() {
            "" => format!(
                "Custom resource definition column (in JSONPath format): {}",
                self.json_path
            ),
            description => description.to_owned(),
        };
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": description,
            "priority": self.priority
        })
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = jsonpath::find(&self.json_path, object);
        let Some(value) = found.first() else { return Value::Null };
        match (self.kind.as_str(), value) {
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", Value::Null) => Value::Null,
            ("string", value) => value.to_string().into(),
            ("integer", Value::Number(number)) => number
                .as_i64()
                .or(number.as_f64().map(|x| x as i64))
                .map_or(Value::Null, Value::from),
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => (*value).clone(),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                Ok(_) => duration::since(value, now).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

/// The table of some objects of one kind. `crd_columns` are those of a custom resource ([`Column::from_crd`]),
/// `None` for built-in kinds; `list_metadata` is the list's `metadata`, `None` for a single object. Ages are told at
/// `now`.
pub fn table_for(
    group: &str,
    kind: &str,
    objects: &[Arc<Value>],
    crd_columns: Option<&[Column]>,
    now: Timestamp,
    include: IncludeObject,
    list_metadata: Option<&Value>,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| row(group, kind, object, crd_columns, now, include))
        .collect();
    let metadata = list_metadata.cloned().unwrap_or_else(|| match objects {
        // What was not written has none.
        [only] if only["metadata"]["resourceVersion"].is_string() => {
            json!({"resourceVersion": only["metadata"]["resourceVersion"]})
        }
        _ => json!({}),
    });
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": column_definitions(group, kind, crd_columns), "rows": rows
    })
}

/// The `columnDefinitions` of a kind's tables. In watches only the first table of a connection carries them.
pub fn column_definitions(group: &str, kind: &str, crd_columns: Option<&[Column]>) -> Value {
    match crd_columns {
        Some(columns) => {
            let name = columns::of_kind("", "ServiceAccount")
                .iter()
                .take(1)
                .map(|name| name.definition());
            name.chain(columns.iter().map(Column::definition)).collect()
        }
        None => columns::of_kind(group, kind)
            .iter()
            .filter(|column| !column.is_untold())
            .map(columns::BuiltinColumn::definition)
            .collect(),
    }
}

fn row(
    group: &str,
    kind: &str,
    object: &Value,
    crd_columns: Option<&[Column]>,
    now: Timestamp,
    include: IncludeObject,
) -> Value {
    // As the real server keeps it: not all versions have all of it.
    let kept = crate::registry::as_kept(object);
    let cells: Vec<Value> = match crd_columns {
        Some(columns) => std::iter::once(object["metadata"]["name"].clone())
            .chain(columns.iter().map(|column| column.cell(object, now)))
            .collect(),
        None => columns::of_kind(group, kind)
            .iter()
            .map(|column| column.cell(&kept, now))
            .collect(),
    };
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells.into());
    if let Some(conditions) = row_conditions(group, kind, object) {
        row.insert("conditions".to_owned(), conditions);
    }
    let object = match include {
        IncludeObject::Object => crate::patch::unfolded(object).into_owned(),
        IncludeObject::Metadata => {
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(object)})
        }
        IncludeObject::None => Value::Null,
    };
    row.insert("object".to_owned(), object);
    Value::Object(row)
}

/// An object's metadata where nothing else of it is shown.
pub(crate) fn metadata(object: &Value) -> Value {
    let kept = crate::registry::as_kept(object);
    let mut shown = json!({"metadata": kept["metadata"]});
    crate::patch::unfold(&mut shown);
    let mut metadata = shown["metadata"].take();
    // A field before apps/v1, which is an annotation only in what is encoded as a DaemonSet.
    if object["kind"] == "DaemonSet"
        && let Some(all) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
    {
        all.remove(crate::defaults::TEMPLATE_GENERATION);
        if all.is_empty() {
            metadata.as_object_mut().map(|m| m.remove("annotations"));
        }
    }
    metadata
}

/// What says that a pod is over.
fn row_conditions(group: &str, kind: &str, object: &Value) -> Option<Value> {
    if (group, kind) != ("", "Pod") {
        return None;
    }
    let (reason, message) = match object["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}
