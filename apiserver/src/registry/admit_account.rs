//! The service account of a pod (`plugin/pkg/admission/serviceaccount`): its token, its pull secrets, and which secrets it
//! lets pods use.

use std::sync::Arc;

use serde_json::{Value, json};

use super::admit_pod::forbidden;
use super::meta::{child, list};
use super::{Call, Server, text};
use crate::local::Gvr;
use crate::schema::quote;
use crate::status::Status;
use crate::store::Key;

const SERVICE_ACCOUNTS: Gvr = Gvr::new("", "v1", "serviceaccounts");
/// Where containers find their token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An account that says so lets pods use no secrets but those that it names.
const ENFORCED: &str = "/metadata/annotations/kubernetes.io~1enforce-mountable-secrets";

/// The secrets that the environment of a container comes from, each with the variable that it is for.
fn secrets_of(container: &Value) -> impl Iterator<Item = (Option<&str>, &str)> {
    let one = list(container, "env").iter().filter_map(|e| {
        let name = e["valueFrom"]["secretKeyRef"].as_object()?.get("name");
        Some((Some(text(e, "/name")), name.and_then(Value::as_str).unwrap_or_default()))
    });
    let all = list(container, "envFrom").iter().filter_map(|e| {
        let name = e["secretRef"].as_object()?.get("name");
        Some((None, name.and_then(Value::as_str).unwrap_or_default()))
    });
    one.chain(all)
}

/// Whether a pod uses any secret (`VisitPodSecretNames`).
fn has_secrets(spec: &Value) -> bool {
    let named = |v: &Value| v.as_str().is_some_and(|n| !n.is_empty());
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let mut envs = containers.iter().flat_map(|k| list(spec, k)).flat_map(secrets_of);
    let of_volume = |v: &Value| {
        let of_drivers = ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"];
        named(&v["azureFile"]["secretName"])
            || named(&v["secret"]["secretName"])
            || named(&v["csi"]["nodePublishSecretRef"]["name"])
            || of_drivers.iter().any(|d| named(&v[*d]["secretRef"]["name"]))
            || list(&v["projected"], "sources")
                .iter()
                .any(|s| named(&s["secret"]["name"]))
    };
    list(spec, "imagePullSecrets").iter().any(|s| named(&s["name"]))
        || envs.any(|(_, name)| !name.is_empty())
        || list(spec, "volumes").iter().any(of_volume)
}

/// Why a container may not have its environment from secrets that its account does not name.
fn unnamed(kind: &str, container: &Value, account: &Value) -> Option<String> {
    let named = |secret: &str| list(account, "secrets").iter().any(|s| text(s, "/name") == secret);
    let (variable, secret) = secrets_of(container).find(|(_, s)| !named(s))?;
    let (name, account) = (text(container, "/name"), text(account, "/metadata/name"));
    let from = match variable {
        Some(variable) => format!("envVar {variable}"),
        None => "envFrom".to_owned(),
    };
    Some(format!(
        "{kind} {name} with {from} referencing secret.secretName=\"{secret}\" is not allowed because service account {account} does not reference that secret"
    ))
}

/// Why a pod may not use its secrets (`limitSecretReferences`).
fn refused(spec: &Value, account: &Value) -> Option<String> {
    let of = text(account, "/metadata/name");
    let among = |field: &str, secret: &str| list(account, field).iter().any(|s| text(s, "/name") == secret);
    let mounted = list(spec, "volumes").iter().filter(|v| v["secret"].is_object());
    let mut mounted = mounted.map(|v| text(v, "/secret/secretName"));
    if let Some(secret) = mounted.find(|s| !among("secrets", s)) {
        return Some(format!(
            "volume with secret.secretName=\"{secret}\" is not allowed because service account {of} does not reference that secret"
        ));
    }
    let of_containers = [("initContainers", "init container"), ("containers", "container")]
        .into_iter()
        .flat_map(|(k, kind)| list(spec, k).iter().map(move |c| (kind, c)))
        .find_map(|(kind, c)| unnamed(kind, c, account));
    if of_containers.is_some() {
        return of_containers;
    }
    let pulled = list(spec, "imagePullSecrets").iter().map(|s| text(s, "/name"));
    let (i, secret) = pulled.enumerate().find(|(_, s)| !among("imagePullSecrets", s))?;
    Some(format!(
        "imagePullSecrets[{i}].name=\"{secret}\" is not allowed because service account {of} does not reference that imagePullSecret"
    ))
}

/// Whether an account lets pods use no secrets but those that it names (`strconv.ParseBool`).
fn is_enforced(account: &Value) -> bool {
    matches!(text(account, ENFORCED), "1" | "t" | "T" | "true" | "TRUE" | "True")
}

impl Server {
    fn account(&self, ns: &str, v: &Value) -> Result<Option<Arc<Value>>, Status> {
        let name = match text(v, "/spec/serviceAccountName") {
            "" => "default",
            n => n,
        };
        let account = self.store.get(&SERVICE_ACCOUNTS, &Key::new(ns, name));
        // The default one may come later here: a cluster may run without who makes it.
        if account.is_none() && name != "default" {
            let quoted = quote(name);
            let why = format!("error looking up service account {ns}/{name}: serviceaccount {quoted} not found");
            return Err(forbidden(v, &why));
        }
        Ok(account.map(|a| a.value()))
    }

    /// What the account of a new pod brings along, and whether it lets the pod use its secrets.
    pub(super) fn admit_account(&self, call: &mut Call, ns: &str, v: &mut Value) -> Result<(), Status> {
        if crate::defaults::is_mirror(v) {
            let tokens = list(&v["spec"], "volumes")
                .iter()
                .flat_map(|x| list(&x["projected"], "sources"))
                .any(|s| s["serviceAccountToken"].is_object());
            let why = match () {
                () if !text(v, "/spec/serviceAccountName").is_empty() => {
                    "a mirror pod may not reference service accounts"
                }
                () if has_secrets(&v["spec"]) => "a mirror pod may not reference secrets",
                () if tokens => "a mirror pod may not use ServiceAccountToken volume projections",
                () => return Ok(()),
            };
            return Err(forbidden(v, why));
        }
        let Some(account) = self.account(ns, v)? else {
            return Ok(());
        };
        self.mount_token(call, &account, v);
        if list(&v["spec"], "imagePullSecrets").is_empty() {
            let own = list(&account, "imagePullSecrets").iter();
            let own: Vec<Value> = own.map(|s| json!({"name": text(s, "/name")})).collect();
            if !own.is_empty() {
                child(v, "spec").insert("imagePullSecrets".into(), own.into());
            }
        }
        match is_enforced(&account).then(|| refused(&v["spec"], &account)).flatten() {
            Some(why) => Err(forbidden(v, &why)),
            None => Ok(()),
        }
    }

    /// Whether a pod's account lets ephemeral containers use their secrets.
    pub(super) fn check_ephemeral_secrets(&self, ns: &str, v: &Value) -> Result<(), Status> {
        let Some(account) = self.account(ns, v)?.filter(|a| is_enforced(a)) else {
            return Ok(());
        };
        let mut all = list(&v["spec"], "ephemeralContainers").iter();
        match all.find_map(|c| unnamed("ephemeral container", c, &account)) {
            Some(why) => Err(forbidden(v, &why)),
            None => Ok(()),
        }
    }

    /// The volume with the service account's token, unless pod or account say no.
    fn mount_token(&self, call: &mut Call, account: &Value, v: &mut Value) {
        let said = |v: &Value| v["automountServiceAccountToken"].as_bool();
        if !said(&v["spec"]).or_else(|| said(account)).unwrap_or(true) {
            return;
        }
        let mounted = |c: &Value| {
            let mounts = c["volumeMounts"].as_array();
            mounts.is_some_and(|l| l.iter().any(|m| text(m, "/mountPath") == TOKEN_PATH))
        };
        let lists = ["initContainers", "containers"];
        if lists.iter().all(|k| list(&v["spec"], k).iter().all(mounted)) {
            return;
        }
        // One that is there already gets the containers that webhooks added.
        let there = list(&v["spec"], "volumes")
            .iter()
            .map(|x| text(x, "/name"))
            .find(|n| n.starts_with("kube-api-access-"))
            .map(str::to_owned);
        let volume = match &there {
            Some(n) => n.clone(),
            None => call.once("token volume", || self.generated_name("kube-api-access-")),
        };
        let spec = child(v, "spec");
        for k in lists {
            for c in spec.get_mut(k).and_then(Value::as_array_mut).into_iter().flatten() {
                if mounted(c) {
                    continue;
                }
                let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
                match c["volumeMounts"].as_array_mut() {
                    Some(l) => l.push(mount),
                    None => c["volumeMounts"] = json!([mount]),
                }
            }
        }
        if there.is_some() {
            return;
        }
        let source = json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}});
        match spec.get_mut("volumes").and_then(Value::as_array_mut) {
            Some(l) => l.push(source),
            None => drop(spec.insert("volumes".into(), json!([source]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_let_pods_use_the_secrets_that_they_name() {
        let account =
            json!({"metadata": {"name": "a"}, "secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "p"}]});
        let env = |secret: &str| json!({"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]});
        let suffix = "because service account a does not reference that secret";
        for (spec, told) in [
            (
                json!({"containers": [env("s")], "imagePullSecrets": [{"name": "p"}]}),
                String::new(),
            ),
            (
                json!({"containers": [env("t")]}),
                format!("container c with envVar E referencing secret.secretName=\"t\" is not allowed {suffix}"),
            ),
            (
                json!({"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "u"}}]}], "containers": [env("t")]}),
                format!("init container i with envFrom referencing secret.secretName=\"u\" is not allowed {suffix}"),
            ),
            (
                json!({"volumes": [{"secret": {"secretName": "v"}}], "containers": [env("t")]}),
                format!("volume with secret.secretName=\"v\" is not allowed {suffix}"),
            ),
        ] {
            assert_eq!(refused(&spec, &account).unwrap_or_default(), told, "{spec}");
        }
    }

    #[test]
    fn secrets_are_seen_wherever_they_are_used() {
        for spec in [
            json!({"imagePullSecrets": [{"name": "s"}]}),
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]}),
            json!({"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
        ] {
            assert!(has_secrets(&spec), "{spec}");
        }
        assert!(!has_secrets(
            &json!({"volumes": [{"emptyDir": {}}], "imagePullSecrets": [{}]})
        ));
    }
}
