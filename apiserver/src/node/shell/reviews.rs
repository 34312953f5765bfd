//! What agnhost's `webhook` and `crd-conversion-webhook` answer.

use base64::Engine;
use serde_json::{Value, json};

use crate::controllers::object::Object;

/// The label, key and value that the rules are about.
const KEY: &str = "webhook-e2e-test";
const DISALLOW: &str = "webhook-disallow";

/// Answers an `AdmissionReview`; `None`: there is no such path.
pub(super) async fn admission(path: &str, review: Value) -> Option<Value> {
    let request = &review["request"];
    let mut response = match path {
        "/always-allow-delay-5s" => {
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
            json!({"allowed": true, "status": {"message": "this webhook allows all requests"}})
        }
        "/pods" if request["object"].label(KEY) == Some("wait-forever") => std::future::pending().await,
        _ => decide(path, request)?,
    };
    response["uid"] = request["uid"].clone();
    Some(json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}))
}

fn allow() -> Value {
    json!({"allowed": true})
}

fn deny(key: &str, why: &str) -> Value {
    json!({"allowed": false, "status": {key: why}})
}

fn patched(patch: &Value) -> Value {
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

fn decide(path: &str, request: &Value) -> Option<Value> {
    let object = &request["object"];
    Some(match path {
        "/always-deny" => deny("message", "this webhook denies all requests"),
        "/add-label" => match object.pointer("/metadata/labels").and_then(Value::as_object) {
            Some(l) if l.get("added-label").is_some_and(|v| v == "yes") => allow(),
            Some(l) if !l.is_empty() => {
                patched(&json!([{"op": "add", "path": "/metadata/labels/added-label", "value": "yes"}]))
            }
            _ => patched(&json!([{"op": "add", "path": "/metadata/labels", "value": {"added-label": "yes"}}])),
        },
        "/pods" => {
            let mut why = Vec::new();
            if object.label(KEY) == Some(DISALLOW) {
                why.push("the pod contains unwanted label;");
            }
            if object
                .items("/spec/containers")
                .iter()
                .any(|c| c.text("/name").contains(DISALLOW))
            {
                why.push("the pod contains unwanted container name;");
            }
            if why.is_empty() {
                allow()
            } else {
                deny("message", &why.join(" "))
            }
        }
        "/pods/attach" => match request.text("/name") {
            "to-be-attached-pod" if object.flag("/stdin") && object.text("/container") == "container1" => {
                deny("message", "attaching to pod 'to-be-attached-pod' is not allowed")
            }
            _ => allow(),
        },
        "/mutating-pods" => match object.text("/metadata/name") {
            "webhook-to-be-mutated" if object.items("/spec/initContainers").is_empty() => {
                let added =
                    json!([{"image": "webhook-added-image", "name": "webhook-added-init-container", "resources": {}}]);
                patched(&json!([{"op": "add", "path": "/spec/initContainers", "value": added}]))
            }
            _ => allow(),
        },
        "/configmaps" => unwanted(
            request,
            "the configmap contains unwanted key and value",
            "the configmap",
        ),
        "/custom-resource" => unwanted(
            request,
            "the custom resource contains unwanted data",
            "the custom resource",
        ),
        "/mutating-configmaps" | "/mutating-custom-resource" => {
            let is = |key: &str| object.pointer("/data").is_some_and(|d| d[key] == "yes");
            let stage =
                |n: u8| patched(&json!([{"op": "add", "path": format!("/data/mutation-stage-{n}"), "value": "yes"}]));
            match (is("mutation-start"), is("mutation-stage-1")) {
                (_, true) => stage(2),
                (true, false) => stage(1),
                _ => allow(),
            }
        }
        "/crd" => match object.label(KEY) {
            Some(DISALLOW) => deny("message", "the crd contains unwanted label"),
            _ => allow(),
        },
        _ => return None,
    })
}

/// Data that may not be written, or whose object may not be deleted.
fn unwanted(request: &Value, why: &str, what: &str) -> Value {
    let deletes = request["operation"] == "DELETE";
    let object = if deletes {
        &request["oldObject"]
    } else {
        &request["object"]
    };
    match object.pointer("/data").and_then(|d| d.get(KEY)).and_then(Value::as_str) {
        Some(DISALLOW) if !deletes => deny("reason", why),
        Some("webhook-nondeletable") if deletes => deny(
            "reason",
            &format!("{what} cannot be deleted because it contains unwanted key and value"),
        ),
        _ => allow(),
    }
}

/// Answers a `ConversionReview`.
pub(super) fn conversion(mut review: Value) -> Value {
    let request = review["request"].take();
    let to = request.text("/desiredAPIVersion");
    let converted: Result<Vec<Value>, String> = request.items("/objects").iter().map(|o| convert(o, to)).collect();
    let response = match converted {
        Ok(objects) => json!({"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}),
        Err(why) => json!({"uid": request["uid"], "result": {"status": "Failure", "message": why}}),
    };
    json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response})
}

fn convert(object: &Value, to: &str) -> Result<Value, String> {
    let from = object.text("/apiVersion").to_owned();
    let mut o = object.clone();
    let Some(map) = o.as_object_mut() else {
        return Err("no object".into());
    };
    match (from.as_str(), to) {
        (a, b) if a == b => {
            return Err(format!(
                "conversion from a version to itself should not call the webhook: {to}"
            ));
        }
        ("stable.example.com/v1", "stable.example.com/v2") => {
            if let Some(v) = map.remove("hostPort") {
                let text = v.as_str().unwrap_or_default();
                let Some((host, port)) = text.split_once(':').filter(|(_, p)| !p.contains(':')) else {
                    return Err(format!("invalid hostPort value `{text}`"));
                };
                map.insert("host".into(), json!(host));
                map.insert("port".into(), json!(port));
            }
        }
        ("stable.example.com/v2", "stable.example.com/v1") => {
            let (host, port) = (map.remove("host"), map.remove("port"));
            if host.is_some() || port.is_some() {
                let text = |v: Option<Value>| v.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                map.insert("hostPort".into(), json!(format!("{}:{}", text(host), text(port))));
            }
        }
        _ => return Err(format!("unexpected conversion version {to:?}")),
    }
    map.insert("apiVersion".into(), json!(to));
    Ok(o)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn decisions() {
        for (path, request, allowed) in [
            ("/always-deny", json!({}), false),
            (
                "/configmaps",
                json!({"operation": "CREATE", "object": {"data": {KEY: DISALLOW}}}),
                false,
            ),
            (
                "/configmaps",
                json!({"operation": "DELETE", "oldObject": {"data": {KEY: DISALLOW}}}),
                true,
            ),
            (
                "/crd",
                json!({"object": {"metadata": {"labels": {KEY: DISALLOW}}}}),
                false,
            ),
            (
                "/pods",
                json!({"object": {"spec": {"containers": [{"name": "a"}]}}}),
                true,
            ),
        ] {
            let review = json!({"apiVersion": "admission.k8s.io/v1", "request": request});
            let a = admission(path, review).await.unwrap();
            assert_eq!(a["response"]["allowed"], allowed, "{path}");
        }
        assert_eq!(admission("/nope", json!({})).await, None);
    }

    #[test]
    fn conversions_lead_back() {
        let v1 = json!({"apiVersion": "stable.example.com/v1", "hostPort": "a:1"});
        let v2 = convert(&v1, "stable.example.com/v2").unwrap();
        assert_eq!(
            v2,
            json!({"apiVersion": "stable.example.com/v2", "host": "a", "port": "1"})
        );
        assert_eq!(convert(&v2, "stable.example.com/v1").unwrap(), v1);
        assert!(convert(&v1, "stable.example.com/v1").is_err());
    }
}
