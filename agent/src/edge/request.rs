//! What a request asks for: the parts of a Kubernetes API path, and the key under which its answer is kept.

use http::Method;

/// A request's meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// Changes of a collection.
    Watch,
    /// A new object.
    Create,
    /// An object replaced.
    Update,
    /// A part of an object changed.
    Patch,
    /// An object deleted.
    Delete,
    /// Not a resource (discovery, health), or one that only the hub can answer.
    Other,
}

/// A Kubernetes request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it means.
    pub verb: Verb,
    /// Path of the collection, e.g. `/api/v1/namespaces/default/pods`.
    pub collection: String,
    /// Plural of the resource.
    pub resource: String,
    /// Namespace in the path.
    pub namespace: Option<String>,
    /// Name in the path.
    pub name: Option<String>,
    /// Subresource in the path.
    pub subresource: Option<String>,
    /// The selectors of a list or watch, in one order: part of the key.
    pub selectors: String,
    /// Of a watch: where it begins.
    pub since: Since,
    /// Of a watch: it ends after so many seconds.
    pub seconds: Option<u64>,
    /// Of a watch: whether the client wants bookmarks.
    pub bookmarks: bool,
}

/// Where a watch begins (API concepts, "Semantics for watch" and "Streaming lists").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// After a revision that the client has.
    Revision,
    /// With what there is, as additions.
    Now,
    /// With what there is, as additions, and a bookmark after them (`sendInitialEvents`).
    List,
}

impl Asked {
    /// Takes a request apart (Kubernetes' `RequestInfo`).
    #[must_use]
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let mut asked = Self {
            verb: Verb::Other,
            collection: path.to_owned(),
            resource: String::new(),
            namespace: None,
            name: None,
            subresource: None,
            selectors: String::new(),
            since: Since::Now,
            seconds: None,
            bookmarks: false,
        };
        let prefix = match parts.first() {
            Some(&"api") => 2,
            Some(&"apis") => 3,
            _ => return asked,
        };
        let Some(mut rest) = parts.get(prefix..).filter(|r| !r.is_empty()) else {
            return asked;
        };
        // `namespaces/NS/RESOURCE...`; a namespace itself and its subresources are not inside one.
        let inside = rest.len() > 2 && rest[0] == "namespaces" && !matches!(rest[2], "status" | "finalize");
        let mut end = prefix + 1;
        if inside {
            asked.namespace = Some(rest[1].to_owned());
            rest = &rest[2..];
            end += 2;
        }
        asked.resource = rest[0].to_owned();
        asked.name = rest.get(1).map(|s| (*s).to_owned());
        asked.subresource = rest.get(2).map(|s| (*s).to_owned());
        asked.collection = format!("/{}", parts[..end].join("/"));
        let mut watching = false;
        let mut selectors: Vec<&str> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("watch", v) => watching = v == "true" || v == "1",
                ("labelSelector" | "fieldSelector", v) if !v.is_empty() => selectors.push(pair),
                ("sendInitialEvents", "true" | "1") => asked.since = Since::List,
                ("resourceVersion", v) if !matches!(v, "" | "0") && asked.since == Since::Now => {
                    asked.since = Since::Revision;
                }
                ("allowWatchBookmarks", v) => asked.bookmarks = v == "true" || v == "1",
                ("timeoutSeconds", v) => asked.seconds = v.parse().ok(),
                _ => {}
            }
        }
        selectors.sort_unstable();
        asked.selectors = selectors.join("&");
        // Reviews are questions, nothing that is kept or could be sent later.
        if matches!(parts[1], "authentication.k8s.io" | "authorization.k8s.io") {
            return asked;
        }
        asked.verb = match (method, asked.name.is_some()) {
            (&Method::GET, true) if asked.subresource.is_none() => Verb::Get,
            (&Method::GET, false) if watching => Verb::Watch,
            (&Method::GET, false) => Verb::List,
            (&Method::POST, false) => Verb::Create,
            (&Method::PUT, true) => Verb::Update,
            (&Method::PATCH, true) => Verb::Patch,
            (&Method::DELETE, true) => Verb::Delete,
            _ => Verb::Other,
        };
        asked
    }

    /// The key of a collection as it was asked for.
    #[must_use]
    pub fn list_key(&self) -> String {
        format!("{}?{}", self.collection, self.selectors)
    }

    /// The path of the object itself, without a subresource.
    #[must_use]
    pub fn object_path(&self) -> String {
        match &self.name {
            Some(n) => format!("{}/{n}", self.collection),
            None => self.collection.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_requests_apart() {
        let table = [
            (
                "GET",
                "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&watch=true",
                Verb::Watch,
                "pods",
                None,
                None,
                None,
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods",
                Verb::List,
                "pods",
                Some("a"),
                None,
                None,
            ),
            (
                "GET",
                "/api/v1/namespaces/a",
                Verb::Get,
                "namespaces",
                None,
                Some("a"),
                None,
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/p/status",
                Verb::Patch,
                "pods",
                Some("a"),
                Some("p"),
                Some("status"),
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/x/leases/n1",
                Verb::Update,
                "leases",
                Some("x"),
                Some("n1"),
                None,
            ),
            (
                "POST",
                "/api/v1/namespaces/a/events",
                Verb::Create,
                "events",
                Some("a"),
                None,
                None,
            ),
            (
                "POST",
                "/api/v1/namespaces/a/serviceaccounts/s/token",
                Verb::Other,
                "serviceaccounts",
                Some("a"),
                Some("s"),
                Some("token"),
            ),
            ("GET", "/api/v1/nodes/n1", Verb::Get, "nodes", None, Some("n1"), None),
            ("GET", "/readyz", Verb::Other, "", None, None, None),
            ("GET", "/apis", Verb::Other, "", None, None, None),
            (
                "POST",
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                Verb::Other,
                "subjectaccessreviews",
                None,
                None,
                None,
            ),
        ];
        for (method, uri, verb, resource, ns, name, sub) in table {
            let (path, query) = uri.split_once('?').map_or((uri, None), |(p, q)| (p, Some(q)));
            let a = Asked::parse(&method.parse().unwrap(), path, query);
            assert_eq!(
                (
                    a.verb,
                    a.resource.as_str(),
                    a.namespace.as_deref(),
                    a.name.as_deref(),
                    a.subresource.as_deref()
                ),
                (verb, resource, ns, name, sub),
                "{method} {uri}"
            );
        }
        let a = Asked::parse(
            &Method::GET,
            "/api/v1/pods",
            Some("watch=1&labelSelector=b&fieldSelector=a&limit=5"),
        );
        assert_eq!(a.list_key(), "/api/v1/pods?fieldSelector=a&labelSelector=b");
        let since = [
            ("watch=1", Since::Now),
            ("watch=1&resourceVersion=0", Since::Now),
            ("watch=1&resourceVersion=7", Since::Revision),
            ("resourceVersion=7&sendInitialEvents=true&watch=1", Since::List),
            ("sendInitialEvents=true&resourceVersion=7&watch=1", Since::List),
        ];
        for (query, want) in since {
            assert_eq!(
                Asked::parse(&Method::GET, "/api/v1/pods", Some(query)).since,
                want,
                "{query}"
            );
        }
        let a = Asked::parse(&Method::GET, "/api/v1/pods", Some("watch=1&timeoutSeconds=5"));
        assert_eq!(a.seconds, Some(5));
    }
}
