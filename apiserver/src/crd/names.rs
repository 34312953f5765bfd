//! Which names definitions get (`apiextensions-apiserver/pkg/controller/{status,establish}`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::DEFINITIONS;
use crate::controllers::object::{Object, set_condition};
use crate::registry::{Server, text};
use crate::schema::quote;
use crate::store::Key;

/// Gives definitions the names they ask for, where nobody of their group has them, and establishes those that have
/// all. What the controllers do in the background is done here at once.
pub(super) fn settle(server: &Server) {
    let Some(resource) = server
        .catalog
        .find(&DEFINITIONS.group, &DEFINITIONS.version, &DEFINITIONS.resource)
    else {
        return;
    };
    let mut all: Vec<Value> = Vec::new();
    for o in server.store.list(&DEFINITIONS, None, None).objects {
        all.push((*o.value()).clone());
    }
    for i in 0..all.len() {
        if !all[i]["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let name = text(&all[i], "/metadata/name").to_owned();
        let key = Key::new("", name.as_str());
        let now = server.clock.now();
        let others = all.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, o)| o);
        let status = accepted(&all[i], others, now);
        if status == all[i]["status"] {
            continue;
        }
        let Some(o) = server.store.get(&DEFINITIONS, &key) else {
            continue;
        };
        let mut v = (*o.value()).clone();
        v["status"] = status;
        if let Ok(written) = server.put_own_status(&resource, &o, v) {
            all[i] = (*written.value()).clone();
        }
    }
}

/// `calculateNamesAndConditions`, and the controller that establishes.
fn accepted<'a>(v: &Value, others: impl Iterator<Item = &'a Value>, now: Timestamp) -> Value {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for other in others.filter(|o| o["spec"]["group"] == v["spec"]["group"]) {
        let names = &other["status"]["acceptedNames"];
        for (of, fields) in [
            (&mut resources, ["/plural", "/singular"]),
            (&mut kinds, ["/kind", "/listKind"]),
        ] {
            of.extend(fields.iter().map(|f| text(names, f).to_owned()));
        }
        resources.extend(short_names(names).map(str::to_owned));
    }
    let (wanted, had) = (&v["spec"]["names"], &v["status"]["acceptedNames"]);
    let mut names = had.clone();
    let mut conflict = None;
    for field in ["plural", "singular", "shortNames", "kind", "listKind"] {
        let taken = if matches!(field, "kind" | "listKind") {
            &kinds
        } else {
            &resources
        };
        let in_use: Vec<String> = if field == "shortNames" {
            let had: Vec<&str> = short_names(had).collect();
            let new = short_names(wanted).filter(|n| !had.contains(n) && taken.contains(*n));
            new.map(|n| format!("{} is already in use", quote(n))).collect()
        } else {
            let name = text(wanted, &format!("/{field}"));
            let fresh = name == text(had, &format!("/{field}")) || !taken.contains(name);
            (!fresh)
                .then(|| format!("{} is already in use", quote(name)))
                .into_iter()
                .collect()
        };
        if in_use.is_empty() {
            put(&mut names, field, &wanted[field]);
        } else {
            let mut reason = field.to_owned();
            reason[..1].make_ascii_uppercase();
            let message = match in_use.as_slice() {
                [one] => one.clone(),
                all => format!("[{}]", all.join(", ")),
            };
            conflict = Some((format!("{reason}Conflict"), message));
        }
    }
    put(&mut names, "categories", &wanted["categories"]);
    let mut of = v.clone();
    of["status"]["acceptedNames"] = names;
    let good = conflict.is_none();
    let (reason, message) = conflict.unwrap_or_else(|| ("NoConflicts".into(), "no conflicts found".into()));
    let mut set = |kind: &str, is: bool, reason: &str, message: &str| {
        let status = if is { "True" } else { "False" };
        set_condition(&mut of, kind, status, reason, message, now);
    };
    set("NamesAccepted", good, &reason, &message);
    let established = v.condition("Established");
    if good && established.is_none_or(|c| c["status"] != "True") {
        let message = "the initial names have been accepted";
        set("Established", true, "InitialNamesAccepted", message);
    } else if established.is_none() {
        set("Established", false, "NotAccepted", "not all names are accepted");
    }
    of["status"].take()
}

fn short_names(names: &Value) -> impl Iterator<Item = &str> {
    let all = names["shortNames"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(Value::as_str)
}

fn put(names: &mut Value, field: &str, value: &Value) {
    match names.as_object_mut() {
        Some(m) if value.is_null() => drop(m.remove(field)),
        Some(m) => drop(m.insert(field.to_owned(), value.clone())),
        None => *names = json!({field: value}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn thing(names: Value, status: Value) -> Value {
        json!({"spec": {"group": "x.io", "names": names}, "status": status})
    }

    #[test]
    fn names_go_to_who_has_them_first() {
        let own = json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList", "shortNames": ["th", "t"]});
        let new = thing(
            own.clone(),
            json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null}),
        );
        let told = |status: &Value| -> Vec<String> {
            let all = status["conditions"].as_array().into_iter().flatten();
            all.map(|c| {
                format!(
                    "{}={} {}: {}",
                    text(c, "/type"),
                    text(c, "/status"),
                    text(c, "/reason"),
                    text(c, "/message")
                )
            })
            .collect()
        };
        let free = accepted(&new, std::iter::empty(), THEN);
        assert_eq!(free["acceptedNames"], own);
        let good = [
            "NamesAccepted=True NoConflicts: no conflicts found",
            "Established=True InitialNamesAccepted: the initial names have been accepted",
        ];
        assert_eq!(told(&free), good);
        for (other, reason) in [
            (
                json!({"plural": "x", "kind": "Thing"}),
                "KindConflict: \"Thing\" is already in use",
            ),
            (
                json!({"plural": "thing", "kind": "X"}),
                "SingularConflict: \"thing\" is already in use",
            ),
            (
                json!({"plural": "x", "kind": "X", "shortNames": ["t"]}),
                "ShortNamesConflict: \"t\" is already in use",
            ),
        ] {
            let other = thing(json!({}), json!({"acceptedNames": other}));
            let status = accepted(&new, [&other].into_iter(), THEN);
            let wanted = [
                format!("NamesAccepted=False {reason}"),
                "Established=False NotAccepted: not all names are accepted".to_owned(),
            ];
            assert_eq!(told(&status), wanted);
        }
        // What is established stays so, since when it is.
        let later = accepted(
            &thing(own, free.clone()),
            std::iter::empty(),
            THEN + Duration::from_secs(60),
        );
        assert_eq!(later, free);
    }
}
