use serde_json::json;

use super::*;

fn at(level: Level, version: Option<u32>) -> LevelVersion {
    LevelVersion { level, version }
}

fn told(level: Level, version: Option<u32>, spec: &Value) -> String {
    details(&evaluate(at(level, version), &Value::Null, spec))
}

#[test]
fn labels_ask_for_levels() {
    let prefixed = |labels: &Value| -> Value {
        let all = labels.as_object().unwrap().iter();
        all.map(|(k, v)| (format!("{PREFIX}{k}"), v.clone())).collect()
    };
    for (labels, told, wrong) in [
        (json!({}), "privileged:latest privileged:latest privileged:latest", 0),
        (
            json!({"enforce": "restricted"}),
            "restricted:latest privileged:latest restricted:latest",
            0,
        ),
        (
            json!({"enforce": "baseline", "enforce-version": "v1.20", "warn": "privileged"}),
            "baseline:v1.20 privileged:latest privileged:latest",
            0,
        ),
        (
            json!({"enforce": "nosuch", "audit": "nosuch", "warn": "nosuch"}),
            "restricted:latest privileged:latest privileged:latest",
            3,
        ),
        (
            json!({"audit": "baseline", "audit-version": "1.20", "warn-version": "v1.05"}),
            "privileged:latest baseline:latest privileged:latest",
            2,
        ),
    ] {
        let (p, errors) = policy(&prefixed(&labels));
        assert_eq!(format!("{} {} {}", p.enforce, p.audit, p.warn), told, "{labels}");
        assert_eq!(errors.len(), wrong, "{labels}");
    }
}

#[test]
fn what_is_plain_keeps_to_the_baseline_only() {
    let spec = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    assert_eq!(told(Level::Privileged, None, &spec), "");
    assert_eq!(told(Level::Baseline, None, &spec), "");
    assert_eq!(
        told(Level::Restricted, None, &spec),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let windows =
        json!({"os": {"name": "windows"}, "containers": [{"name": "a", "securityContext": {"runAsNonRoot": true}}]});
    assert_eq!(told(Level::Restricted, None, &windows), "");
    assert!(!told(Level::Restricted, Some(24), &windows).is_empty());
}

#[test]
fn rules_are_those_of_their_version() {
    let of = |context: Value| json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": context}]});
    let unmasked = of(json!({"procMount": "Unmasked"}));
    assert_eq!(told(Level::Baseline, None, &unmasked), "");
    let masked = "procMount (container \"a\" must not set securityContext.procMount to \"Unmasked\")";
    assert_eq!(told(Level::Baseline, Some(34), &unmasked), masked);
    assert!(told(Level::Restricted, None, &unmasked).contains(masked));
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "x"}]}});
    assert_eq!(told(Level::Baseline, None, &sysctl), "forbidden sysctls (x)");
    assert_eq!(
        told(Level::Baseline, Some(31), &sysctl),
        "forbidden sysctls (net.ipv4.tcp_rmem, x)"
    );
}

#[test]
fn setters_are_told_together() {
    let spec = json!({"hostNetwork": true, "hostIPC": true,
        "securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}, "seccompProfile": {"type": "Unconfined"}},
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "initContainers": [{"name": "i", "ports": [{"hostPort": 80}, {"hostPort": 9}], "securityContext": {"privileged": true}}],
        "containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}, "securityContext":
            {"capabilities": {"add": ["SYS_ADMIN", "CHOWN"]}, "seLinuxOptions": {"role": "r"}, "windowsOptions": {"hostProcess": true}}}]});
    assert_eq!(
        told(Level::Baseline, None, &spec),
        "non-default capabilities (container \"c\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add), \
         host namespaces (hostNetwork=true, hostIPC=true), hostPath volumes (volume \"v\"), \
         hostPort (container \"i\" uses hostPorts 80, 9), probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\"), \
         privileged (container \"i\" must not set securityContext.privileged=true), \
         seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set; role may not be set), \
         seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), \
         hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)"
    );
}
