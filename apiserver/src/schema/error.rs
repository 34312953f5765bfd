//! Mistakes in objects, with Kubernetes' words for them.

use super::Printed;
use cfn_cel::go::quote;
use serde_json::Value;
use std::fmt;

/// What kind of mistake a [`FieldError`] tells, as in `k8s.io/apimachinery/pkg/util/validation/field`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldErrorKind {
    /// A value that must be given is not.
    Required,
    /// A value that is not allowed here.
    Invalid,
    /// A value of the wrong JSON type.
    TypeInvalid,
    /// A value outside an enumeration.
    NotSupported,
    /// A string that is too long.
    TooLong,
    /// A list or map with too many elements.
    TooMany,
    /// A value that occurs twice.
    Duplicate,
    /// A value that may not be given (in this state).
    Forbidden,
    /// A reference to something that does not exist.
    NotFound,
    /// The check itself went wrong.
    Internal,
}

/// One mistake in an object; `Display` is Kubernetes' text for it (`spec.replicas: Invalid value: -1: must be ...`).
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Path of the field: `spec.template.spec.containers[0].name`; empty for the object itself.
    pub path: String,
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// The value that is wrong, where the text shows it.
    pub value: Option<Value>,
    /// Details for people.
    pub detail: String,
}

impl FieldError {
    /// A value that must be given is not.
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Required,
            value: None,
            detail: detail.into(),
        }
    }

    /// A value that is not allowed.
    pub fn invalid(path: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Invalid,
            value: Some(value.into()),
            detail: detail.into(),
        }
    }

    /// A value that may not be given.
    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Forbidden,
            value: None,
            detail: detail.into(),
        }
    }

    /// A value that occurs twice.
    pub fn duplicate(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Duplicate,
            value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// A reference to something that does not exist.
    pub fn not_found(path: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::NotFound,
            value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// The check itself went wrong.
    pub fn internal(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Internal,
            value: None,
            detail: detail.into(),
        }
    }

    /// A value that is not allowed, as Go's internal type (`core.Taint`) has it.
    pub fn invalid_internal(path: impl Into<String>, of: &str, value: &Value, detail: &str) -> Self {
        Self::invalid_shown(path, &Printed::internal(of, value).compact(), detail)
    }

    /// A value that is not allowed, with the text that shows it.
    pub fn invalid_shown(path: impl Into<String>, shown: &str, detail: &str) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Invalid,
            value: None,
            detail: match detail {
                "" => shown.to_owned(),
                detail => format!("{shown}: {detail}"),
            },
        }
    }

    /// A value that occurs twice, as Go's internal type has it.
    pub fn duplicate_internal(path: impl Into<String>, of: &str, value: &Value) -> Self {
        Self {
            path: path.into(),
            kind: FieldErrorKind::Duplicate,
            value: None,
            detail: Printed::internal(of, value).compact(),
        }
    }

    /// A value outside an enumeration, as Go's internal type has it.
    pub fn not_supported_internal<S: AsRef<str>>(
        path: impl Into<String>,
        of: &str,
        value: &Value,
        valid: &[S],
    ) -> Self {
        let mut error = Self::not_supported(path, Value::Null, valid);
        error.value = None;
        error.detail = format!("{}: {}", Printed::internal(of, value).compact(), error.detail);
        error
    }

    /// A value outside an enumeration.
    pub fn not_supported<S: AsRef<str>>(path: impl Into<String>, value: impl Into<Value>, valid: &[S]) -> Self {
        let quoted: Vec<String> = valid.iter().map(|v| quote(v.as_ref())).collect();
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        Self {
            path: path.into(),
            kind: FieldErrorKind::NotSupported,
            value: Some(value.into()),
            detail,
        }
    }

    /// A string of more than `max` bytes.
    pub fn too_long(path: impl Into<String>, max: u64) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {unit}");
        Self {
            path: path.into(),
            kind: FieldErrorKind::TooLong,
            value: None,
            detail,
        }
    }

    /// A list or map of `actual`, more than `max`, elements.
    pub fn too_many(path: impl Into<String>, actual: u64, max: u64) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {unit}");
        Self {
            path: path.into(),
            kind: FieldErrorKind::TooMany,
            value: Some(actual.into()),
            detail,
        }
    }

    /// `metav1.StatusCause.reason`: `FieldValueInvalid`, ...
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany => "FieldValueTooMany",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::NotFound => "FieldValueNotFound",
            FieldErrorKind::Internal => "InternalError",
        }
    }

    /// Whether a custom resource's rules cannot be asked of an object with this mistake.
    pub fn hinders_rules(&self) -> bool {
        matches!(
            self.kind,
            FieldErrorKind::NotSupported
                | FieldErrorKind::Required
                | FieldErrorKind::TooLong
                | FieldErrorKind::TooMany
                | FieldErrorKind::TypeInvalid
        )
    }

    /// `metav1.StatusCause.message`: the text without the path.
    pub fn message(&self) -> String {
        let words = match self.kind {
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => "Invalid value",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::TooLong => "Too long",
            FieldErrorKind::TooMany => "Too many",
            FieldErrorKind::Duplicate => "Duplicate value",
            FieldErrorKind::Forbidden => "Forbidden",
            FieldErrorKind::NotFound => "Not found",
            FieldErrorKind::Internal => "Internal error",
        };
        let mut text = words.to_owned();
        match (&self.value, self.kind) {
            (_, FieldErrorKind::Required | FieldErrorKind::Forbidden | FieldErrorKind::TooLong) | (None, _) => {}
            (Some(Value::String(value)), _) => text.push_str(&format!(": {}", quote(value))),
            (Some(value), _) => text.push_str(&format!(": {value}")),
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kubernetes prints the path of the object itself as <nil>.
        let path = if self.path.is_empty() { "<nil>" } else { &self.path };
        write!(f, "{path}: {}", self.message())
    }
}

/// What Go calls the type of decoded JSON (`%T`).
pub(crate) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%v` prints one of decoded JSON: `map[a:1 b:[x y]]`.
pub fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) => format!("[{}]", all.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut all: Vec<_> = fields.iter().collect();
            all.sort_by_key(|(name, _)| *name);
            let all: Vec<String> = all
                .iter()
                .map(|(name, value)| format!("{name}:{}", go_value(value)))
                .collect();
            format!("map[{}]", all.join(" "))
        }
        other => other.to_string(),
    }
}

/// A field at a path; at the object itself if that is empty.
#[must_use]
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}
