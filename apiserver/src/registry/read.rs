//! Reading: get and list.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{NO_PAD, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::Value;

use super::{Resource, Server};
use crate::select::{FieldSelector, LabelSelector};
use crate::status::{Cause, Details, Status};
use crate::store::{Key, Object};

/// What a list asks for.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only objects with these labels.
    pub labels: Option<LabelSelector>,
    /// Only objects with these fields.
    pub fields: Option<FieldSelector>,
    /// At most so many; 0: all.
    pub limit: usize,
    /// Where the last page ended (an earlier answer's token).
    pub after: Option<String>,
    /// `resourceVersion`: not older than this; 0: whatever there is.
    pub not_older_than: u64,
    /// The list as it was at `not_older_than` exactly (`resourceVersionMatch=Exact`).
    pub exact: bool,
    /// Whether a `resourceVersion` was given that is not 0: a page knows its own.
    pub versioned: bool,
}

/// A list's answer.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// The objects, in the version asked for.
    pub objects: Vec<Arc<Object>>,
    /// Revision of the whole list.
    pub revision: u64,
    /// The token for the next page, when there is one.
    pub more: Option<String>,
    /// How many are behind this page, where that is known.
    pub remaining: Option<usize>,
}

/// A continue token (`k8s.io/apiserver/pkg/storage/continue.go`).
#[derive(Serialize)]
struct Token {
    #[serde(rename = "v")]
    api_version: &'static str,
    /// Revision of the first page; negative: whatever is there now (a list that was forgotten goes on so).
    #[serde(rename = "rv")]
    revision: i64,
    /// The first key that may come, below what is listed; a key and a zero byte are after that key.
    start: String,
}

/// The only version of tokens that there is.
const TOKENS: &str = "meta.k8s.io/v1";

impl Token {
    fn after(revision: i64, start: String) -> Self {
        Self {
            api_version: TOKENS,
            revision,
            start,
        }
    }

    fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Where the page begins, in a namespace or in all: the key, and whether it is left out itself.
    fn start(&self, r: &Resource, ns: Option<&str>) -> (Key, bool) {
        let (start, exclusive) = match self.start.strip_suffix('\0') {
            Some(key) => (key, true),
            None => (&*self.start, false),
        };
        let start = start.strip_prefix('/').unwrap_or(start);
        let key = match (ns, r.namespaced) {
            (Some(ns), _) => Key::new(ns, start),
            (None, true) => {
                let (ns, name) = start.split_once('/').unwrap_or((start, ""));
                Key::new(ns, name)
            }
            (None, false) => Key::new("", start),
        };
        (key, exclusive)
    }
}

impl ListOptions {
    /// Whether an object is asked for.
    #[must_use]
    pub fn matches(&self, value: &serde_json::Value) -> bool {
        self.labels
            .as_ref()
            .is_none_or(|l| l.matches(&value["metadata"]["labels"]))
            && self.fields.as_ref().is_none_or(|f| f.matches(value))
    }

    /// Whether everything is asked for.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.labels.as_ref().is_none_or(LabelSelector::is_everything)
            && self.fields.as_ref().is_none_or(FieldSelector::is_everything)
    }
}

impl Server {
    /// One object in the version of `r`.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, r: &Resource, ns: &str, name: &str) -> Result<Arc<Object>, Status> {
        r.present(&self.stored(r, ns, name)?)
    }

    /// One object as it is stored.
    pub(super) fn stored(&self, r: &Resource, ns: &str, name: &str) -> Result<Arc<Object>, Status> {
        let key = Key::new(if r.namespaced { ns } else { "" }, name);
        self.store
            .get(&r.storage, &key)
            .ok_or_else(|| Status::not_found(&r.group, &r.plural, name))
    }

    /// Objects (of `ns`), by namespace and name.
    ///
    /// # Errors
    /// 400 for a token that is none, 504 for a revision that is not there yet.
    pub fn list(&self, r: &Resource, ns: Option<&str>, o: &ListOptions) -> Result<List, Status> {
        let token = match &o.after {
            None => None,
            Some(t) => Some(decode(t).map_err(|why| {
                let why = format!("invalid continue token: continue key is not valid{why}");
                Status::bad_request(why)
            })?),
        };
        if token.is_some() && o.versioned {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        let ns = ns.filter(|_| r.namespaced);
        let start = token.as_ref().map(|t| t.start(r, ns));
        let after = start.as_ref().filter(|(_, exclusive)| *exclusive).map(|(key, _)| key);
        // A list of one name is a look-up.
        let exact = o
            .fields
            .as_ref()
            .and_then(|f| f.exact("metadata.name"))
            .filter(|_| (ns.is_some() || !r.namespaced) && !o.exact && token.is_none());
        let at = match &token {
            Some(t) => u64::try_from(t.revision).ok(),
            None => Some(o.not_older_than).filter(|_| o.exact),
        };
        let mut page = match (exact, at) {
            (Some(name), _) => {
                let mut page = crate::store::Page {
                    revision: self.store.revision(),
                    ..Default::default()
                };
                page.objects
                    .extend(self.store.get(&r.storage, &Key::new(ns.unwrap_or_default(), name)));
                page
            }
            (None, Some(rv)) => {
                // What was before this server served is gone, as after a compaction.
                let forgotten = rv < self.compacted() || rv <= 1;
                let then = if forgotten {
                    None
                } else {
                    self.store.list_at(&r.storage, ns, after, rv)
                };
                match (then, token) {
                    (Some(page), _) => page,
                    (None, Some(t)) => return Err(continue_expired(t)),
                    (None, None) => {
                        return Err(Status::expired("The resourceVersion for the provided list is too old."));
                    }
                }
            }
            (None, None) => self.store.list(&r.storage, ns, after),
        };
        if let Some((key, false)) = &start {
            page.objects
                .retain(|o| (o.namespace(), o.name()) >= (&*key.namespace, &*key.name));
        }
        if o.not_older_than > page.revision {
            let mut s = too_new(o.not_older_than, page.revision);
            // The storage below the caches, which events have none of, does not say when to come back.
            if r.custom.is_none()
                && r.plural == "events"
                && let Some(details) = &mut s.details
            {
                details.retry_after_seconds = 0;
            }
            return Err(s);
        }
        if o.limit > 0 {
            self.compacted();
        }
        let everything = o.is_everything();
        let mut list = List {
            revision: page.revision,
            ..List::default()
        };
        let total = page.objects.len();
        let mut first = None;
        for (i, stored) in page.objects.iter().enumerate() {
            let object = match r.present(stored) {
                Ok(o) => o,
                // All that has to be converted is noted in one go.
                Err(e) => {
                    first = Some(e);
                    continue;
                }
            };
            if !everything && !o.matches(&object.peek()) {
                continue;
            }
            list.objects.push(object);
            // Whether what there is beyond is selected is not looked at.
            if o.limit > 0 && list.objects.len() == o.limit && i + 1 < total {
                let last = &list.objects[list.objects.len() - 1];
                let below = match ns.is_some() || !r.namespaced {
                    true => String::new(),
                    false => format!("{}/", last.namespace()),
                };
                let start = format!("{below}{}\0", last.name());
                let revision = i64::try_from(list.revision).unwrap_or(i64::MAX);
                list.more = Some(Token::after(revision, start).encoded());
                list.remaining = everything.then_some(total - i - 1);
                break;
            }
        }
        match first {
            Some(e) => Err(e),
            None => Ok(list),
        }
    }
}

/// 410 of a token whose list is forgotten, with one to go on with (`storage.NewInconsistent...Continue`).
fn continue_expired(t: Token) -> Status {
    let again = Token::after(-1, t.start);
    let mut s = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
         results. Continuing with the provided token results in an inconsistent list - objects that were created, \
         modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    s.more = again.encoded();
    s
}

/// `DecodeContinue`.
///
/// # Errors
/// What is said after that the key is not valid.
fn decode(token: &str) -> Result<Token, String> {
    // Go lets the bits be that are left over.
    let lax = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
    let bytes = lax.decode(token).map_err(|_| {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        let bad = token.bytes().position(|b| !good(b));
        // Of what is too short, the start of the last group of four.
        format!(
            ": illegal base64 data at input byte {}",
            bad.unwrap_or(token.len() / 4 * 4)
        )
    })?;
    if let Some(why) = crate::schema::json_error(&bytes) {
        return Err(format!(": {why}"));
    }
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let mistaken = |of: &Value, field: &str, kind: &str| {
        let what = crate::schema::json_kind(of);
        format!(": json: cannot unmarshal {what} into Go {field} of type {kind}")
    };
    let text = |field: &str| match &said[field] {
        Value::Null => Ok(""),
        Value::String(s) => Ok(s.as_str()),
        other => Err(mistaken(
            other,
            &format!("struct field continueToken.{field}"),
            "string",
        )),
    };
    if !matches!(said, Value::Object(_) | Value::Null) {
        return Err(mistaken(&said, "value", "storage.continueToken"));
    }
    let revision = match &said["rv"] {
        Value::Null => 0,
        number => number
            .as_i64()
            .ok_or_else(|| mistaken(number, "struct field continueToken.rv", "int64"))?,
    };
    let (version, start) = (text("v")?, text("start")?);
    if version != TOKENS {
        return Err(format!(": server does not recognize this encoded version {version}"));
    }
    if revision == 0 {
        return Err(format!(": incorrect encoded start resourceVersion (version {TOKENS})"));
    }
    if start.is_empty() {
        return Err(format!(": encoded start key empty (version {TOKENS})"));
    }
    // Nobody gets out of what is listed (`path.Clean`).
    let mut parts = start.strip_prefix('/').unwrap_or(start).split('/');
    if parts.any(|p| matches!(p, "" | "." | "..")) {
        return Err(format!(": {start}"));
    }
    Ok(Token::after(revision, start.to_owned()))
}

/// 504 of a resourceVersion from the future (`storage.NewTooLargeResourceVersionError`).
pub(crate) fn too_new(asked: u64, current: u64) -> Status {
    let cause = Cause::new("ResourceVersionTooLarge", "", "Too large resource version");
    let details = Details {
        causes: vec![cause],
        retry_after_seconds: 1,
        ..Details::default()
    };
    Status {
        details: Some(Box::new(details)),
        ..Status::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        )
    }
}
