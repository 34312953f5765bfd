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
}

const SERVED: &str = "application/json, application/yaml";

/// The first of the client's choices that is served; order counts, as clients write their preference first.
pub(super) fn accepted(headers: &HeaderMap) -> Result<Accepted, Status> {
    let plain = Accepted {
        form: Form::Plain,
        yaml: false,
    };
    let Some(accept) = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .filter(|s| !s.trim().is_empty())
    else {
        return Ok(plain);
    };
    let mut known = false;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let yaml = kind == "application/yaml";
        if !yaml && !matches!(kind.as_str(), "application/json" | "*/*" | "application/*") {
            known |= kind == "application/vnd.kubernetes.protobuf";
            continue;
        }
        known = true;
        let (mut form, mut version, mut group) = ("", "", "");
        for p in parts {
            match p.split_once('=') {
                Some(("as", v)) => form = v,
                Some(("v", v)) => version = v,
                Some(("g", v)) => group = v,
                _ => {}
            }
        }
        let form = match (form, group, version) {
            ("", _, _) => Form::Plain,
            ("Table", "meta.k8s.io", "v1") => Form::Table,
            ("PartialObjectMetadata", "meta.k8s.io", "v1") => Form::Partial,
            ("PartialObjectMetadataList", "meta.k8s.io", "v1") => Form::PartialList,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Form::Discovery,
            _ => continue,
        };
        return Ok(Accepted { form, yaml });
    }
    if known {
        return Err(Status::not_acceptable(SERVED));
    }
    // What is served upstream, protobuf among it.
    let text = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
        application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    Err(Status::new(406, "NotAcceptable", text).about("", "", ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_served_is_taken() {
        let of = |s: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            accepted(&h).map(|a| a.form).map_err(|s| s.code)
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
    }
}
