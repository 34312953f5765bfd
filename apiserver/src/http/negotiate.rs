//! Which form of an answer a client accepts.

use http::{HeaderMap, header};

use crate::status::Status;

/// A form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The object.
    Plain,
    /// `meta.k8s.io/v1` Table.
    Table,
    /// Metadata only, one object.
    Partial,
    /// Metadata only, a list.
    PartialList,
    /// Aggregated discovery, v2.
    Discovery,
}

/// A form and whether in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) form: Form,
    pub(super) yaml: bool,
    /// Tables and metadata in `meta.k8s.io/v1beta1`.
    pub(super) beta: bool,
}

/// What is served upstream of the built-in kinds, protobuf among it.
pub(super) const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What those serve besides whose paths may be watched.
pub(super) const STREAMS: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// The best of the client's choices that is served: by their weights, and in their order where those are the same
/// (`NegotiateMediaTypeOptions`). `watched` tells whether a path may be watched, too, `tables` whether it has tables.
pub(super) fn accepted(headers: &HeaderMap, watched: bool, tables: bool) -> Result<Accepted, Status> {
    let plain = Accepted {
        form: Form::Plain,
        yaml: false,
        beta: false,
    };
    let Some(accept) = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .filter(|s| !s.trim().is_empty())
    else {
        return Ok(plain);
    };
    let mut ranges: Vec<Range<'_>> = accept.split(',').map(Range::read).collect();
    // The routes know no wildcards but the one for all.
    if !ranges
        .iter()
        .any(|r| r.kind == "*/*" || SERVED.split(", ").any(|s| s == r.kind))
    {
        let streams = if watched { format!(", {STREAMS}") } else { String::new() };
        let text = format!("406: Not Acceptable\n\nAvailable representations: {SERVED}{streams}");
        return Err(Status::new(406, "NotAcceptable", text).about("", "", ""));
    }
    ranges.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let served = |r: &Range<'_>| {
        let yaml = r.kind == "application/yaml";
        if !yaml && !matches!(r.kind.as_str(), "application/json" | "*/*" | "application/*") {
            return None;
        }
        let beta = r.group == "meta.k8s.io" && r.version == "v1beta1";
        let form = match (r.form, r.group, r.version) {
            ("", _, _) => Form::Plain,
            ("Table", "meta.k8s.io", "v1" | "v1beta1") if tables => Form::Table,
            ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") => Form::Partial,
            ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => Form::PartialList,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Discovery,
            _ => return None,
        };
        Some(Accepted { form, yaml, beta })
    };
    ranges
        .iter()
        .find_map(served)
        .ok_or_else(|| Status::not_acceptable(SERVED))
}

/// One of a client's choices.
struct Range<'a> {
    kind: String,
    weight: f64,
    form: &'a str,
    version: &'a str,
    group: &'a str,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self {
            kind: parts.next().unwrap_or_default().to_ascii_lowercase(),
            weight: 1.0,
            form: "",
            version: "",
            group: "",
        };
        for p in parts {
            match p.split_once('=') {
                Some(("as", v)) => range.form = v,
                Some(("v", v)) => range.version = v,
                Some(("g", v)) => range.group = v,
                Some(("q", v)) => range.weight = v.parse().unwrap_or(1.0),
                _ => {}
            }
        }
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_served_is_taken() {
        let of = |s: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            accepted(&h, true, true).map(|a| a.form).map_err(|s| s.code)
        };
        assert_eq!(
            of("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            Ok(Form::Table)
        );
        assert_eq!(
            of("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Form::Plain)
        );
        assert_eq!(of("application/vnd.kubernetes.protobuf"), Err(406));
        assert_eq!(
            of("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
            Ok(Form::Discovery)
        );
        assert_eq!(of("application/json;as=Table;v=v1beta1;g=meta.k8s.io"), Ok(Form::Table));
        assert_eq!(of("application/json;as=Nope;v=v1;g=meta.k8s.io"), Err(406));
    }

    #[test]
    fn weights_count_and_wildcards_of_a_kind_do_not() {
        let of = |s: &str, watched: bool| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            accepted(&h, watched, true).map(|a| a.yaml).map_err(|s| s.message)
        };
        assert_eq!(of("application/json;q=0.1,application/yaml", false), Ok(true));
        assert_eq!(of("application/json,application/yaml", false), Ok(false));
        let text = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        assert_eq!(of("application/*", false), Err(text.to_owned()));
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(of("text/html", true), Err(format!("{text}, {streams}")));
        assert_eq!(of("application/*, application/yaml", false), Ok(false));
    }
}
