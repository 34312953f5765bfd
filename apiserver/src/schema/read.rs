//! Objects of built-in kinds as Go's decoder reads them: what does not fit is refused in its words, and what fits is
//! there as Go would write it again.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::go;
use super::structs::{KNOWN, Member, Shape, Struct};
use super::zero::is_zero;

/// Reads an object into its Go type: nulls and zero values are not there, quantities and times are canonical, members
/// of no type are dropped. Nothing is done where the type is not known.
///
/// # Errors
/// What Go's decoder says of the first value that it cannot read.
pub fn read(api_version: &str, kind: &str, object: &mut Value) -> Result<(), String> {
    read_from(Source::Json, api_version, kind, object)
}

/// As [`read`], from decoded JSON that Go puts into the type without a decoder: what strategic merge patches and applies
/// make (`runtime.DefaultUnstructuredConverter`).
///
/// # Errors
/// What Go says of the first value that it cannot take.
pub fn convert(api_version: &str, kind: &str, object: &mut Value) -> Result<(), String> {
    read_from(Source::Unstructured, api_version, kind, object)
}

fn read_from(source: Source, api_version: &str, kind: &str, object: &mut Value) -> Result<(), String> {
    let (Some(of), Value::Object(fields)) = (KNOWN.of_kind(api_version, kind), object) else {
        return Ok(());
    };
    let mut reader = Reader {
        source,
        path: Vec::new(),
        owner: "",
        nested: 0,
        saved: None,
    };
    reader.fields(of, fields)?;
    reader.saved.map_or(Ok(()), Err)
}

/// Where a decoder is, and the first value of a wrong type: what cannot be parsed ends the reading, wrong types are
/// told of at the end of it.
struct Reader {
    source: Source,
    path: Vec<&'static str>,
    owner: &'static str,
    /// Values being read that read themselves: whoever has the outermost is told as the owner.
    nested: usize,
    saved: Option<String>,
}

/// What a type is read from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Json,
    Unstructured,
}

/// What Go's decoder calls a value's type.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Reader {
    fn mismatch(&self, value: &Value, go: &str) -> String {
        let numeric = matches!(go, "int32" | "int64" | "int" | "uint32" | "uint64" | "float64");
        let into = if self.path.is_empty() || self.source == Source::Unstructured {
            "Go value".to_owned()
        } else {
            format!("Go struct field {}.{}", self.owner, self.path.join("."))
        };
        match value {
            Value::Number(n) if numeric => format!("json: cannot unmarshal number {n} into {into} of type {go}"),
            other => format!("json: cannot unmarshal {} into {into} of type {go}", json_kind(other)),
        }
    }

    /// A value of a wrong type: `go` is the type it should have, `kind` that type's letter or name.
    fn wrong(&mut self, value: &mut Value, go: &str, kind: &str) -> Result<(), String> {
        if self.source == Source::Unstructured {
            return converted(value, go, kind);
        }
        if self.saved.is_none() {
            self.saved = Some(self.mismatch(value, go));
        }
        Ok(())
    }

    fn fields(&mut self, of: &'static Struct, object: &mut Map<String, Value>) -> Result<(), String> {
        if self.source == Source::Unstructured {
            // Go looks for its members one by one, not for a decoder's values: the first that does not fit is told.
            let mut names: Vec<(usize, &str)> = object
                .keys()
                .filter_map(|name| of.member(name).map(|m| (m.place, m.name)))
                .collect();
            names.sort_unstable();
            let above = std::mem::replace(&mut self.owner, of.name);
            for (_, name) in names {
                if let (Some(member), Some(value)) = (of.member(name), object.get_mut(name))
                    && !self.member(member, value)?
                {
                    object.remove(name);
                }
            }
            self.owner = above;
            let root = above.is_empty();
            object.retain(|name, _| {
                of.open || of.member(name).is_some() || root && matches!(name.as_str(), "apiVersion" | "kind")
            });
            return Ok(());
        }
        let (owner, depth) = (self.owner, self.path.len());
        let mut done = Ok(());
        object.retain(|name, value| {
            if done.is_err() {
                return true;
            }
            let Some(member) = of.member(name) else {
                // The type's own name is no member that messages have.
                return of.open || depth == 0 && matches!(name.as_str(), "apiVersion" | "kind");
            };
            self.path.extend(&member.embedded);
            self.path.push(member.name);
            if self.nested == 0 {
                self.owner = of.name;
            }
            let kept = self.member(member, value);
            self.path.truncate(depth);
            self.owner = owner;
            kept.unwrap_or_else(|why| {
                done = Err(why);
                true
            })
        });
        done
    }

    /// Reads a member; whether it is there then.
    fn member(&mut self, member: &Member, value: &mut Value) -> Result<bool, String> {
        match (member.shape, &mut *value) {
            (_, Value::Null) => return Ok(false),
            (Shape::List, Value::Array(all)) => {
                for item in all {
                    self.element(member, item)?;
                }
            }
            (Shape::Map, Value::Object(all)) => {
                for item in all.values_mut() {
                    self.element(member, item)?;
                }
            }
            (Shape::One, one) => {
                self.one(member, member.go, one)?;
                return Ok(!(member.scalar && is_zero(one)));
            }
            (shape, other) => {
                let kind = if shape == Shape::Map { "{}" } else { "[]" };
                self.wrong(other, member.go, kind)?;
            }
        }
        Ok(true)
    }

    /// Reads a value that reads itself: the first of a wrong type ends the reading at its end.
    fn of_its_own(&mut self, read: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        let before = self.saved.take();
        self.nested += 1;
        let done = read(self);
        self.nested -= 1;
        let found = std::mem::replace(&mut self.saved, before);
        done?;
        found.map_or(Ok(()), Err)
    }

    /// A value in a list or map: null is the zero value there.
    fn element(&mut self, member: &Member, value: &mut Value) -> Result<(), String> {
        if value.is_null() {
            if member.element.starts_with('*') {
                return Ok(());
            }
            *value = match member.kind {
                "y" => "".into(),
                _ => member.zero_of_one(),
            };
        }
        self.one(member, member.element.trim_start_matches('*'), value)
    }

    fn one(&mut self, member: &Member, go: &str, value: &mut Value) -> Result<(), String> {
        match (member.kind, &mut *value) {
            ("s", Value::String(_)) | ("b", Value::Bool(_)) | ("f", Value::Number(_)) => {}
            ("i", Value::Number(n)) => {
                let fits = match go {
                    "int32" => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                    _ => n.is_i64() || n.is_u64() && go.starts_with('u'),
                };
                if !fits {
                    self.wrong(value, go, member.kind)?;
                }
            }
            ("y", Value::String(text)) => match go::base64_error(text) {
                Some(why) if self.source == Source::Unstructured => {
                    return Err(format!("error decoding from json: {why}"));
                }
                Some(why) => drop(self.saved.get_or_insert(why)),
                None => text.retain(|c| !matches!(c, '\n' | '\r')),
            },
            ("T" | "M", Value::String(text)) => {
                let micro = member.kind == "M";
                if let Some(why) = go::time_error(text, micro) {
                    return Err(why);
                }
                if let Some(canonical) = time(text, micro) {
                    *text = canonical;
                }
            }
            ("D", Value::String(_)) => {}
            ("T" | "M" | "D", Value::Null) => {}
            ("T" | "M" | "D", other) => return Err(self.mismatch(other, "string")),
            ("Q", other) => {
                let parsed = cfn_cel::quantity::Quantity::from_value(other).map_err(|e| e.to_string())?;
                *other = parsed.to_string().into();
            }
            ("X", Value::String(_)) => {}
            ("X", Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {}
            ("X", other) => return Err(self.mismatch(other, "int32")),
            ("S", Value::Array(all)) => {
                for item in all {
                    match item {
                        Value::String(_) => {}
                        Value::Null => *item = "".into(),
                        other => self.wrong(other, "string", "s")?,
                    }
                }
            }
            ("S", Value::Null) => {}
            // A schema, schemas or a word (`apiextensions/v1/marshal.go`): whatever else is read as none.
            ("A" | "B" | "L", Value::Object(fields)) => {
                if let Some(of) = member.inner.and_then(|i| KNOWN.all.get(i)) {
                    self.of_its_own(|r| r.fields(of, fields))?;
                }
            }
            ("A", Value::Array(all)) => {
                let of = member.inner.and_then(|i| KNOWN.all.get(i));
                self.of_its_own(|r| {
                    all.iter_mut().try_for_each(|item| match (of, &mut *item) {
                        (Some(of), Value::Object(fields)) => r.fields(of, fields),
                        (_, Value::Null) => {
                            *item = Value::Object(Map::new());
                            Ok(())
                        }
                        (_, other) => r.wrong(other, "v1.JSONSchemaProps", "struct"),
                    })
                })?;
            }
            ("B", Value::Bool(_)) => {}
            ("B", _) => return Err("boolean or JSON schema expected".to_owned()),
            ("L", Value::Array(all)) => self.of_its_own(|r| {
                for item in all {
                    match item {
                        Value::String(_) => {}
                        Value::Null => *item = "".into(),
                        other => r.wrong(other, "string", "s")?,
                    }
                }
                Ok(())
            })?,
            ("A" | "L", other) => *other = Value::Null,
            ("s" | "b" | "f" | "i", other) => self.wrong(other, go, member.kind)?,
            ("y" | "S", other) => self.wrong(other, go, "[]")?,
            _ => match (member.inner.and_then(|i| KNOWN.all.get(i)), &mut *value) {
                (Some(of), Value::Object(fields)) => self.fields(of, fields)?,
                (Some(_), other) => self.wrong(other, go, "struct")?,
                (None, _) => {}
            },
        }
        Ok(())
    }
}

/// What Go makes of decoded JSON of another type than it needs: numbers are numbers whatever their width, where they are
/// whole.
fn converted(value: &mut Value, go: &str, kind: &str) -> Result<(), String> {
    let of = match value {
        Value::Null => return Ok(()),
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    match (kind, &*value) {
        ("i", Value::Number(n)) => match n.as_i64().or_else(|| whole(n.as_f64()?)) {
            Some(n) => {
                // Go's conversion keeps the lower bits.
                *value = if go == "int32" { (n as i32).into() } else { n.into() };
                Ok(())
            }
            None => Err(format!("cannot convert float64 to {go}")),
        },
        // Go has a conversion of integers into text; it is not JSON's.
        ("s", Value::Number(n)) if n.is_i64() => Err(format!("cannot convert int64 to {go}")),
        ("s", _) => Err("unrecognized type: string".to_owned()),
        ("b", _) => Err("unrecognized type: bool".to_owned()),
        ("i" | "f", _) => {
            let width = if matches!(go, "int64" | "uint64" | "uint32" | "float64" | "int") {
                go
            } else {
                "int32"
            };
            Err(format!("unrecognized type: {width}"))
        }
        ("{}", _) => Err(format!("cannot restore map from {of}")),
        ("struct", _) => Err(format!("cannot restore struct from: {of}")),
        _ => Err(format!("cannot restore slice from {of}")),
    }
}

fn whole(n: f64) -> Option<i64> {
    (n.fract() == 0.0).then_some(n as i64)
}

/// A time as Go writes it.
fn time(text: &str, micro: bool) -> Option<String> {
    let at: Timestamp = text.parse().ok()?;
    Some(if micro {
        at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    } else {
        Timestamp::from_second(at.as_second()).ok()?.to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_built_in_kind_is_known() {
        for r in crate::schema::discovery() {
            let version = [&*r.group, &*r.version].join("/");
            let known = KNOWN.of_kind(version.trim_start_matches('/'), &r.kind);
            assert!(known.is_some(), "{version} {}", r.kind);
        }
        assert!(KNOWN.of_kind("meta", "DeleteOptions").is_some());
    }

    fn why(api_version: &str, kind: &str, mut object: Value) -> String {
        read(api_version, kind, &mut object).err().unwrap_or_default()
    }

    #[test]
    fn what_does_not_fit_is_refused_in_gos_words() {
        for (kind, object, text) in [
            (
                "apps/v1/Deployment",
                json!({"spec": {"replicas": "3"}}),
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "apps/v1/Deployment",
                json!({"spec": {"template": {"spec": {"containers": {}}}}}),
                "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                "v1/Pod",
                json!({"spec": {"volumes": [{"iscsi": {"lun": 1.5}}]}}),
                "json: cannot unmarshal number 1.5 into Go struct field ISCSIVolumeSource.spec.volumes.VolumeSource.iscsi.lun of type int32",
            ),
            (
                "v1/Pod",
                json!({"spec": {"restartPolicy": 5}}),
                "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                "v1/Pod",
                json!({"metadata": {"creationTimestamp": 5}}),
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
            ),
            (
                "v1/LimitRange",
                json!({"spec": {"limits": [{"max": []}]}}),
                "json: cannot unmarshal array into Go struct field LimitRangeItem.spec.limits.max of type v1.ResourceList",
            ),
            (
                "v1/Secret",
                json!({"data": {"a": 5}}),
                "json: cannot unmarshal number into Go struct field Secret.data of type []uint8",
            ),
        ] {
            let (api_version, kind) = kind.rsplit_once('/').unwrap();
            assert_eq!(why(api_version, kind, object), text);
        }
        let limits = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}});
        assert!(why("v1", "Pod", limits).starts_with("quantities must match"));
        assert_eq!(why("example.com/v1", "Foo", json!({"spec": 5})), "");
        let of = |schema: Value| {
            let v = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
            why("apiextensions.k8s.io/v1", "CustomResourceDefinition", v)
        };
        let field =
            "json: cannot unmarshal number into Go struct field JSONSchemaProps.spec.versions.schema.openAPIV3Schema";
        for (schema, text) in [
            (
                json!({"additionalProperties": 5}),
                "boolean or JSON schema expected".to_owned(),
            ),
            (
                json!({"items": {"type": 5}}),
                format!("{field}.items.type of type string"),
            ),
            (
                json!({"items": [{"x-kubernetes-validations": [{"rule": 5}]}]}),
                format!("{field}.items.x-kubernetes-validations.rule of type string"),
            ),
            (
                json!({"items": [5]}),
                format!("{field}.items of type v1.JSONSchemaProps"),
            ),
            (json!({"items": "x", "dependencies": {"a": 5}}), String::new()),
        ] {
            assert_eq!(of(schema), text);
        }
    }

    #[test]
    fn what_fits_is_as_go_writes_it() {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "nosuch": 1,
            "metadata": {"creationTimestamp": "2024-01-01T02:00:00.5+02:00", "labels": {"a": null}, "generateName": ""},
            "spec": {"containers": [null, {"args": [null], "resources": {"limits": {"cpu": 1.5, "memory": "1024Ki"}},
                "stdin": false, "securityContext": {"privileged": false}}], "nodeSelector": null}});
        assert_eq!(read("v1", "Pod", &mut pod), Ok(()));
        assert_eq!(
            pod,
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"a": ""}},
                "spec": {"containers": [{}, {"args": [""], "resources": {"limits": {"cpu": "1500m", "memory": "1Mi"}},
                    "securityContext": {"privileged": false}}]}})
        );
    }
}
