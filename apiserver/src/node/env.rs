//! The environment and arguments of a container (`pkg/kubelet/kubelet_pods.go`: makeEnvironmentVariables).

use std::collections::BTreeMap;

use base64::Engine;
use cfn_cel::quantity::Quantity;
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
pub(crate) fn field(pod: &Value, path: &str, a: &Addresses<'_>) -> Result<String, String> {
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
    // All of them, sorted, as a file of a volume has them.
    if let Some(map) = path
        .strip_prefix("metadata.")
        .filter(|m| matches!(*m, "labels" | "annotations"))
    {
        let all = pod
            .pointer("/metadata")
            .and_then(|m| m.get(map))
            .and_then(Value::as_object);
        let lines = all
            .into_iter()
            .flatten()
            .map(|(k, v)| format!("{k}={:?}", v.as_str().unwrap_or_default()));
        return Ok(lines.collect::<Vec<_>>().join("\n"));
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

/// The container of a pod with this name, of whatever kind.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    lists.iter().flat_map(|l| pod.items(l)).find(|c| c.name_of() == name)
}

/// A `resourceFieldRef`: the node's capacity is the limit where there is none; in units of the divisor, rounded up.
pub(crate) fn resource(
    container: &Value,
    field: &Value,
    capacity: &BTreeMap<String, String>,
) -> Result<String, String> {
    let what = field.text("/resource");
    let Some((list, name)) = what
        .split_once('.')
        .filter(|(l, _)| matches!(*l, "limits" | "requests"))
    else {
        return Err(format!("unsupported container resource : {what}"));
    };
    let thousandths = |q: &Value| Quantity::from_value(q).ok().map(|q| i128::from(q.milli_value()));
    let own = container
        .pointer(&format!("/resources/{list}"))
        .and_then(|r| r.get(name));
    let default = || {
        super::heartbeat::has(capacity, name)
            .filter(|_| list == "limits" && crate::defaults::RESIZABLE.contains(&name))
            .and_then(|q| thousandths(&Value::from(q)))
    };
    let amount = own
        .and_then(thousandths)
        .filter(|n| *n > 0 || list == "requests")
        .or_else(default)
        .unwrap_or(0);
    let divisor = field
        .get("divisor")
        .and_then(thousandths)
        .filter(|n| *n > 0)
        .unwrap_or(1000);
    Ok(((amount + divisor - 1) / divisor).to_string())
}

/// The variables of services (`pkg/kubelet/envvars`): those of the pod's namespace and `kubernetes`.
pub(crate) async fn of_services(rest: &Rest, pod: &Value) -> Result<BTreeMap<String, String>, String> {
    let links = pod.pointer("/spec/enableServiceLinks") != Some(&Value::Bool(false));
    let mut services = Vec::new();
    if links {
        let path = format!("/api/v1/namespaces/{}/services", pod.namespace());
        services = rest
            .get(&path)
            .await
            .map_err(|e| e.to_string())?
            .items("/items")
            .to_vec();
    }
    if pod.namespace() != "default" || !links {
        services.extend(rest.get("/api/v1/namespaces/default/services/kubernetes").await);
    }
    Ok(services.iter().flat_map(service).collect())
}

/// The variables of one service.
fn service(service: &Value) -> Vec<(String, String)> {
    let ip = service.text("/spec/clusterIP");
    let name = service.name().to_uppercase().replace('-', "_");
    let mut all = Vec::new();
    if matches!(ip, "" | "None") {
        return all;
    }
    for (i, port) in service.items("/spec/ports").iter().enumerate() {
        let number = port.int("/port").unwrap_or(0).to_string();
        let protocol = crate::endpoints::protocol(port);
        let url = format!("{}://{ip}:{number}", protocol.to_lowercase());
        if i == 0 {
            all.push((format!("{name}_SERVICE_HOST"), ip.to_owned()));
            all.push((format!("{name}_SERVICE_PORT"), number.clone()));
            all.push((format!("{name}_PORT"), url.clone()));
        }
        if !port.name_of().is_empty() {
            let port = port.name_of().to_uppercase().replace('-', "_");
            all.push((format!("{name}_SERVICE_PORT_{port}"), number.clone()));
        }
        let prefix = format!("{name}_PORT_{number}_{protocol}");
        all.push((format!("{prefix}_PROTO"), protocol.to_lowercase()));
        all.push((format!("{prefix}_PORT"), number));
        all.push((format!("{prefix}_ADDR"), ip.to_owned()));
        all.push((prefix, url));
    }
    all
}

/// All variables of a container, over those of services: `envFrom` first, then `env` in order; `$(NAME)` of variables before it is expanded.
/// An error is the message of CreateContainerConfigError.
pub(crate) async fn resolve(
    rest: &Rest,
    pod: &Value,
    container: &Value,
    a: &Addresses<'_>,
    capacity: &BTreeMap<String, String>,
    mut env: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
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
        if let Some(r) = from.get("resourceFieldRef") {
            let of = Some(r.text("/containerName")).filter(|n| !n.is_empty());
            let container = of.map_or(Some(container), |n| self::container(pod, n));
            let container = container.ok_or_else(|| format!("container {} not found", r.text("/containerName")))?;
            env.insert(name, resource(container, r, capacity)?);
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
pub(crate) fn expand(s: &str, env: &BTreeMap<String, String>) -> String {
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
    fn resources() {
        let c = json!({"resources": {"limits": {"cpu": "1250m"}, "requests": {"memory": "32Mi"}}});
        let capacity = BTreeMap::from([("memory".to_owned(), "8Gi".to_owned())]);
        for (field, expected) in [
            (json!({"resource": "limits.cpu"}), "2"),
            (json!({"resource": "limits.cpu", "divisor": "1m"}), "1250"),
            (json!({"resource": "requests.memory", "divisor": "1Mi"}), "32"),
            (json!({"resource": "limits.memory", "divisor": "1Gi"}), "8"),
            (json!({"resource": "requests.cpu"}), "0"),
        ] {
            assert_eq!(resource(&c, &field, &capacity).as_deref(), Ok(expected), "{field}");
        }
    }

    #[test]
    fn variables_of_a_service() {
        let s = json!({"metadata": {"name": "my-svc"}, "spec": {"clusterIP": "10.0.0.1",
            "ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}});
        let all: BTreeMap<_, _> = service(&s).into_iter().collect();
        assert_eq!(all["MY_SVC_SERVICE_HOST"], "10.0.0.1");
        assert_eq!(all["MY_SVC_SERVICE_PORT_WEB"], "80");
        assert_eq!(all["MY_SVC_PORT_80_TCP"], "tcp://10.0.0.1:80");
        let headless = json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
        assert!(service(&headless).is_empty());
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
