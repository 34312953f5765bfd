//! Objects as Go prints its structs: refusals show values of internal types as JSON with Go's names, in the order of the
//! declarations and with all zero values; patches that do not fit show the API type in the order of its declaration.

use serde_json::{Map, Value};

use super::messages::{Field, MESSAGES, Member, STRUCTS, each_field};

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
        match STRUCTS.get(name) {
            Some(_) => {
                let mut fields = Vec::new();
                members(name, value, &mut fields);
                Self::Fields(fields)
            }
            None => Self::plain(value),
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

    /// A document that was printed so, after a patch made `new` of `old`: what was changed is written anew, its members by
    /// name; all else stays as it was.
    #[must_use]
    pub fn patched(&self, old: &Value, new: &Value) -> Self {
        if old == new {
            return self.clone();
        }
        match (self, old, new) {
            (Self::Fields(fields), Value::Object(old), Value::Object(new)) => {
                let own = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, p)| p);
                let all = new.iter().map(|(name, value)| {
                    let printed = match (own(name), old.get(name)) {
                        (Some(printed), Some(was)) => printed.patched(was, value),
                        _ => Self::plain(value),
                    };
                    (name.clone(), printed)
                });
                Self::Fields(all.collect())
            }
            (Self::List(items), Value::Array(old), Value::Array(new)) => {
                let all = new
                    .iter()
                    .enumerate()
                    .map(|(i, value)| match (items.get(i), old.get(i)) {
                        (Some(printed), Some(was)) => printed.patched(was, value),
                        _ => Self::plain(value),
                    });
                Self::List(all.collect())
            }
            _ => Self::plain(new),
        }
    }
}

/// Members of an API type in the order of the declaration; taken out of `of`.
fn declared(known: &'static [Field], of: &mut Map<String, Value>, fields: &mut Vec<(String, Printed)>) {
    each_field(known, &mut |Field(_, member, shape, kind, ..)| {
        let Some(value) = of.remove(member) else { return };
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

/// What the API type calls a field that the internal type has another name for.
fn json_name<'n>(of: &str, go: &'n str) -> &'n str {
    match (of, go) {
        ("core.RBDVolumeSource" | "core.RBDPersistentVolumeSource", _) => match go {
            "CephMonitors" => "monitors",
            "RBDImage" => "image",
            "RBDPool" => "pool",
            "RadosUser" => "user",
            other => other,
        },
        ("core.AzureDiskVolumeSource", "DataDiskURI") => "diskURI",
        ("core.ISCSIVolumeSource" | "core.ISCSIPersistentVolumeSource", "DiscoveryCHAPAuth") => "chapAuthDiscovery",
        ("core.ISCSIVolumeSource" | "core.ISCSIPersistentVolumeSource", "SessionCHAPAuth") => "chapAuthSession",
        ("core.GlusterfsVolumeSource" | "core.GlusterfsPersistentVolumeSource", "EndpointsName") => "endpoints",
        _ => go,
    }
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
            .and_then(|m| m.iter().find(|(k, _)| k.eq_ignore_ascii_case(json_name(name, go))))
            .map(|(_, v)| v)
            .filter(|v| !v.is_null());
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
        ("", None) => match kind {
            "s" => Printed::Scalar("\"\"".to_owned()),
            "i" | "f" | "X" => Printed::Scalar("0".to_owned()),
            "b" => Printed::Scalar("false".to_owned()),
            "Q" => Printed::Scalar("\"0\"".to_owned()),
            name if STRUCTS.contains_key(name) || name.starts_with("meta.") => {
                Printed::internal(name, &Value::Object(Map::new()))
            }
            _ => null(),
        },
        _ => null(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn internal_types_show_all_fields() {
        let rule = json!({"rules": [{"succeededIndexes": "0-9"}]});
        assert_eq!(
            Printed::internal("batch.SuccessPolicy", &rule).compact(),
            r#"{"Rules":[{"SucceededIndexes":"0-9","SucceededCount":null}]}"#
        );
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "volumes": [{"name": "v", "emptyDir": {}}]}});
        let shown = Printed::internal("core.PodTemplateSpec", &template).compact();
        assert!(
            shown.starts_with(r#"{"labels":{"a":"b"},"Spec":{"Volumes":[{"Name":"v","HostPath":null,"#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""EmptyDir":{"Medium":"","SizeLimit":null}"#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#),
            "{shown}"
        );
    }

    #[test]
    fn fields_of_other_names_are_found() {
        let volume = json!({"image": "i", "pool": "p", "user": "u", "monitors": ["m"]});
        let shown = Printed::internal("core.RBDVolumeSource", &volume).compact();
        assert!(
            shown.starts_with(r#"{"CephMonitors":["m"],"RBDImage":"i","FSType":"","RBDPool":"p","RadosUser":"u""#),
            "{shown}"
        );
    }

    #[test]
    fn api_types_keep_the_order_of_their_declaration() {
        let d = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {}, "metadata": {"uid": "u", "name": "<a>"},
            "spec": {"template": {}, "replicas": 1}});
        let shown = Printed::object("apps/v1", "Deployment", &d);
        assert_eq!(
            shown.compact(),
            r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"\u003ca\u003e","uid":"u"},"spec":{"replicas":1,"template":{}},"status":{}}"#
        );
        let mut new = d.clone();
        new["spec"]["replicas"] = json!("x");
        assert_eq!(
            shown.patched(&d, &new).compact(),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"\u003ca\u003e","uid":"u"},"spec":{"replicas":"x","template":{}},"status":{}}"#
        );
    }

    #[test]
    fn lines_are_indented_by_one_space() {
        let v = json!({"a": [1, {"b": {}}], "c": []});
        assert_eq!(
            Printed::plain(&v).indented(),
            "{\n \"a\": [\n  1,\n  {\n   \"b\": {}\n  }\n ],\n \"c\": []\n}"
        );
    }
}
