//! Requests for resources: from the request's parts to the registry and back.

mod connect;
mod containers;
mod options;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use self::connect::Connect;
use self::options::{Said, WriteOptions, dry_run_causes, number_of, revision};
use super::decode;
use super::info::{RequestInfo, path_segment_error};
use super::negotiate::{Accepted, Form, accepted, routed};
use super::output::Output;
use super::route::route;
use super::watch::{Watch, WatchOptions};
use super::{Annotations, Answer, Incoming, ResponseBody, with_type};
use crate::auth::{is_review, review};
use crate::registry::{
    Call, DeleteOptions, Deleted, FieldValidation, ListOptions, PatchKind, Resource, Server, Target, Written,
    answers_with_object, group_version, nameless, same_name, text, warn_of_orphans,
};
use crate::select::{FieldSelector, LabelSelector};
use crate::status::Status;
use crate::table::IncludeObject;
use crate::webhook::Hooks;

pub(super) async fn serve(
    server: &Arc<Server>,
    r: &Incoming,
    info: &RequestInfo,
    annotations: &mut Annotations,
) -> Result<Answer, Status> {
    super::authorize(server, &r.user, &info.attributes(), annotations).await?;
    let route = route(&server.catalog, r, info)?;
    let resource = route.resource;
    // What is asked for, as its route has it.
    let info = match info.verb == route.verb && info.subresource == route.subresource {
        true => Cow::Borrowed(info),
        false => Cow::Owned(RequestInfo {
            verb: route.verb,
            subresource: route.subresource,
            ..info.clone()
        }),
    };
    let info = &*info;
    // The namespace itself stands where other paths have the namespace.
    let ns = if resource.namespaced {
        info.namespace.as_str()
    } else {
        ""
    };
    if resource.custom.is_none() {
        routed(&r.headers, matches!(info.verb, "list" | "watch"))?;
    }
    if let Some(kind) = connect::options_kind(&resource, &info.subresource) {
        let connect = Connect {
            server,
            r,
            info,
            resource: &resource,
            ns,
        };
        return connect.serve(kind, annotations).await;
    }
    let mut warnings = Vec::new();
    if resource.is("", "endpoints") {
        let w = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        warnings.push(w.to_owned());
    }
    if resource.is("", "componentstatuses") {
        warnings.push("v1 ComponentStatus is deprecated in v1.19+".to_owned());
    }
    warnings.extend(resource.custom.as_ref().and_then(|c| c.deprecation.clone()));
    if info.name.is_empty() && matches!(info.verb, "get" | "update" | "patch") {
        return Err(Status::bad_request("name must be provided"));
    }
    let forms = accepted(
        &r.headers,
        has_tables(&resource, &info.subresource),
        resource.custom.is_none(),
    );
    let understood = forms.and_then(|accepted| {
        // Creating looks at the body's type first.
        if info.verb == "create" {
            decode::check_media_type(media_type(&r.headers).as_deref())?;
        }
        Ok((accepted, call_of(r, info.verb)?))
    });
    let (accepted, mut call) = match understood {
        Ok(understood) => understood,
        Err(s) => return Ok(warned(super::refusal(r, &s), &warnings)),
    };
    call.warnings = warnings;
    // What a table shows of the objects is read when it is made.
    let include = match r.query.first("includeObject").filter(|t| !t.is_empty()) {
        Some(t) if accepted.form == Form::Table => IncludeObject::parse(t)
            .ok_or_else(|| Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', 'None', or empty",
                crate::schema::quote(t)
            ))),
        _ => Ok(IncludeObject::Metadata),
    };
    let output = Output {
        accepted,
        include: include.as_ref().copied().unwrap_or_default(),
        now: server.clock.now(),
    };
    let request = Request {
        server,
        r,
        info,
        resource: &resource,
        ns,
        output,
    };
    // A refusal carries its warnings, too.
    let answer = match (info.verb, info.subresource.as_str()) {
        ("deletecollection", "") => request.delete_collection(&mut call).await,
        ("watch", "") => request.watch(),
        _ => {
            server
                .with_hooks(&mut call, &resource, |call| request.answer(call))
                .await
        }
    };
    let answer = answer
        .and_then(|a| include.map(|_| a))
        .unwrap_or_else(|s| super::refusal(r, &s));
    annotations.append(&mut call.annotations);
    Ok(warned(answer, &call.warnings))
}

/// Whether what a subresource shows comes as a table, too: its storage is a `TableConvertor`.
fn has_tables(r: &Resource, subresource: &str) -> bool {
    let without = [
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
        ("resource.k8s.io", "resourceclaims"),
    ];
    let none = subresource == "status" && without.iter().any(|(group, plural)| r.is(group, plural));
    !(none || is_review(r) || matches!(subresource, "approval" | "finalize" | "token"))
}

/// An answer with warnings.
fn warned(mut answer: Answer, warnings: &[String]) -> Answer {
    for w in crate::registry::warning_headers(warnings) {
        if let Ok(v) = HeaderValue::from_bytes(w.as_bytes()) {
            answer.headers_mut().append(header::WARNING, v);
        }
    }
    answer
}

struct Request<'a> {
    server: &'a Arc<Server>,
    r: &'a Incoming,
    info: &'a RequestInfo,
    resource: &'a Arc<Resource>,
    ns: &'a str,
    output: Output,
}

/// Type of a body, without its parameters; `None`: what is said is none.
fn media_type(headers: &http::HeaderMap) -> Option<Cow<'_, str>> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    match said.unwrap_or_default() {
        "" => Some(Cow::Borrowed("application/json")),
        said => decode::media_type(said),
    }
}

fn call_of(r: &Incoming, verb: &str) -> Result<Call, Status> {
    let patch = (verb == "patch").then(|| {
        let said = media_type(&r.headers).unwrap_or_default();
        matches!(PatchKind::of(&said), Some(PatchKind::Apply { .. }))
    });
    let options = match verb {
        "create" | "update" | "patch" => WriteOptions::read(&r.query, verb, patch)?,
        _ => WriteOptions {
            dry_run: false,
            validation: FieldValidation::Warn,
        },
    };
    let agent = r
        .headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("unknown");
    let agent = agent.split('/').next().unwrap_or(agent);
    Ok(Call {
        user: r.user.clone(),
        manager: r.query.get("fieldManager").unwrap_or(agent).to_owned(),
        dry_run: options.dry_run,
        validation: Some(options.validation),
        duplicates: Vec::new(),
        warnings: Vec::new(),
        annotations: Annotations::new(),
        hooks: Some(Hooks::default()),
    })
}

impl Request<'_> {
    fn answer(&self, call: &mut Call) -> Result<Answer, Status> {
        let (server, r, ns, name) = (self.server, &**self.resource, self.ns, self.info.name.as_str());
        let sub = self.info.subresource.as_str();
        let target = Target {
            resource: r,
            namespace: ns,
            name,
            subresource: Some(sub).filter(|s| !s.is_empty()),
        };
        if let Some(why) = path_segment_error(name)
            && !matches!(self.info.verb, "create" | "list" | "update")
        {
            return Err(no_name(name, &why));
        }
        if self.info.verb == "get"
            && matches!(sub, "" | "status" | "scale")
            && let Some(t) = self.r.query.first("resourceVersion").filter(|t| !t.is_empty())
        {
            revision(t).map_err(|why| match r.plural == "events" && r.custom.is_none() {
                // Events are in no cache: the storage below tells.
                true => Status::bad_request(format!("invalid resource version: {why}")),
                false => Status::new(500, "", why),
            })?;
        }
        match (self.info.verb, sub) {
            ("get", "scale") => self.output.other(200, &server.get_scale(r, ns, name)?),
            ("get", "log") => self.log(),
            ("get", _) => self.output.object(200, r, &server.get(r, ns, name)?),
            ("list", "") => {
                let namespace = Some(self.info.namespace.as_str()).filter(|n| !n.is_empty());
                self.output.list(r, &server.list(r, namespace, &self.which()?)?)
            }
            ("create", "") => self.create(call),
            ("create", "binding") => {
                let body = self.object_body(call)?;
                decode::check_namespace(&body, ns)?;
                server.bind(call, r, ns, name, &body)?;
                self.output.other(201, &success(None))
            }
            ("create", "eviction") => {
                let body = self.object_body(call)?;
                decode::check_namespace(&body, ns)?;
                server.evict(call, r, ns, name, &body)?;
                self.output.other(201, &success(None))
            }
            ("create", "token") => {
                let mut body = self.object_body(call)?;
                decode::own_metadata(&mut body, ns)?;
                self.output.other(201, &server.token_request(call, ns, name, &body)?)
            }
            ("update", "scale") => {
                let body = self.object_body(call)?;
                self.named(&body)?;
                self.output.other(200, &server.put_scale(call, &target, &body)?)
            }
            ("update", _) => {
                let body = self.object_body(call)?;
                self.named(&body)?;
                self.written(&server.update(call, &target, body)?)
            }
            ("patch", "scale") => {
                let (kind, body) = self.patch_body(call)?;
                self.output.other(200, &server.patch_scale(call, &target, kind, &body)?)
            }
            ("patch", _) => {
                let (kind, body) = self.patch_body(call)?;
                // Through a subresource nothing comes to be.
                if matches!(kind, PatchKind::Apply { .. }) && !sub.is_empty() {
                    server.get(r, ns, name)?;
                }
                self.written(&server.patch(call, &target, kind, &body)?)
            }
            ("delete", "") => {
                let options = self.delete_options(call)?;
                let done = server.delete(call, r, ns, name, &options)?;
                self.deleted(&done, if !done.now && options.lets_go { 202 } else { 200 })
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// Checks the name in a body, then whether the storage takes it at all.
    fn named(&self, body: &Value) -> Result<(), Status> {
        let (name, said) = (self.info.name.as_str(), text(body, "/metadata/name"));
        match path_segment_error(name) {
            None => Ok(()),
            Some(_) if said.is_empty() => Err(nameless(name)),
            Some(why) => {
                same_name(said, name)?;
                Err(no_name(name, &why))
            }
        }
    }

    /// One object after the other, each with the webhooks that are about it.
    async fn delete_collection(&self, call: &mut Call) -> Result<Answer, Status> {
        let (server, r) = (self.server, &**self.resource);
        let namespace = Some(self.info.namespace.as_str()).filter(|n| !n.is_empty());
        let which = self.which()?;
        let options = self.delete_options(call)?;
        warn_of_orphans(call, r, &options);
        let list = server
            .with_hooks(call, r, |_| server.list(r, namespace, &which))
            .await?;
        for o in &list.objects {
            let delete = |call: &mut Call| server.delete(call, r, o.namespace(), o.name(), &options);
            match server.with_hooks(call, r, delete).await {
                Err(s) if !s.is_not_found() => return Err(s),
                _ => {}
            }
        }
        self.output.list(r, &list)
    }

    fn create(&self, call: &mut Call) -> Result<Answer, Status> {
        let (server, r) = (self.server, &**self.resource);
        let mut body = self.object_body(call)?;
        if is_review(r) {
            server.fit_schema(call, r, &mut body)?;
            decode::own_metadata(&mut body, self.ns)?;
        }
        if let Some(v) = review(server, &call.user, &call.manager, r, self.ns, &body) {
            let v = v?;
            return self.output.other(201, &v);
        }
        if r.is("", "bindings") {
            let pods = server.catalog.find("", "v1", "pods").ok_or_else(Status::no_such_path)?;
            server.bind(call, &pods, self.ns, text(&body, "/metadata/name"), &body)?;
            return self.output.other(201, &success(None));
        }
        let o = server.create(call, r, self.ns, None, body)?;
        self.output.object(201, r, &o)
    }

    fn written(&self, w: &Written) -> Result<Answer, Status> {
        self.output
            .object(if w.created { 201 } else { 200 }, self.resource, &w.object)
    }

    fn deleted(&self, d: &Deleted, code: u16) -> Result<Answer, Status> {
        let r = &**self.resource;
        if !d.now || answers_with_object(r) {
            return self.output.object(code, r, &d.object);
        }
        let details = json!({"name": d.object.name(), "group": r.group, "kind": r.plural, "uid": text(&d.object.value(), "/metadata/uid")});
        let mut s = success(Some(details));
        if r.group.is_empty()
            && let Some(m) = s["details"].as_object_mut()
        {
            m.remove("group");
        }
        self.output.other(200, &s)
    }

    /// What a list, a watch or a deletion of many asks for: read, then checked, in upstream's order.
    fn which(&self) -> Result<ListOptions, Status> {
        let q = &self.r.query;
        let said = |key: &str| q.first(key).filter(|t| !t.is_empty());
        number_of(q, "timeoutSeconds")?;
        let limit = number_of(q, "limit")?.unwrap_or_default();
        let labels = said("labelSelector").map(LabelSelector::parse).transpose();
        let labels = labels.map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = said("fieldSelector").map(FieldSelector::parse).transpose();
        let mut fields = fields.map_err(|e| Status::bad_request(e.to_string()))?;
        let version = said("resourceVersion");
        let after = said("continue").map(str::to_owned);
        let matching = said("resourceVersionMatch");
        let wanted = Said {
            matching,
            version,
            initial: q.has("sendInitialEvents"),
            continues: after.is_some(),
        };
        // The old paths to watch do not say so in their query.
        wanted.check(q.is("watch"))?;
        if let Some(f) = &fields {
            let selectable = self.resource.custom.as_ref().map(|c| c.selectable.as_slice());
            f.check(&self.resource.group, &self.resource.kind, selectable)
                .map_err(|e| Status::bad_request(e.to_string()))?;
        }
        let name = self.info.name.as_str();
        if !name.is_empty() {
            match fields.as_ref().filter(|f| !f.is_everything()) {
                Some(f) if f.exact("metadata.name") != Some(name) => {
                    let why = "fieldSelector metadata.name doesn't match requested name";
                    return Err(Status::bad_request(why));
                }
                Some(_) => {}
                None => fields = Some(FieldSelector::name(name)),
            }
        }
        // Of a page only its token counts.
        let page = after.is_some() && self.info.verb != "watch";
        let rv = version.filter(|_| !page).map_or(Ok(0), |t| {
            revision(t).map_err(|why| match self.info.verb {
                "watch" => Status::new(500, "", why),
                _ => Status::bad_request(format!("invalid resource version: {why}")),
            })
        })?;
        Ok(ListOptions {
            labels,
            fields,
            // What is cached is given whole; a negative limit is none.
            limit: usize::try_from(limit)
                .ok()
                .filter(|_| version != Some("0"))
                .unwrap_or(0),
            not_older_than: rv,
            exact: matching == Some("Exact"),
            versioned: version.is_some_and(|v| v != "0"),
            after,
        })
    }

    fn watch(&self) -> Result<Answer, Status> {
        let q = &self.r.query;
        let which = self.which()?;
        // Who names no version asks for what is there and its end (`SetListOptionsDefaults`).
        let legacy = which.not_older_than == 0;
        let initial = match q.has("sendInitialEvents") {
            true => Some(q.is("sendInitialEvents")),
            false => legacy.then_some(true),
        };
        let options = WatchOptions {
            namespace: Some(self.info.namespace.clone()).filter(|n| !n.is_empty()),
            since: Some(which.not_older_than).filter(|r| *r > 0),
            which: ListOptions {
                limit: 0,
                after: None,
                ..which
            },
            bookmarks: q.is("allowWatchBookmarks"),
            initial,
            timeout: q.number("timeoutSeconds").map(Duration::from_secs),
        };
        let Accepted { form, encoding, .. } = self.output.accepted;
        let Some(kind) = encoding.stream_type().filter(|_| form != Form::Discovery) else {
            return Err(Status::not_acceptable(super::negotiate::STREAMS));
        };
        let w = Watch::new(self.server, self.resource.clone(), options, self.output);
        let mut a = with_type(200, kind, Bytes::new());
        *a.body_mut() = ResponseBody::watch(w);
        *a.status_mut() = StatusCode::OK;
        Ok(a)
    }

    /// The object in the body; fields it has twice are noted in `call`.
    fn object_body(&self, call: &mut Call) -> Result<Value, Status> {
        let (api_version, kind) = decode::type_of(self.resource, &self.info.subresource);
        let body = decode::Body {
            media_type: media_type(&self.r.headers),
            bytes: &self.r.body,
            kind,
        };
        let parsed = match self.resource.custom.is_some() && self.info.subresource != "scale" {
            true => body.read_typed(api_version, call.validation == Some(FieldValidation::Ignore))?,
            false => body.read()?,
        };
        if self.resource.custom.is_none() || !self.info.subresource.is_empty() {
            decode::check_type(&self.server.catalog, &parsed.value, api_version, kind)?;
        }
        let read = match (self.resource.custom.is_some(), self.info.subresource.as_str()) {
            (_, "scale" | "binding" | "eviction" | "token") => {
                crate::schema::read(api_version, kind, &mut parsed.value.clone())
            }
            (true, _) => decode::read_metadata(&parsed.value),
            _ => Ok(()),
        };
        read.map_err(|why| Status::not_handled(kind, group_version(api_version).1, kind, &why))?;
        call.duplicates = parsed.duplicates;
        Ok(parsed.value)
    }

    fn patch_body(&self, call: &mut Call) -> Result<(PatchKind, Value), Status> {
        let said = media_type(&self.r.headers).unwrap_or_default();
        let kind = match PatchKind::of(&said) {
            Some(PatchKind::Apply { .. }) => PatchKind::Apply {
                force: self.r.query.is("force"),
            },
            Some(kind) => kind,
            None => return Err(unknown_patch()),
        };
        let read = super::patch::read(call, kind, &self.r.body).or_else(|s| {
            // What is to be patched is looked for first; an apply may make it.
            if !matches!(kind, PatchKind::Apply { .. }) {
                self.server.get(self.resource, self.ns, &self.info.name)?;
            }
            Err(s)
        });
        Ok((kind, read?))
    }

    /// Options in a body: of any version, or none.
    fn options_body(&self) -> Result<Value, Status> {
        let body = decode::Body {
            media_type: media_type(&self.r.headers),
            bytes: &self.r.body,
            kind: "DeleteOptions",
        };
        let mut value = body.understood().map_err(|why| match why {
            Some(why) => Status::bad_request(why),
            None => Status::unsupported_media_type(decode::ACCEPTED),
        })?;
        let (version, kind) = (text(&value.value, "/apiVersion"), text(&value.value, "/kind"));
        if !kind.is_empty() && kind != "DeleteOptions" {
            let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
            return Err(Status::bad_request(decode::not_registered(version, kind)));
        }
        match crate::schema::read("meta", "DeleteOptions", &mut value.value) {
            Err(why) => Err(Status::bad_request(&why)),
            Ok(()) => Ok(value.value),
        }
    }

    /// Options of the body or, where there is none, of the query.
    fn delete_options(&self, call: &mut Call) -> Result<DeleteOptions, Status> {
        let q = &self.r.query;
        let v = if self.r.body.is_empty() {
            let mut v = json!({});
            if let Some(n) = number_of(q, "gracePeriodSeconds")? {
                v["gracePeriodSeconds"] = json!(n);
            }
            if q.has("orphanDependents") {
                v["orphanDependents"] = json!(q.is("orphanDependents"));
            }
            if let Some(p) = q.first("propagationPolicy") {
                v["propagationPolicy"] = json!(p);
            }
            if q.has("dryRun") {
                v["dryRun"] = json!(q.all("dryRun"));
            }
            v
        } else {
            self.options_body()?
        };
        let dry_run = v["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        call.dry_run = !dry_run.is_empty();
        DeleteOptions::from_body(&v, dry_run_causes(dry_run))
    }
}

/// 400 for what cannot be a name.
fn no_name(name: &str, why: &str) -> Status {
    Status::bad_request(format!("Name parameter invalid: {}: {why}", crate::schema::quote(name)))
}

/// What go-restful says of a patch of a type that is none.
pub(super) fn unknown_patch() -> Status {
    Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about("", "", "")
}

fn success(details: Option<Value>) -> Value {
    let mut v = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    match details {
        Some(d) => v["details"] = d,
        None => v["code"] = json!(201),
    }
    v
}
