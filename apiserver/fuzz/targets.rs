//! What is fuzzed, each a function of a text: it returns when all is well. `src/bin` gives them to libFuzzer; the test
//! `fuzz` plays the kept corpus, without it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_apiserver::cron::Schedule;
use cfn_apiserver::http::{read_yaml, yaml_text};
use cfn_apiserver::patch::{FieldSet, apply, json_patch, merge_patch, strategic_merge_patch, track_update, unfolded};
use cfn_apiserver::schema::{SchemaRef, apply_defaults, prune, read, schema_errors, unknown_fields, validate};
use cfn_apiserver::select::{FieldSelector, LabelSelector};
use cfn_net::{Net, Seed, Transport, VirtualClock};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// A target's name and its function.
pub type Target = (&'static str, fn(&str));

/// All of them.
pub const TARGETS: [Target; 8] = [
    ("patches", patches),
    ("selectors", selectors),
    ("schemas", schemas),
    ("requests", requests),
    ("expressions", expressions),
    ("documents", documents),
    ("schedules", schedules),
    ("patterns", patterns),
];

/// A document of YAML or JSON: what is read can be written, and is read again as what it was.
pub fn documents(text: &str) {
    let json: Option<Value> = serde_json::from_str(text).ok();
    let Ok(value) = read_yaml(text.as_bytes()) else {
        return;
    };
    if let Some(json) = json.filter(Value::is_object) {
        assert_eq!(value, json, "JSON is YAML");
    }
    let written = yaml_text(&value);
    assert_eq!(read_yaml(written.as_bytes()), Ok(value), "{written}");
}

/// A schedule: each of its times is later than the one before, and no time between two is one.
pub fn schedules(text: &str) {
    let Ok(schedule) = Schedule::parse(text) else { return };
    let utc = jiff::tz::TimeZone::UTC;
    let mut at = "2024-02-28T23:59:30Z".parse().expect("a time");
    for _ in 0..5 {
        let Some(next) = schedule.next_after(at, &utc) else {
            return;
        };
        assert!(next > at, "{next} is not later than {at}");
        let before = jiff::Timestamp::from_second(next.as_second() - 1).expect("a time");
        if !text.contains("@every") && before > at {
            assert_eq!(schedule.next_after(before, &utc), Some(next), "from just before");
        }
        at = next;
    }
}

/// What of Go's patterns is known not to be read here: a repetition behind flags.
const FLAGS_REPEATED: [&str; 4] = [")*", ")+", ")?", "){"];

/// A pattern and a text, each on a line: what Go can read is read here too, and a text between `\\Q` and `\\E` is itself.
pub fn patterns(text: &str) {
    let (pattern, text) = text.split_once('\n').unwrap_or((text, ""));
    match cfn_cel::pattern::compile(pattern) {
        Ok(regex) => drop(regex.is_match(text)),
        Err(why) => assert!(
            !why.contains("is not supported") || FLAGS_REPEATED.iter().any(|f| pattern.contains(f)),
            "{pattern} is not read: {why}"
        ),
    }
    if !text.contains("\\E") {
        let own = cfn_cel::pattern::compile(&format!("^\\Q{text}\\E$"));
        assert!(own.is_ok_and(|own| own.is_match(text)), "{text} is not itself");
    }
}

/// An expression: whether its types fit is told the same twice, what fits can be read, what it costs and its value are found in any case.
pub fn expressions(text: &str) {
    let own = ["s", "t"].map(|f| (f.to_owned(), cfn_cel::Type::Text));
    let own = own
        .into_iter()
        .chain([("l".to_owned(), cfn_cel::Type::list(cfn_cel::Type::Int))]);
    let environment = cfn_cel::Environment {
        variables: [("self".to_owned(), cfn_cel::Type::object("self", own))].into(),
        bindings: true,
        patches: true,
    };
    let told = cfn_cel::check(text, &environment);
    match cfn_cel::Expression::compile(text, &environment) {
        Ok(expression) => {
            assert_eq!(told.as_ref(), Ok(expression.value_type()), "checked twice");
            assert!(cfn_cel::Program::read(text).is_ok(), "what fits can be read");
            let _ = expression.cost(&cfn_cel::cost::Shape::default());
            drop(expression.instantiate());
        }
        Err(why) => assert_eq!(told, Err(why), "checked twice"),
    }
    if let Ok(program) = cfn_cel::Program::read(text) {
        let own = cfn_cel::Value::from_json(&serde_json::json!({"s": "a", "t": "2024-01-02", "l": [1, 2, 3]}));
        let scope = cfn_cel::Scope::from([("self".to_owned(), own)]);
        let value = |r: Result<cfn_cel::Value, cfn_cel::CelError>| r.map(|v| v.to_json());
        // NaN is not itself, but has no form in JSON.
        assert_eq!(
            value(program.evaluate(&scope)),
            value(program.evaluate(&scope)),
            "evaluated twice"
        );
    }
}

/// `KIND`, an object and a patch, each on a line of its own. KIND: `json`, `merge`, or a kind of [`schema_of`] for a
/// strategic merge and an apply.
pub fn patches(text: &str) {
    let mut lines = text.splitn(3, '\n');
    let (Some(kind), Some(object), Some(patch)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let Some((object, patch)) = both(object, patch) else {
        return;
    };
    match kind {
        "json" => drop(json_patch(&object, &patch)),
        "merge" => {
            if let Ok(once) = merge_patch(&object, &patch) {
                assert_eq!(
                    merge_patch(&once, &patch).ok().as_ref(),
                    Some(&once),
                    "merged twice (RFC 7396)"
                );
            }
        }
        kind => {
            let Some(schema) = schema_of(kind) else { return };
            let nothing = Value::Object(serde_json::Map::new());
            if object.is_object()
                && let Ok(same) = strategic_merge_patch(&object, &nothing, &schema)
            {
                assert_eq!(same, object, "a patch that says nothing");
            }
            drop(strategic_merge_patch(&object, &patch, &schema));
            applied(&object, &patch, &schema);
        }
    }
}

/// Two documents, where both can be read.
fn both(one: &str, other: &str) -> Option<(Value, Value)> {
    Some((serde_json::from_str(one).ok()?, serde_json::from_str(other).ok()?))
}

/// The kinds whose objects are patched, with every sort of list and map between them.
fn schema_of(kind: &str) -> Option<SchemaRef> {
    let (group, version) = match kind {
        "Pod" | "Service" | "ConfigMap" | "Node" => ("", "v1"),
        "Deployment" => ("apps", "v1"),
        "NetworkPolicy" => ("networking.k8s.io", "v1"),
        _ => return None,
    };
    SchemaRef::for_gvk(group, version, kind)
}

/// One writes, another applies, the first applies again: what each owns can be written and read.
fn applied(object: &Value, patch: &Value, schema: &SchemaRef) {
    const NOW: &str = "2026-01-01T00:00:00Z";
    if !object["metadata"].is_object() || !patch["metadata"].is_object() {
        return;
    }
    let mut live = object.clone();
    track_update(None, &mut live, "one", "", schema, NOW, &[".status"]);
    owned(&live);
    for (manager, force) in [("two", false), ("two", true), ("one", true)] {
        if let Ok(next) = apply(Some(&live), patch, manager, schema, force, "", NOW, &[".status"]) {
            owned(&next);
            live = next;
        }
    }
}

fn owned(object: &Value) {
    let object = unfolded(object);
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let fields = &entry["fieldsV1"];
        if let Some(set) = FieldSet::parse(fields) {
            let mut text = String::new();
            set.write(&mut text);
            let again = serde_json::from_str(&text).expect("JSON");
            assert_eq!(FieldSet::parse(&again), Some(set), "{fields}");
        }
    }
}

/// A selector of labels, one of fields, and labels as JSON, each on a line.
pub fn selectors(text: &str) {
    let mut lines = text.splitn(3, '\n');
    let labels = lines.next().map(LabelSelector::parse);
    let fields = lines.next().map(FieldSelector::parse);
    let object: Value = lines
        .next()
        .and_then(|l| serde_json::from_str(l).ok())
        .unwrap_or_default();
    if let Some(Ok(s)) = &labels {
        let _ = s.matches(&object);
        assert!(!(s.is_everything() && s.is_nothing()));
        assert!(!s.is_everything() || s.matches(&object));
    }
    if let Some(Ok(s)) = &fields {
        let _ = s.check("", "Pod", None);
        let _ = s.check("example.org", "Thing", Some(&["spec.a".to_owned()]));
        assert!(!s.is_everything() || s.matches(&object));
    }
    if let Ok(s) = LabelSelector::from_object(&object) {
        let _ = s.matches(&object["matchLabels"]);
    }
}

/// A custom resource's schema and an object, each on a line.
pub fn schemas(text: &str) {
    let Some((schema, object)) = text.split_once('\n') else {
        return;
    };
    let Some((schema, object)) = both(schema, object) else {
        return;
    };
    let wrong = schema_errors(&schema);
    let Ok(schema) = SchemaRef::from_crd(&schema) else {
        return;
    };
    let mut deployment = object.clone();
    if read("apps/v1", "Deployment", &mut deployment).is_ok() {
        let once = deployment.clone();
        assert_eq!(read("apps/v1", "Deployment", &mut deployment), Ok(()));
        assert_eq!(once, deployment, "read twice");
    }
    let _ = validate(&schema, &object);
    let mut pruned = object;
    prune(&schema, &mut pruned);
    if !wrong.is_empty() {
        return;
    }
    assert_eq!(
        unknown_fields(&schema, &pruned),
        Vec::<String>::new(),
        "unknown after pruning"
    );
    let mut defaulted = pruned;
    apply_defaults(&schema, &mut defaulted);
    let mut again = defaulted.clone();
    apply_defaults(&schema, &mut again);
    assert_eq!(again, defaulted, "defaulted twice");
    let _ = validate(&schema, &defaulted);
}

/// A server that has been asked so often begins anew: what is created stays.
const LIFE: usize = 5_000;

/// A cluster without controllers, in a runtime of its own.
struct Bed {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
    _cluster: Cluster,
    asked: std::cell::Cell<usize>,
}

impl Bed {
    fn start() -> Option<Self> {
        // Watches do not end by themselves: virtual time ends them.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .ok()?;
        let net = Net::new(Transport::Memory, Seed(7));
        net.add_host("hub", "cloud");
        let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().ok()?));
        let options = ClusterOptions {
            controllers: false,
            ..ClusterOptions::new("hub", net, clock, Seed(7))
        };
        let (cluster, client) = runtime.block_on(async {
            let cluster = Cluster::start(options).await.ok()?;
            let client = cluster.client();
            Some((cluster, client))
        })?;
        Some(Self {
            client,
            _cluster: cluster,
            runtime,
            asked: std::cell::Cell::new(0),
        })
    }
}

thread_local! {
    static BED: std::cell::RefCell<OnceCell<Bed>> = const { std::cell::RefCell::new(OnceCell::new()) };
}

/// A request: `METHOD URI`, headers, an empty line and a body, as on the wire. Every one is answered in time, none with an internal error.
pub fn requests(text: &str) {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let Some((method, uri)) = lines.next().and_then(|l| l.split_once(' ')) else {
        return;
    };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else {
        return;
    };
    if uri.scheme().is_some() || !uri.path().starts_with('/') {
        return;
    }
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in lines.filter_map(|l| l.split_once(": ")) {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            return;
        };
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::from(body.as_bytes().to_vec())) else {
        return;
    };
    BED.with_borrow_mut(|cell| {
        if cell.get().is_some_and(|b| b.asked.get() >= LIFE) {
            cell.take();
        }
        if cell.get().is_none() {
            let _ = cell.set(Bed::start().expect("a cluster starts"));
        }
        let Some(bed) = cell.get() else { return };
        bed.asked.set(bed.asked.get() + 1);
        bed.runtime.block_on(async {
            let asked = tokio::time::timeout(Duration::from_secs(120), bed.client.send(request));
            let answer = asked.await.expect("an answer in time").expect("an answer");
            let read = tokio::time::timeout(Duration::from_secs(5), answer.into_body().collect()).await;
            let said = read.ok().and_then(Result::ok).map(|b| b.to_bytes()).unwrap_or_default();
            // A kube-apiserver answers 500 to some that are the client's fault, without a reason; and here are no nodes.
            let said: Value = serde_json::from_slice(&said).unwrap_or_default();
            let of_a_node = said["message"].as_str().is_some_and(|m| m.ends_with("does not answer"));
            assert!(
                of_a_node || said["kind"] != "Status" || said["reason"] != "InternalError",
                "{said}"
            );
        });
    });
}
