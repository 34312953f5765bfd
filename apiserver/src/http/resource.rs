//! Requests for resources: from the request's parts to the registry and back.

mod containers;
mod options;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};

use self::options::{Said, check_dry_run, check_manager, not_a_version, number};
use super::decode;
use super::info::RequestInfo;
use super::negotiate::{Form, accepted};
use super::output::Output;
use super::strict;
use super::watch::{Watch, WatchOptions};
use super::{Annotations, Answer, Incoming, ResponseBody, with_type};
use crate::auth::{Attributes, review};
use crate::registry::{
    Call, Catalog, DeleteOptions, Deleted, FieldValidation, ListOptions, PatchKind, Resource, Server, Target, Written,
    answers_with_object, text,
};
use crate::select::{FieldSelector, LabelSelector};
use crate::status::{Cause, Status};
use crate::table::IncludeObject;
use crate::webhook::Hooks;

pub(super) async fn serve(
    server: &Arc<Server>,
    r: &Incoming,
    info: &RequestInfo,
    annotations: &mut Annotations,
) -> Result<Answer, Status> {
    let attributes = Attributes::resource(info.verb, &info.group, &info.resource, &info.subresource)
        .named(&info.namespace, &info.name);
    super::authorize(server, &r.user, &attributes, annotations)?;
    let resource = server
        .catalog
        .find(&info.group, &info.version, &info.resource)
        .ok_or_else(|| match info.group.as_str() {
            "" => Status::no_such_path(),
            // No route leads to the groups of definitions: who serves their versions finds others nowhere.
            g if Catalog::is_builtin_group(g) => Status::no_such_path(),
            _ => Status::page_not_found(),
        })?;
    if info.subresource == "proxy" && (resource.is("", "pods") || resource.is("", "services")) {
        return super::proxy::serve(server, r, info, &resource).await;
    }
    let misplaced = match info.verb {
        "" => true,
        "create" => info.subresource.is_empty() && !info.name.is_empty(),
        "update" | "patch" => info.name.is_empty(),
        _ => false,
    };
    if misplaced {
        return Err(Status::method_not_allowed());
    }
    // The namespace itself stands where other paths have the namespace.
    let ns = if resource.namespaced {
        info.namespace.as_str()
    } else {
        ""
    };
    let allowed = if info.subresource.is_empty() {
        resource.verbs.iter().any(|v| v == info.verb)
    } else {
        let sub = resource
            .subresource(&info.subresource)
            .ok_or_else(|| match resource.custom {
                Some(_) => Status::not_found(&resource.group, &resource.plural, &info.name),
                None => Status::no_such_path(),
            })?;
        sub.verbs.iter().any(|v| v == info.verb)
    };
    // Where no route is, nothing is found; where one is, it may not be meant so.
    let named = ["get", "update", "patch", "delete"];
    let routed = !info.name.is_empty() && resource.verbs.iter().any(|v| named.contains(&v.as_str()));
    let nowhere = if resource.namespaced && ns.is_empty() {
        !info.name.is_empty() && info.verb != "list" && info.verb != "watch"
    } else {
        info.verb != "create" && !info.name.is_empty() && !routed && info.subresource.is_empty()
    };
    if nowhere {
        return Err(Status::no_such_path());
    }
    if !allowed
        || r.method == Method::HEAD
        || (resource.namespaced && ns.is_empty() && !matches!(info.verb, "list" | "watch"))
    {
        return Err(Status::method_not_allowed());
    }
    let mut warnings = Vec::new();
    if resource.is("", "endpoints") {
        let w = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        warnings.push(w.to_owned());
    }
    warnings.extend(resource.custom.as_ref().and_then(|c| c.deprecation.clone()));
    let watched = matches!(info.verb, "list" | "watch");
    let understood = accepted(&r.headers, watched, has_tables(&resource, &info.subresource))
        .and_then(|accepted| Ok((accepted, call_of(r)?)));
    let (accepted, mut call) = match understood {
        Ok(understood) => understood,
        Err(s) => return Ok(warned(super::failure(&s), &warnings)),
    };
    call.warnings = warnings;
    // What a table shows of the objects is read when it is made.
    let include = match r.query.get("includeObject") {
        Some(t) if accepted.form == Form::Table => IncludeObject::parse(t)
            .ok_or_else(|| Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {t:?}: must be 'Metadata', 'Object', 'None', or empty"
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
        .unwrap_or_else(|s| super::failure(&s));
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
    !(subresource == "status" && without.iter().any(|(group, plural)| r.is(group, plural)))
}

/// An answer with warnings.
fn warned(mut answer: Answer, warnings: &[String]) -> Answer {
    for w in warnings {
        // RFC 7234: 299 - "text", with quotes and backslashes escaped.
        let text = w.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(v) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
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

fn call_of(r: &Incoming) -> Result<Call, Status> {
    let options = match r.method {
        Method::PUT => "UpdateOptions",
        Method::PATCH => "PatchOptions",
        Method::DELETE => "DeleteOptions",
        _ => "CreateOptions",
    };
    let validation = match r.query.get("fieldValidation") {
        None | Some("Warn") => FieldValidation::Warn,
        Some("Strict") => FieldValidation::Strict,
        Some("Ignore") => FieldValidation::Ignore,
        Some(other) => {
            let text =
                format!("Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
            let cause = Cause::new("FieldValueNotSupported", "fieldValidation", text);
            return Err(Status::invalid("meta.k8s.io", options, "", vec![cause]));
        }
    };
    let asked: Vec<Value> = r.query.all("dryRun").into_iter().map(Value::from).collect();
    let dry_run = !asked.is_empty();
    if dry_run {
        check_dry_run(&asked, options)?;
    }
    if let Some(manager) = r.query.get("fieldManager") {
        check_manager(manager, options)?;
    }
    let agent = r
        .headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("unknown");
    let agent = agent.split('/').next().unwrap_or(agent);
    Ok(Call {
        user: r.user.clone(),
        manager: r.query.get("fieldManager").unwrap_or(agent).to_owned(),
        dry_run,
        validation: Some(validation),
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
        match (self.info.verb, sub) {
            ("get", "") => {
                if let Some(t) = self
                    .r
                    .query
                    .get("resourceVersion")
                    .filter(|t| t.parse::<u64>().is_err())
                {
                    return Err(Status::new(500, "", not_a_version(t)));
                }
                self.output.object(200, r, &server.get(r, ns, name)?)
            }
            ("get", "scale") => Ok(self.output.other(200, &server.get_scale(r, ns, name)?)),
            ("get", "log") => self.log(),
            ("get" | "create", "exec") => self.exec(),
            ("get" | "create", "attach" | "portforward" | "proxy") => {
                server.get(r, ns, name)?;
                let why = format!("{sub} of {} is not served here", r.plural);
                Err(Status::new(501, "NotImplemented", why))
            }
            ("get", _) => self.output.object(200, r, &server.get(r, ns, name)?),
            ("list", "") => {
                let namespace = Some(self.info.namespace.as_str()).filter(|n| !n.is_empty());
                self.output.list(r, &server.list(r, namespace, &self.which()?)?)
            }
            ("create", "") => self.create(call),
            ("create", "binding") => {
                let body = self.object_body(call)?;
                server.bind(call, r, ns, name, &body)?;
                Ok(self.output.other(201, &success(None)))
            }
            ("create", "eviction") => {
                let body = self.object_body(call)?;
                server.evict(call, r, ns, name, &body)?;
                Ok(self.output.other(201, &success(None)))
            }
            ("create", "token") => {
                let body = self.object_body(call)?;
                Ok(self.output.other(201, &server.token_request(call, ns, name, &body)?))
            }
            ("update", "scale") => {
                let body = self.object_body(call)?;
                Ok(self.output.other(200, &server.put_scale(call, &target, &body)?))
            }
            ("update", _) => {
                let body = self.object_body(call)?;
                self.written(&server.update(call, &target, body)?)
            }
            ("patch", "scale") => {
                let (kind, body) = self.patch_body(call)?;
                Ok(self.output.other(200, &server.patch_scale(call, &target, kind, &body)?))
            }
            ("patch", _) => {
                let (kind, body) = self.patch_body(call)?;
                self.written(&server.patch(call, &target, kind, &body)?)
            }
            ("delete", "") => {
                let options = self.delete_options(call)?;
                let done = server.delete(call, r, ns, name, &options)?;
                self.deleted(&done)
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// One object after the other, each with the webhooks that are about it.
    async fn delete_collection(&self, call: &mut Call) -> Result<Answer, Status> {
        let (server, r) = (self.server, &**self.resource);
        let namespace = Some(self.info.namespace.as_str()).filter(|n| !n.is_empty());
        let options = self.delete_options(call)?;
        let which = self.which()?;
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
        let body = self.object_body(call)?;
        if let Some(v) = review(server, &call.user, &call.manager, r, self.ns, &body) {
            if self.output.accepted.form != Form::Plain {
                return Err(Status::not_acceptable(super::negotiate::SERVED));
            }
            return Ok(self.output.other(201, &v?));
        }
        if r.is("", "bindings") {
            let pods = server.catalog.find("", "v1", "pods").ok_or_else(Status::no_such_path)?;
            server.bind(call, &pods, self.ns, text(&body, "/metadata/name"), &body)?;
            return Ok(self.output.other(201, &success(None)));
        }
        let o = server.create(call, r, self.ns, None, body)?;
        self.output.object(201, r, &o)
    }

    fn written(&self, w: &Written) -> Result<Answer, Status> {
        self.output
            .object(if w.created { 201 } else { 200 }, self.resource, &w.object)
    }

    fn deleted(&self, d: &Deleted) -> Result<Answer, Status> {
        let r = &**self.resource;
        if !d.now || answers_with_object(r) {
            return self.output.object(200, r, &d.object);
        }
        let details = json!({"name": d.object.name(), "group": r.group, "kind": r.plural, "uid": text(&d.object.value(), "/metadata/uid")});
        let mut s = success(Some(details));
        if r.group.is_empty()
            && let Some(m) = s["details"].as_object_mut()
        {
            m.remove("group");
        }
        Ok(self.output.other(200, &s))
    }

    fn which(&self) -> Result<ListOptions, Status> {
        let q = &self.r.query;
        let labels = q.get("labelSelector").map(LabelSelector::parse).transpose();
        let labels = labels.map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = q.get("fieldSelector").map(FieldSelector::parse).transpose();
        let fields = fields.map_err(|e| Status::bad_request(e.to_string()))?;
        if let Some(f) = &fields {
            let selectable = self.resource.custom.as_ref().map(|c| c.selectable.as_slice());
            f.check(&self.resource.group, &self.resource.kind, selectable)
                .map_err(|e| Status::bad_request(e.to_string()))?;
        }
        let version = q.get("resourceVersion").filter(|t| !t.is_empty());
        let rv = match version {
            None => 0,
            Some(t) => t.parse().map_err(|_| {
                let why = not_a_version(t);
                if self.info.verb == "watch" {
                    return Status::new(500, "", why);
                }
                Status::bad_request(format!("invalid resource version: {why}"))
            })?,
        };
        let after = q.get("continue").filter(|t| !t.is_empty()).map(str::to_owned);
        let matching = q.get("resourceVersionMatch").filter(|t| !t.is_empty());
        let initial = q.get("sendInitialEvents").is_some();
        let said = Said {
            matching,
            version,
            initial,
            continues: after.is_some(),
        };
        said.check(self.info.verb == "watch")?;
        if let Some(t) = q.get("timeoutSeconds") {
            number(t)?;
        }
        Ok(ListOptions {
            labels,
            fields,
            limit: match q.get("limit") {
                None => 0,
                // What is cached is given whole.
                Some(t) if version == Some("0") => {
                    number(t)?;
                    0
                }
                // A negative one is none.
                Some(t) => usize::try_from(number(t)?).unwrap_or(0),
            },
            not_older_than: if after.is_some() { 0 } else { rv },
            exact: matching == Some("Exact"),
            after,
        })
    }

    fn watch(&self) -> Result<Answer, Status> {
        let q = &self.r.query;
        let which = self.which()?;
        let initial = q.get("sendInitialEvents").map(|v| v == "true" || v == "1");
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
        if matches!(self.output.accepted.form, Form::Discovery) || self.output.accepted.yaml {
            return Err(Status::not_acceptable(super::negotiate::STREAMS));
        }
        let w = Watch::new(self.server, self.resource.clone(), options, self.output);
        let mut a = with_type(200, "application/json", Bytes::new());
        *a.body_mut() = ResponseBody::watch(w);
        *a.status_mut() = StatusCode::OK;
        Ok(a)
    }

    fn media_type(&self) -> &str {
        let t = self
            .r
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("application/json");
        t.split(';').next().unwrap_or_default().trim()
    }

    /// The object in the body; fields it has twice are noted in `call`.
    fn object_body(&self, call: &mut Call) -> Result<Value, Status> {
        let (api_version, kind) = decode::type_of(self.resource, &self.info.subresource);
        let body = decode::Body {
            media_type: self.media_type(),
            bytes: &self.r.body,
            kind: &kind,
        };
        let parsed = body.read()?;
        if self.resource.custom.is_none() || !self.info.subresource.is_empty() {
            decode::check_type(&self.server.catalog, &parsed.value, &api_version, &kind)?;
        }
        call.duplicates = parsed.duplicates;
        Ok(parsed.value)
    }

    fn patch_body(&self, call: &mut Call) -> Result<(PatchKind, Value), Status> {
        let query = &self.r.query;
        if !self.media_type().starts_with("application/apply-patch") && query.get("force").is_some() {
            let cause = Cause::forbidden("force", "may not be specified for non-apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        let kind = match self.media_type() {
            "application/json-patch+json" => PatchKind::Json,
            "application/merge-patch+json" => PatchKind::Merge,
            "application/strategic-merge-patch+json" => PatchKind::Strategic,
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                if query.get("fieldManager").is_none_or(str::is_empty) {
                    let cause = Cause::required("fieldManager", "is required for apply patch");
                    return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
                }
                PatchKind::Apply {
                    force: query.is("force"),
                }
            }
            _ => return Err(Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").about("", "", "")),
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
        let bytes = &*self.r.body;
        let value = match self.media_type() {
            "application/json" | "" => strict::json(bytes).map(|p| p.value).map_err(|other| {
                let why = crate::schema::json_error(bytes).unwrap_or(other);
                Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
            })?,
            _ => {
                let kind = "DeleteOptions";
                let media_type = self.media_type();
                decode::Body {
                    media_type,
                    bytes,
                    kind,
                }
                .read()?
                .value
            }
        };
        let (version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
        if !kind.is_empty() && kind != "DeleteOptions" {
            return Err(Status::bad_request(decode::not_registered(version, kind)));
        }
        let mut value = value;
        match crate::schema::read("meta", "DeleteOptions", &mut value) {
            Err(why) => Err(Status::bad_request(&why)),
            Ok(()) => Ok(value),
        }
    }

    fn delete_options(&self, call: &mut Call) -> Result<DeleteOptions, Status> {
        let q = &self.r.query;
        let mut v = if self.r.body.is_empty() {
            json!({})
        } else {
            self.options_body()?
        };
        if let Some(all) = v["dryRun"].as_array().filter(|l| !l.is_empty()) {
            check_dry_run(all, "DeleteOptions")?;
            call.dry_run = true;
        }
        if let Some(t) = q.get("gracePeriodSeconds") {
            v["gracePeriodSeconds"] = json!(number(t)?);
        }
        if let Some(p) = q.get("propagationPolicy") {
            v["propagationPolicy"] = json!(p);
        }
        DeleteOptions::from_body(&v)
    }
}

fn success(details: Option<Value>) -> Value {
    let mut v = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    match details {
        Some(d) => v["details"] = d,
        None => v["code"] = json!(201),
    }
    v
}
