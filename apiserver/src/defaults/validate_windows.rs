//! Validation of what pods say to Windows (`validateWindowsSecurityContextOptions`, `validateWindowsHostProcessPod` in
//! Kubernetes).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::names;
use super::validate_parts::{by_rule, list};
use crate::schema::FieldError;

static NET_BIOS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#).ok());
static DNS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9\-]*[a-zA-Z0-9])?)*$").ok()
});

/// Bytes of a credential specification.
const SPEC: usize = 64 * 1024;

/// The options of a pod or a container.
pub(super) fn options(options: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        let at = format!("{path}.gmsaCredentialSpecName");
        by_rule(name, at, names::dns1123_subdomain, errors);
    }
    if let Some(spec) = options["gmsaCredentialSpec"].as_str() {
        let detail = match spec.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            n if n > SPEC => "gmsaCredentialSpec size must be under 64 KiB",
            _ => "",
        };
        if !detail.is_empty() {
            errors.push(FieldError::invalid(format!("{path}.gmsaCredentialSpec"), spec, detail));
        }
    }
    if let Some(name) = options["runAsUserName"].as_str() {
        for detail in user_name(name) {
            errors.push(FieldError::invalid(format!("{path}.runAsUserName"), name, detail));
        }
    }
}

/// What is wrong with the name of a user, with its domain or without.
fn user_name(name: &str) -> Vec<String> {
    let what = |text: &str| format!("runAsUserName{text}");
    if name.is_empty() {
        return vec![what(" cannot be an empty string")];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec![what(" cannot contain control characters")];
    }
    let parts: Vec<&str> = name.split('\\').collect();
    let (domain, user) = match parts.as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return vec![what(" cannot contain more than one backslash")],
    };
    let mut wrong = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            wrong.push(what("'s Domain length must be under 256 characters"));
        }
        let good = |rule: &Option<Regex>| rule.as_ref().is_some_and(|r| r.is_match(domain));
        if !good(&NET_BIOS) && !good(&DNS) {
            wrong.push(what("'s Domain doesn't match the NetBios nor the DNS format"));
        }
    }
    match user.len() {
        0 => wrong.push(what("'s User cannot be empty")),
        n if n > 104 => wrong.push(what("'s User length must not be longer than 104 characters")),
        _ => {}
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        wrong.push(what("'s User cannot contain only periods or spaces"));
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        wrong.push(what(
            r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#,
        ));
    }
    wrong
}

/// Containers that are processes of the host are so all together, and on its network.
pub(super) fn host_processes(spec: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let of = |holder: &Value| holder["securityContext"]["windowsOptions"]["hostProcess"].as_bool();
    let whole = of(spec);
    let (mut all, mut processes) = (0, 0);
    for which in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in list(spec, which).iter().enumerate() {
            all += 1;
            let own = of(container);
            if let (Some(whole), Some(own)) = (whole, own)
                && whole != own
            {
                let detail = format!("pod hostProcess value must be identical if both are specified, was {whole}");
                let at = format!("{path}.{which}[{i}].securityContext.windowsOptions.hostProcess");
                errors.push(FieldError::invalid(at, own, detail));
            }
            processes += usize::from(own.or(whole).unwrap_or_default());
        }
    }
    if processes == 0 {
        return;
    }
    if processes != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(FieldError::invalid(path, "", detail));
    }
    if spec["hostNetwork"] != true {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(FieldError::invalid(format!("{path}.hostNetwork"), false, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn users_have_names_that_windows_knows() {
        for (name, wanted) in [
            ("a", ""),
            (r"d\a", ""),
            ("", "runAsUserName cannot be an empty string"),
            (r"a\b\c", "runAsUserName cannot contain more than one backslash"),
            ("..", "runAsUserName's User cannot contain only periods or spaces"),
            (r"d\", "runAsUserName's User cannot be empty"),
            (
                "a/b",
                r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#,
            ),
        ] {
            assert_eq!(user_name(name).join(";"), wanted, "{name}");
        }
    }

    #[test]
    fn processes_of_the_host_are_so_together() {
        let yes = json!({"windowsOptions": {"hostProcess": true}});
        let spec = json!({"containers": [{"securityContext": yes}, {}]});
        let mut errors = Vec::new();
        host_processes(&spec, "spec", &mut errors);
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "spec: Invalid value: \"\": If pod contains any hostProcess containers then all containers must be HostProcess containers",
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ]
        );
    }
}
