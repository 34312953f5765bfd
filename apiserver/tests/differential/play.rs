//! Playing a case: its requests in order, in a namespace of its own, with what differs from run to run masked.

use std::sync::LazyLock;
use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Requests that belong together.
#[derive(Deserialize)]
pub struct Case {
    /// `group: what`; the group is a line of the table.
    pub feature: String,
    pub requests: Vec<Request>,
}

/// One request. `{ns}` stands for the case's namespace, `{rv}` for the resourceVersion of the last object answered.
#[derive(Deserialize)]
pub struct Request {
    /// Method and path, with the query.
    pub r: String,
    /// Accept.
    #[serde(default)]
    pub accept: Option<String>,
    /// Content-Type; JSON when a body is there.
    #[serde(default)]
    pub kind: Option<String>,
    /// A body of JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// A body of anything.
    #[serde(default)]
    pub raw: Option<String>,
    /// Asked as this user, of these groups (after a comma each) and of everybody who was asked who they are.
    #[serde(default, rename = "as")]
    pub whom: Option<String>,
    /// Asked again until it is answered with this status: what a server does by and by.
    #[serde(default)]
    pub until: Option<u16>,
}

/// Status, content type, warnings and body, masked.
#[derive(Serialize, Deserialize, Clone)]
pub struct Answer(pub Value);

impl Case {
    pub fn group(&self) -> &str {
        self.feature.split(':').next().unwrap_or_default()
    }
}

impl Request {
    pub fn line(&self) -> &str {
        &self.r
    }
}

/// Plays a case; `index` keeps namespaces of cases apart.
#[allow(
    clippy::disallowed_methods,
    reason = "a name that no run before had, on a real server"
)]
pub async fn play(client: &kube::Client, case: &Case, index: usize) -> Vec<Answer> {
    // Runs against one server are kept apart by the time.
    let run = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let ns = format!("dn{run}x{index}");
    let simple = |r: &str, body: Value| Request {
        r: r.to_owned(),
        accept: None,
        kind: None,
        body: Some(body),
        raw: None,
        whom: None,
        until: None,
    };
    let mut rv = String::new();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns}});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    send(client, &simple("POST /api/v1/namespaces", space), &ns, &mut rv).await;
    let accounts = "POST /api/v1/namespaces/{ns}/serviceaccounts";
    send(client, &simple(accounts, account), &ns, &mut rv).await;
    let mut answers = Vec::new();
    for r in &case.requests {
        let mut a = send(client, r, &ns, &mut rv).await;
        if let Some(wanted) = r.until {
            for _ in 0..200 {
                if a.0["status"] == wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                a = send(client, r, &ns, &mut rv).await;
            }
        }
        answers.push(a);
    }
    answers
}

async fn send(client: &kube::Client, r: &Request, ns: &str, rv: &mut String) -> Answer {
    let fill = |s: &str| s.replace("{ns}", ns).replace("{rv}", rv);
    let (method, path) = r.r.split_once(' ').unwrap();
    let body = match (&r.body, &r.raw) {
        (Some(v), _) => fill(&v.to_string()),
        (None, Some(t)) => fill(t),
        _ => String::new(),
    };
    let mut b = http::Request::builder()
        .method(method)
        .uri(fill(path))
        .header("User-Agent", "differential/1");
    if let Some(a) = &r.accept {
        b = b.header("Accept", a);
    }
    let mut named = r.whom.iter().flat_map(|w| w.split(','));
    if let Some(user) = named.next() {
        b = b.header("Impersonate-User", user);
        for group in named {
            b = b.header("Impersonate-Group", group);
        }
    }
    if !body.is_empty() {
        b = b.header("Content-Type", r.kind.as_deref().unwrap_or("application/json"));
    }
    let request = b.body(Body::from(body.into_bytes())).unwrap();
    let answer = client.send(request).await.unwrap();
    let status = answer.status().as_u16();
    let text_of = |n: &str| {
        let all = answer.headers().get_all(n).iter();
        all.map(|v| v.to_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let (kinds, mut warnings) = (text_of("content-type"), text_of("warning"));
    warnings.sort();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).replace(ns, "{ns}");
    // Watches are lines of JSON.
    let lines: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let kind = kinds.first().map_or("", String::as_str);
    let mut value = match serde_json::from_str(&text) {
        _ if kind.contains("protobuf") => crate::wire::tree(kind, &bytes, ns),
        Ok(v) => v,
        Err(_) if !lines.is_empty() => Value::Array(lines),
        Err(_) => Value::String(text.trim().to_owned()),
    };
    if let Some(v) = value["metadata"]["resourceVersion"].as_str() {
        v.clone_into(rv);
    }
    mask(&mut value);
    let warnings: Vec<_> = warnings.iter().map(|w| w.replace(ns, "{ns}")).collect();
    Answer(json!({"status": status, "type": kinds.first(), "warnings": warnings, "body": value}))
}

static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-X"),
        (r"generated-[a-z0-9]{5}", "generated-X"),
        (r"\b10\.96\.\d+\.\d+\b", "ADDRESS"),
        (r"hash=[0-9A-F]+", "hash=HASH"),
        (r"X509SHA256=[0-9a-f]{64}", "X509SHA256=DIGEST"),
        (r"(ResourceVersion in (?:precondition|object meta)): \d+", "$1: N"),
        (r"(ResourceVersion in record) \(\d+\)", "$1 (N)"),
        (r#"(\\?"resourceVersion\\?":\s?\\?"|resourceVersion: ")\d+"#, "${1}N"),
        (r"\b(\d+:)3\d{4}(/(?:TCP|UDP))", "${1}PORT$2"),
        (r"(resource version: )\d+(, current: )\d+", "${1}N${2}N"),
    ]
    .into_iter()
    .map(|(r, to)| (Regex::new(r).unwrap(), to))
    .collect()
});

/// Puts names in the place of what no two runs have in common. What is kept: that it is there.
pub fn mask(v: &mut Value) {
    match v {
        Value::Object(m) => {
            let table = m.get("kind") == Some(&json!("Table"));
            for (k, v) in m.iter_mut() {
                match (k.as_str(), &*v) {
                    ("resourceVersion", Value::String(s)) if !s.is_empty() => *v = json!("N"),
                    ("continue", Value::String(s)) if !s.is_empty() => *v = json!("TOKEN"),
                    ("nodePort" | "healthCheckNodePort", Value::Number(_)) => *v = json!("PORT"),
                    ("token", Value::String(_)) => *v = json!("TOKEN"),
                    ("storageVersionHash", _) => *v = json!("HASH"),
                    // Whose certificate it is, is the client's matter.
                    ("username", Value::String(s)) if matches!(s.as_str(), "admin" | "kubernetes-admin") => {
                        *v = json!("CLIENT");
                    }
                    ("managedFields", Value::Array(_)) => {
                        mask(v);
                        // Those of one second have no order.
                        if let Value::Array(l) = v {
                            l.sort_by_key(|m| ["manager", "operation", "subresource"].map(|k| m[k].to_string()));
                        }
                    }
                    _ => mask(v),
                }
            }
            if table {
                for row in m.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
                    for cell in row["cells"].as_array_mut().into_iter().flatten() {
                        if cell.as_str().is_some_and(is_age) {
                            *cell = json!("AGE");
                        }
                    }
                }
            }
        }
        Value::Array(l) => l.iter_mut().for_each(mask),
        Value::String(s) => {
            for (pattern, to) in &*MASKS {
                if pattern.is_match(s) {
                    *s = pattern.replace_all(s, *to).into_owned();
                }
            }
        }
        _ => {}
    }
}

/// `3s`, `2m5s`.
fn is_age(s: &str) -> bool {
    s.len() > 1
        && s.starts_with(|c: char| c.is_ascii_digit())
        && s.chars().all(|c| c.is_ascii_digit() || "smh".contains(c))
}
