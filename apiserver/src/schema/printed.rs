//! Objects as Go prints its structs: refusals show values of internal types as JSON with Go's names, in the order of the
//! declarations and with all zero values; patches that do not fit show the API type in the order of its declaration.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use super::messages::{Field, MESSAGES, Member, STRUCTS, each_field};
use super::zero::zero_of;

/// A value as Go's encoder writes it: members keep their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Printed {
    /// A scalar, as JSON.
    Scalar(String),
    /// A list.
    List(Vec<Printed>),
    /// A struct or a map.
    Fields(Vec<(String, Printed)>),
}

/// A text in JSON, as Go writes it: what HTML minds is escaped.
fn string(text: &str) -> String {
    let mut out = Value::from(text).to_string();
    for (c, escape) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if out.contains(c) {
            out = out.replace(c, escape);
        }
    }
    out
}

impl Printed {
    /// A value of no type that is known: members by name.
    pub fn plain(value: &Value) -> Self {
        match value {
            Value::String(text) => Self::Scalar(string(text)),
            Value::Array(all) => Self::List(all.iter().map(Self::plain).collect()),
            Value::Object(all) => Self::Fields(all.iter().map(|(k, v)| (k.clone(), Self::plain(v))).collect()),
            other => Self::Scalar(other.to_string()),
        }
    }

    /// A value of an internal type, named as `core.PodSpec`, from the JSON of its API type.
    pub fn internal(name: &str, value: &Value) -> Self {
        if name == "meta.LabelSelector" {
            return Self::message("meta/v1.LabelSelector", &super::selector(value));
        }
        if let Some(meta) = name.strip_prefix("meta.") {
            return Self::message(&format!("meta/v1.{meta}"), value);
        }
        if let Some(either) = schema_or_other(name, value) {
            return either;
        }
        match STRUCTS.get(name) {
            Some(_) => {
                let mut fields = Vec::new();
                members(name, value, &mut fields);
                Self::Fields(fields)
            }
            None => Self::plain(value),
        }
    }

    /// What an object of an internal type has at a path (`spec.controller`, in JSON's names), as its Go struct holds it:
    /// what is not given is there as the zero value of its type.
    pub fn at(name: &str, path: &str, object: &Value) -> Self {
        let (mut shape, mut kind, mut value) = ("", name, Some(object));
        for step in path.split('.') {
            let Some(Member(_, of, inner)) = find(kind, step) else {
                return Self::plain(&value.map_or(Value::Null, |v| v[step].clone()));
            };
            (shape, kind) = (of, inner);
            value = value.and_then(|v| v.get(step)).filter(|v| !v.is_null());
        }
        member(shape, kind, value)
    }

    /// Whether two values are the same to those who compare them in Kubernetes (`equality.Semantic`): an empty list or map
    /// is as good as none.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (a, b) if a.is_nothing() && b.is_nothing() => true,
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Self::Fields(a), Self::Fields(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.same(&b.1))
            }
            (a, b) => a == b,
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Scalar(text) => text == "null",
            Self::List(all) => all.is_empty(),
            Self::Fields(all) => all.is_empty(),
        }
    }

    /// A value of an API type, named as `apps/v1.Deployment`.
    fn message(name: &str, value: &Value) -> Self {
        let (Some(known), Some(members)) = (MESSAGES.messages.get(name), value.as_object()) else {
            return Self::plain(value);
        };
        let mut fields = Vec::new();
        let mut others = members.clone();
        declared(known, &mut others, &mut fields);
        // Objects within objects say what they are first, too (`TypeMeta`).
        for name in ["apiVersion", "kind"] {
            if let Some(v) = others.remove(name) {
                fields.insert(0, (name.to_owned(), Self::plain(&v)));
            }
        }
        // What no declaration names comes last.
        fields.extend(others.iter().map(|(k, v)| (k.clone(), Self::plain(v))));
        Self::Fields(fields)
    }

    /// An object of a kind, in the order its type declares.
    pub fn object(api_version: &str, kind: &str, value: &Value) -> Self {
        let Some(name) = MESSAGES.kinds.get(&format!("{api_version}/{kind}")) else {
            return Self::plain(value);
        };
        let mut rest = value.clone();
        let mut fields = Vec::new();
        for name in ["kind", "apiVersion"] {
            if let Some(v) = rest.as_object_mut().and_then(|m| m.remove(name)) {
                fields.push((name.to_owned(), Self::plain(&v)));
            }
        }
        if let Self::Fields(more) = Self::message(name, &rest) {
            fields.extend(more);
        }
        Self::Fields(fields)
    }

    /// The JSON, without space.
    pub fn compact(&self) -> String {
        match self {
            Self::Scalar(text) => text.clone(),
            Self::List(all) => {
                let all: Vec<String> = all.iter().map(Self::compact).collect();
                format!("[{}]", all.join(","))
            }
            Self::Fields(all) => {
                let all: Vec<String> = all
                    .iter()
                    .map(|(k, v)| format!("{}:{}", string(k), v.compact()))
                    .collect();
                format!("{{{}}}", all.join(","))
            }
        }
    }

    /// The JSON in lines, each level one space further in.
    pub fn indented(&self) -> String {
        let mut out = String::new();
        self.write(1, &mut out);
        out
    }

    fn write(&self, level: usize, out: &mut String) {
        let line = |out: &mut String, level: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', level));
        };
        let (open, close, n) = match self {
            Self::Scalar(text) => {
                out.push_str(text);
                return;
            }
            Self::List(all) => ('[', ']', all.len()),
            Self::Fields(all) => ('{', '}', all.len()),
        };
        out.push(open);
        for i in 0..n {
            if i > 0 {
                out.push(',');
            }
            line(out, level);
            match self {
                Self::List(all) => all[i].write(level + 1, out),
                Self::Fields(all) => {
                    out.push_str(&string(&all[i].0));
                    out.push_str(": ");
                    all[i].1.write(level + 1, out);
                }
                Self::Scalar(_) => {}
            }
        }
        if n > 0 {
            line(out, level - 1);
        }
        out.push(close);
    }

    /// A document that was printed so, after a JSON patch made `new` of `old`: what was changed is written anew, its
    /// members by name, and so are those of what the patch looked into; all else stays as it was.
    #[must_use]
    pub fn patched(&self, old: &Value, new: &Value, patch: &Value) -> Self {
        let mut shown = self.changed(old, new);
        // What is copied or moved stays as it was printed where it came from.
        for step in patch.as_array().into_iter().flatten() {
            let place = |field: &str| {
                step[field]
                    .as_str()
                    .filter(|_| matches!(step["op"].as_str(), Some("copy" | "move")))
            };
            if let (Some(from), Some(to)) = (place("from"), place("path"))
                && let (Some(was), Some(is)) = (old.pointer(from), new.pointer(to))
                && was == is
                && let Some(printed) = self.part(from)
                && let Some(part) = shown.part_mut(to)
            {
                *part = printed.clone();
            }
        }
        for step in patch.as_array().into_iter().flatten() {
            for field in ["path", "from"] {
                if let Some(path) = step[field].as_str() {
                    let tested = field == "path" && step["op"] == "test";
                    let names: Vec<String> = path.split('/').skip(1).map(crate::patch::decoded).collect();
                    shown.sort_along(&names, tested);
                }
            }
        }
        shown
    }

    /// What a JSON pointer points to.
    fn part(&self, pointer: &str) -> Option<&Self> {
        pointer.split('/').skip(1).try_fold(self, |at, name| match at {
            Self::Fields(fields) => {
                let name = crate::patch::decoded(name);
                fields.iter().find(|(n, _)| *n == name).map(|(_, part)| part)
            }
            Self::List(items) => items.get(name.parse::<usize>().ok()?),
            Self::Scalar(_) => None,
        })
    }

    /// The same, to be changed.
    fn part_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        pointer.split('/').skip(1).try_fold(self, |at, name| match at {
            Self::Fields(fields) => {
                let name = crate::patch::decoded(name);
                fields.iter_mut().find(|(n, _)| *n == name).map(|(_, part)| part)
            }
            Self::List(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Scalar(_) => None,
        })
    }

    fn changed(&self, old: &Value, new: &Value) -> Self {
        if old == new {
            return self.clone();
        }
        match (self, old, new) {
            (Self::Fields(fields), Value::Object(old), Value::Object(new)) => {
                let own = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, p)| p);
                let all = new.iter().map(|(name, value)| {
                    let printed = match (own(name), old.get(name)) {
                        (Some(printed), Some(was)) => printed.changed(was, value),
                        _ => Self::plain(value),
                    };
                    (name.clone(), printed)
                });
                Self::Fields(all.collect())
            }
            (Self::List(items), Value::Array(old), Value::Array(new)) => {
                let all = new.iter().enumerate().map(|(i, value)| {
                    // Elements may have moved.
                    let same = (old.get(i) == Some(value)).then_some(i);
                    let same = same.or_else(|| old.iter().position(|was| was == value));
                    match (items.get(same.unwrap_or(i)), old.get(same.unwrap_or(i))) {
                        (Some(printed), Some(was)) => printed.changed(was, value),
                        _ => Self::plain(value),
                    }
                });
                Self::List(all.collect())
            }
            _ => Self::plain(new),
        }
    }

    /// Writes members by name on the way to a place; with `whole` also those in it.
    fn sort_along(&mut self, names: &[String], whole: bool) {
        if names.is_empty() && !whole {
            return;
        }
        match self {
            Self::Scalar(_) => {}
            Self::Fields(fields) => {
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                for (name, value) in fields {
                    match names {
                        [] => value.sort_along(names, whole),
                        [first, rest @ ..] if first == name => value.sort_along(rest, whole),
                        _ => {}
                    }
                }
            }
            Self::List(items) => match names {
                [] => items.iter_mut().for_each(|item| item.sort_along(names, whole)),
                [first, rest @ ..] => {
                    if let Some(item) = first.parse::<usize>().ok().and_then(|i| items.get_mut(i)) {
                        item.sort_along(rest, whole);
                    }
                }
            },
        }
    }

    /// A document that was printed so, after a merge patch made `new` of it: members of what the patch merges into are
    /// written by name, and what it puts there anew.
    #[must_use]
    pub fn merged(&self, patch: &Value, new: &Value) -> Self {
        let (Self::Fields(fields), Value::Object(patch), Value::Object(new)) = (self, patch, new) else {
            return Self::plain(new);
        };
        let own = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, p)| p);
        let all = new.iter().map(|(name, value)| {
            let printed = match (own(name), patch.get(name)) {
                (Some(printed), Some(change)) => printed.merged(change, value),
                (Some(printed), None) => printed.clone(),
                (None, _) => Self::plain(value),
            };
            (name.clone(), printed)
        });
        Self::Fields(all.collect())
    }
}

/// Members of an API type in the order of the declaration; taken out of `of`.
fn declared(known: &'static [Field], of: &mut Map<String, Value>, fields: &mut Vec<(String, Printed)>) {
    each_field(known, &mut |Field(_, member, shape, kind, keep, always, ..)| {
        let zero = || zero_of(kind).filter(|_| shape.is_empty() && *always == 1);
        let Some(value) = of.remove(member).or_else(zero) else {
            return;
        };
        // What Go leaves out (`omitempty`).
        let empty = match &value {
            Value::Array(all) => shape == "[]" && all.is_empty(),
            Value::Object(all) => shape == "{}" && all.is_empty(),
            Value::String(text) => *keep == 0 && text.is_empty(),
            _ => false,
        };
        if empty && *always == 0 {
            return;
        }
        let printed = match (&**shape, &value) {
            ("[]", Value::Array(all)) => Printed::List(all.iter().map(|v| Printed::message(kind, v)).collect()),
            ("{}", Value::Object(all)) => Printed::Fields(
                all.iter()
                    .map(|(k, v)| (k.clone(), Printed::message(kind, v)))
                    .collect(),
            ),
            _ => Printed::message(kind, &value),
        };
        fields.push((member.clone(), printed));
    });
}

/// What the internal type has elsewhere than the API type: fields of a pod's security context that the spec has.
const MOVED: [&str; 5] = [
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "shareProcessNamespace",
    "hostUsers",
];

/// Members of internal types that are called otherwise in the API type.
const RENAMED: [(&str, &str); 20] = [
    ("DataDiskURI", "diskURI"),
    ("LastTerminationState", "lastState"),
    ("ReportingController", "reportingComponent"),
    ("EndpointsName", "endpoints"),
    ("DiscoveryCHAPAuth", "chapAuthDiscovery"),
    ("SessionCHAPAuth", "chapAuthSession"),
    ("DoNotUseExternalID", "externalID"),
    ("CephMonitors", "monitors"),
    ("RBDImage", "image"),
    ("RBDPool", "pool"),
    ("RadosUser", "user"),
    ("IntValue", "int"),
    ("BoolValue", "bool"),
    ("StringValue", "string"),
    ("VersionValue", "version"),
    ("IntValues", "ints"),
    ("BoolValues", "bools"),
    ("StringValues", "strings"),
    ("VersionValues", "versions"),
    ("WebhookClientConfig", "clientConfig"),
];

/// Whether JSON's name is that of a member of an internal type.
fn is_named(go: &str, json: &str) -> bool {
    if json.starts_with(['$', 'x']) {
        // `$ref`, `x-kubernetes-list-type`.
        let plain = json
            .trim_start_matches('$')
            .replace("x-kubernetes-", "x")
            .replace('-', "");
        return plain.eq_ignore_ascii_case(go);
    }
    json.eq_ignore_ascii_case(go) || RENAMED.contains(&(go, json))
}

/// Members of an internal type from the JSON of the API type.
fn members(name: &str, value: &Value, fields: &mut Vec<(String, Printed)>) {
    for Member(go, shape, kind) in STRUCTS.get(name).into_iter().flatten() {
        if shape == "<" {
            match kind.as_str() {
                "meta.ObjectMeta" => {
                    let Printed::Fields(own) = Printed::internal(kind, &value["metadata"]) else {
                        continue;
                    };
                    fields.extend(own);
                }
                _ => members(kind, value, fields),
            }
            continue;
        }
        let given = value
            .as_object()
            .and_then(|m| m.iter().find(|(k, _)| is_named(go, k)))
            .map(|(_, v)| v)
            .filter(|v| !v.is_null() || kind == "apiextensions.JSONSchemaPropsOrArray");
        let merged;
        let given = if (name, go.as_str()) == ("core.PodSpec", "SecurityContext") {
            let mut context = given.and_then(Value::as_object).cloned().unwrap_or_default();
            for field in MOVED {
                if let Some(v) = value.get(field) {
                    context.insert(field.to_owned(), v.clone());
                }
            }
            merged = Value::Object(context);
            Some(&merged)
        } else {
            given
        };
        fields.push((go.clone(), member(shape, kind, given)));
    }
}

/// The fields of an internal type that a value from the JSON of its API type has, in the order of their declaration.
pub fn fields_of_struct(name: &str, value: &Value) -> impl Iterator<Item = &'static str> {
    let all = STRUCTS.get(name).map_or(&[][..], Vec::as_slice);
    all.iter().map(|Member(go, ..)| go.as_str()).filter(move |go| {
        let of = value.as_object().and_then(|m| m.iter().find(|(k, _)| is_named(go, k)));
        of.is_some_and(|(k, v)| !v.is_null() || k == "items")
    })
}

/// A schema where there may be something else in its place: Go has both in a struct.
fn schema_or_other(name: &str, value: &Value) -> Option<Printed> {
    let schema = || Printed::internal("apiextensions.JSONSchemaProps", value);
    let null = || Printed::Scalar("null".to_owned());
    let all = |all: &[Value]| {
        Printed::List(
            all.iter()
                .map(|v| Printed::internal("apiextensions.JSONSchemaProps", v))
                .collect(),
        )
    };
    let fields = match (name.strip_prefix("apiextensions.JSONSchemaPropsOr")?, value) {
        ("Array", Value::Array(items)) => [("Schema", null()), ("JSONSchemas", all(items))],
        ("Array", Value::Object(_)) => [("Schema", schema()), ("JSONSchemas", null())],
        ("Array", _) => [("Schema", null()), ("JSONSchemas", null())],
        ("Bool", Value::Object(_)) => [("Allows", Printed::Scalar("true".to_owned())), ("Schema", schema())],
        ("Bool", other) => [
            ("Allows", Printed::Scalar((*other == true).to_string())),
            ("Schema", null()),
        ],
        ("StringArray", Value::Object(_)) => [("Schema", schema()), ("Property", null())],
        ("StringArray", other) => [("Schema", null()), ("Property", Printed::plain(other))],
        _ => return None,
    };
    Some(Printed::Fields(fields.map(|(name, v)| (name.to_owned(), v)).into()))
}

/// The member of an internal type, or of one embedded in it, that JSON names so.
fn find(name: &str, json: &str) -> Option<&'static Member> {
    STRUCTS.get(name)?.iter().find_map(|m| match &*m.1 {
        "<" => find(&m.2, json),
        _ => is_named(&m.0, json).then_some(m),
    })
}

fn member(shape: &str, kind: &str, given: Option<&Value>) -> Printed {
    let null = || Printed::Scalar("null".to_owned());
    match (shape, given) {
        ("[]", Some(Value::Array(all))) => Printed::List(all.iter().map(|v| Printed::internal(kind, v)).collect()),
        ("{}", Some(Value::Object(all))) => Printed::Fields(
            all.iter()
                .map(|(k, v)| (k.clone(), Printed::internal(kind, v)))
                .collect(),
        ),
        (_, Some(v)) => Printed::internal(kind, v),
        ("", None) => match zero_of(kind) {
            Some(zero) => Printed::plain(&zero),
            None if STRUCTS.contains_key(kind) || kind.starts_with("meta.") => {
                Printed::internal(kind, &Value::Object(Map::new()))
            }
            None => null(),
        },
        _ => null(),
    }
}
