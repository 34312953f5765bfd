//! The environment and arguments of a container (`pkg/kubelet/kubelet_pods.go`: makeEnvironmentVariables).

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::Value;

use super::rest::Rest;
use super::status::Named;
use crate::controllers::object::Object;

/// Addresses that fields may refer to.
pub(crate) struct Addresses<'a> {
    pub pod_ip: &'a str,
    pub host_ip: &'a str,
}

/// The values of a ConfigMap or Secret; empty when it is not there and `optional`.
async fn source(rest: &Rest, pod: &Value, kind: &str, from: &Value) -> Result<BTreeMap<String, String>, String> {
    let path = format!("/api/v1/namespaces/{}/{kind}/{}", pod.namespace(), from.name_of());
    let v = match rest.get(&path).await {
        Ok(v) => v,
        Err(e) if e.code() == 404 && from.flag("/optional") => return Ok(BTreeMap::new()),
        Err(e) if e.code() == 404 => {
            return Err(format!(
                "{} \"{}\" not found",
                kind.trim_end_matches('s'),
                from.name_of()
            ));
        }
        Err(e) => return Err(e.to_string()),
    };
    let text = |s: &str| match kind {
        "secrets" => base64::engine::general_purpose::STANDARD
            .decode(s)
            .ok()
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default(),
        _ => s.to_owned(),
    };
    let data = v.get("data").and_then(Value::as_object).into_iter().flatten();
    Ok(data.filter_map(|(k, v)| Some((k.clone(), text(v.as_str()?)))).collect())
}

/// A `fieldRef`.
fn field(pod: &Value, path: &str, a: &Addresses<'_>) -> Result<String, String> {
    let subscript = |map: &str| {
        let rest = path.strip_prefix("metadata.")?.strip_prefix(map)?.strip_prefix("['")?;
        let key = rest.strip_suffix("']")?;
        Some(
            pod.pointer("/metadata")
                .and_then(|m| m.get(map)?.get(key)?.as_str())
                .unwrap_or("")
                .to_owned(),
        )
    };
    if let Some(v) = subscript("labels").or_else(|| subscript("annotations")) {
        return Ok(v);
    }
    Ok(match path {
        "metadata.name" => pod.name(),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => pod.text("/spec/nodeName"),
        "spec.serviceAccountName" => pod.text("/spec/serviceAccountName"),
        "status.podIP" | "status.podIPs" => a.pod_ip,
        "status.hostIP" | "status.hostIPs" => a.host_ip,
        other => return Err(format!("unsupported fieldPath: {other}")),
    }
    .to_owned())
}

/// All variables of a container: `envFrom` first, then `env` in order; `$(NAME)` of variables before it is expanded.
/// An error is the message of CreateContainerConfigError.
pub(crate) async fn resolve(
    rest: &Rest,
    pod: &Value,
    container: &Value,
    a: &Addresses<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    for from in container.items("/envFrom") {
        for (key, kind) in [("configMapRef", "configmaps"), ("secretRef", "secrets")] {
            if let Some(r) = from.get(key).filter(|r| r.is_object()) {
                for (k, v) in source(rest, pod, kind, r).await? {
                    env.insert(format!("{}{k}", from.text("/prefix")), v);
                }
            }
        }
    }
    for e in container.items("/env") {
        let name = e.name_of().to_owned();
        let Some(from) = e.get("valueFrom").filter(|v| v.is_object()) else {
            let value = expand(e.text("/value"), &env);
            env.insert(name, value);
            continue;
        };
        if let Some(path) = from.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
            env.insert(name, field(pod, path, a)?);
            continue;
        }
        for (key, kind) in [("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")] {
            if let Some(r) = from.get(key).filter(|r| r.is_object()) {
                let values = source(rest, pod, kind, r).await?;
                match values.get(r.text("/key")) {
                    Some(v) => {
                        env.insert(name.clone(), v.clone());
                    }
                    None if r.flag("/optional") => {}
                    None => {
                        let (ns, of) = (pod.namespace(), r.name_of());
                        return Err(format!(
                            "couldn't find key {} in {} {ns}/{of}",
                            r.text("/key"),
                            kind.trim_end_matches('s')
                        ));
                    }
                }
            }
        }
    }
    Ok(env)
}

/// `command` and `args`, expanded.
pub(crate) fn arguments(container: &Value, env: &BTreeMap<String, String>) -> Vec<String> {
    let of = |p: &str| {
        container
            .items(p)
            .iter()
            .filter_map(Value::as_str)
            .map(|s| expand(s, env))
            .collect::<Vec<_>>()
    };
    [of("/command"), of("/args")].concat()
}

/// `$(NAME)` becomes its value when it has one; `$$` is `$` (`third_party/forked/golang/expansion`).
fn expand(s: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = s;
    while let Some(i) = rest.find('$') {
        out.push_str(&rest[..i]);
        rest = &rest[i..];
        if let Some(tail) = rest.strip_prefix("$$") {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = rest.strip_prefix("$(").and_then(|t| t.split_once(')')) {
            match env.get(name) {
                Some(v) => out.push_str(v),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expansion() {
        let env = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
        for (s, expected) in [
            ("$(A)-b", "x-b"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("a$", "a$"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(s, &env), expected);
        }
    }

    #[test]
    fn fields() {
        let pod = json!({"metadata": {"name": "p", "labels": {"a/b": "v"}}, "spec": {"nodeName": "n"}});
        let a = Addresses {
            pod_ip: "1",
            host_ip: "2",
        };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.labels['a/b']", "v"),
            ("spec.nodeName", "n"),
            ("status.hostIP", "2"),
        ] {
            assert_eq!(field(&pod, path, &a).as_deref(), Ok(expected));
        }
        assert!(field(&pod, "spec.nope", &a).is_err());
    }
}
