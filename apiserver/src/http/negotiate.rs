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

/// What an answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    /// In the order of the serializers (`serializer.NewCodecFactory`): what is first is what a wildcard takes.
    const ALL: [Self; 3] = [Self::Json, Self::Yaml, Self::Protobuf];

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Its media type in a watch; YAML has none.
    pub(super) fn stream_type(self) -> Option<&'static str> {
        match self {
            Self::Json => Some(JSON),
            Self::Yaml => None,
            Self::Protobuf => Some("application/vnd.kubernetes.protobuf;stream=watch"),
        }
    }
}

/// A form and its encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) form: Form,
    pub(super) encoding: Encoding,
    /// Tables and metadata in `meta.k8s.io/v1beta1`.
    pub(super) beta: bool,
    /// Set for people.
    pub(super) pretty: bool,
}

const JSON: &str = "application/json";

/// JSON as it is.
const PLAIN: Accepted = Accepted {
    form: Form::Plain,
    encoding: Encoding::Json,
    beta: false,
    pretty: false,
};

/// What is served upstream of the built-in kinds, protobuf among it.
pub(super) const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What those serve besides whose paths may be watched.
pub(super) const STREAMS: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// What go-restful says where none of a client's choices is among those of the routes of built-in kinds, which know no
/// wildcard but the one for all. `watched` tells whether a path may be watched, too.
pub(super) fn routed(headers: &HeaderMap, watched: bool) -> Result<(), Status> {
    match watched {
        true => produced(headers, &format!("{SERVED}, {STREAMS}")),
        false => produced(headers, SERVED),
    }
}

/// The same of any route, which makes these.
pub(super) fn produced(headers: &HeaderMap, made: &str) -> Result<(), Status> {
    let accept = header_of(headers);
    let kinds = accept
        .split(',')
        .map(|r| r.split(';').next().unwrap_or_default().trim());
    let known = |k: &str| k == "*/*" || made.split(", ").any(|s| s == k);
    if accept.is_empty() || kinds.into_iter().any(known) {
        return Ok(());
    }
    let text = format!("406: Not Acceptable\n\nAvailable representations: {made}");
    Err(Status::new(406, "NotAcceptable", text).about("", "", ""))
}

/// The best of the client's choices that is served of a resource: by their weights, and in their order where those are
/// the same (`NegotiateMediaTypeOptions`). `tables` tells whether it has tables, `protobuf` whether its objects have a
/// form in protobuf (`RequestScope.AllowsMediaTypeTransform`).
pub(super) fn accepted(headers: &HeaderMap, tables: bool, protobuf: bool) -> Result<Accepted, Status> {
    // What nearly all ask for.
    if header_of(headers) == JSON {
        return Ok(PLAIN);
    }
    let form = |r: &Range<'_>, e: Encoding| match (r.form, r.group, r.version) {
        _ if !r.converts => (protobuf || e != Encoding::Protobuf).then_some(Form::Plain),
        ("Table", "meta.k8s.io", "v1" | "v1beta1") if tables && e != Encoding::Protobuf => Some(Form::Table),
        ("PartialObjectMetadata", "meta.k8s.io", "v1" | "v1beta1") => Some(Form::Partial),
        ("PartialObjectMetadataList", "meta.k8s.io", "v1" | "v1beta1") => Some(Form::PartialList),
        _ => None,
    };
    best(headers, form).ok_or_else(|| Status::not_acceptable(SERVED))
}

/// The same of what is served as it is only.
pub(super) fn plain(headers: &HeaderMap) -> Result<Accepted, Status> {
    let form = |r: &Range<'_>, _| (!r.converts).then_some(Form::Plain);
    best(headers, form).ok_or_else(|| Status::not_acceptable(SERVED))
}

/// The same of a page about the server itself: the version of its kind and the encoding; `None`: text.
pub(super) fn page(headers: &HeaderMap, kind: &str) -> Result<Option<(Encoding, &'static str)>, Status> {
    let accept = header_of(headers).trim();
    if accept.is_empty() {
        return Ok(None);
    }
    let chosen = ranges(accept).iter().find_map(|r| {
        let fits =
            |main: &str, sub: &str| (r.kind.0 == "*" || r.kind.0 == main) && (r.kind.1 == "*" || r.kind.1 == sub);
        if !r.converts {
            return fits("text", "plain").then_some(None);
        }
        let version = ["v1alpha1", "v1beta1"].into_iter().find(|v| *v == r.version)?;
        let encodings = [(Encoding::Json, "json"), (Encoding::Yaml, "yaml")];
        let (encoding, _) = encodings.into_iter().find(|(_, sub)| fits("application", sub))?;
        ((r.form, r.group) == (kind, "config.k8s.io")).then_some(Some((encoding, version)))
    });
    chosen.ok_or_else(|| Status::not_acceptable("application/json, application/yaml, text/plain"))
}

/// Whether a client takes aggregated discovery, in which form is all the same.
pub(super) fn aggregated(headers: &HeaderMap) -> Option<Accepted> {
    let form = |r: &Range<'_>, _| {
        let wanted = ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2");
        ((r.form, r.group, r.version) == wanted).then_some(Form::Discovery)
    };
    best(headers, form).filter(|_| !header_of(headers).is_empty())
}

/// Whether the best of the client's choices is to be set for people.
pub(super) fn pretty(headers: &HeaderMap) -> bool {
    if header_of(headers) == JSON {
        return false;
    }
    let form = |r: &Range<'_>, _| (!r.converts || !r.form.is_empty()).then_some(Form::Plain);
    best(headers, form).is_some_and(|a| a.pretty)
}

/// The first of these kinds of `application` that fits the best of the client's choices, as `kube-openapi` finds it: it
/// minds no parameter.
pub(super) fn document<T: Copy>(headers: &HeaderMap, kinds: &[(&str, T)]) -> Option<T> {
    let accept = Some(header_of(headers)).filter(|a| !a.is_empty()).unwrap_or("*/*");
    ranges(accept).iter().find_map(|r| {
        let main = matches!(r.kind.0, "application" | "*");
        let found = kinds.iter().find(|(sub, _)| r.kind.1 == *sub || r.kind.1 == "*");
        found.filter(|_| main).map(|(_, of)| *of)
    })
}

fn header_of(headers: &HeaderMap) -> &str {
    headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

fn best(headers: &HeaderMap, form: impl Fn(&Range<'_>, Encoding) -> Option<Form>) -> Option<Accepted> {
    let accept = header_of(headers);
    if accept.is_empty() {
        return Some(PLAIN);
    }
    ranges(accept).iter().find_map(|r| {
        Encoding::ALL.into_iter().find_map(|encoding| {
            let (main, sub) = encoding.media_type().split_once('/')?;
            let fits = match r.kind {
                ("*", "*") => true,
                (of, kind) => of == main && (kind == sub || kind == "*"),
            };
            let streams = r.stream.is_empty() || r.stream == "watch" && encoding.stream_type().is_some();
            if !fits || !streams {
                return None;
            }
            Some(Accepted {
                form: form(r, encoding)?,
                encoding,
                beta: r.group == "meta.k8s.io" && r.version == "v1beta1",
                pretty: r.pretty,
            })
        })
    })
}

/// Up to how many choices Go inserts them one by one (`sort.Sort`).
const INSERTED: usize = 12;

/// A client's choices, the best first.
fn ranges(accept: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::read).collect();
    if ranges.len() > INSERTED {
        // What comes out there is nothing to rely on, as Less is no order; this is one that is near it.
        ranges.sort_by(|a, b| {
            let wild = |r: &Range<'_>| (r.kind.0 == "*", r.kind.1 == "*");
            wild(a).cmp(&wild(b)).then(b.weight.total_cmp(&a.weight))
        });
        return ranges;
    }
    // What is more exact goes before what weighs more.
    for i in 1..ranges.len() {
        for j in (1..=i).rev() {
            if !ranges[j].before(&ranges[j - 1]) {
                break;
            }
            ranges.swap(j, j - 1);
        }
    }
    ranges
}

/// One of a client's choices.
struct Range<'a> {
    kind: (&'a str, &'a str),
    weight: f64,
    form: &'a str,
    version: &'a str,
    group: &'a str,
    stream: &'a str,
    pretty: bool,
    /// Whether anything is said of what it is to become.
    converts: bool,
}

impl<'a> Range<'a> {
    /// `acceptSlice.Less`.
    fn before(&self, other: &Self) -> bool {
        let ((main, sub), (others_main, others_sub)) = (self.kind, other.kind);
        self.weight > other.weight || main != "*" && others_main == "*" || sub != "*" && others_sub == "*"
    }

    /// As `goautoneg.ParseAccept`; `None`: it is no choice.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.trim().split(';');
        let kind = parts.next().unwrap_or_default();
        let kind = match kind.split('/').map(str::trim).collect::<Vec<_>>().as_slice() {
            ["*"] => ("*", "*"),
            [main, sub] => (*main, *sub),
            _ => return None,
        };
        let mut range = Self {
            kind,
            weight: 1.0,
            form: "",
            version: "",
            group: "",
            stream: "",
            pretty: false,
            converts: false,
        };
        for (k, v) in parts.filter_map(|p| p.split_once('=')) {
            if v.is_empty() || v.contains('=') {
                continue;
            }
            let (k, v) = (k.trim(), v.trim());
            range.converts |= matches!(k, "as" | "v" | "g");
            match k {
                "as" => range.form = v,
                "v" => range.version = v,
                "g" => range.group = v,
                "stream" => range.stream = v,
                "pretty" => range.pretty = v == "1",
                "q" => range.weight = v.parse().unwrap_or(0.0),
                _ => {}
            }
        }
        Some(range)
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
            accepted(&h, true, false).map(|a| a.form).map_err(|s| s.code)
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
        assert_eq!(of("application/json;v=v1;g=meta.k8s.io"), Err(406));
        assert_eq!(of("application/json;stream=watch"), Ok(Form::Plain));
        assert_eq!(of("application/json;as=Table;v=v1beta1;g=meta.k8s.io"), Ok(Form::Table));
        assert_eq!(of("application/json;as=Nope;v=v1;g=meta.k8s.io"), Err(406));
    }

    #[test]
    fn protobuf_is_for_what_has_a_form_in_it() {
        let of = |s: &str, protobuf: bool| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            accepted(&h, true, protobuf)
                .map(|a| (a.form, a.encoding))
                .map_err(|s| s.code)
        };
        let proto = Encoding::Protobuf.media_type();
        let either = format!("{proto},application/json");
        assert_eq!(of(proto, true), Ok((Form::Plain, Encoding::Protobuf)));
        assert_eq!(of(&either, true), Ok((Form::Plain, Encoding::Protobuf)));
        assert_eq!(of(&either, false), Ok((Form::Plain, Encoding::Json)));
        assert_eq!(
            of(&format!("{proto};stream=watch"), true),
            Ok((Form::Plain, Encoding::Protobuf))
        );
        let metadata = format!("{proto};as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
        assert_eq!(of(&metadata, false), Ok((Form::Partial, Encoding::Protobuf)));
        let table = format!("{proto};as=Table;v=v1;g=meta.k8s.io");
        assert_eq!(of(&table, true), Err(406));
        assert_eq!(
            of(&format!("{table},application/*"), true),
            Ok((Form::Plain, Encoding::Json))
        );
    }

    #[test]
    fn weights_count_and_wildcards_of_a_kind_do_not() {
        let of = |s: &str, watched: bool| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            routed(&h, watched)
                .and_then(|()| accepted(&h, true, true))
                .map(|a| a.encoding == Encoding::Yaml)
                .map_err(|s| s.message)
        };
        assert_eq!(of("application/json;q=0.1,application/yaml", false), Ok(true));
        assert_eq!(of("application/json,application/yaml", false), Ok(false));
        let text = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        assert_eq!(of("application/*", false), Err(text.to_owned()));
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(of("text/html", true), Err(format!("{text}, {streams}")));
        assert_eq!(of("application/*, application/yaml", false), Ok(true));
        assert_eq!(of("*/*;q=0.5, application/yaml;q=0.1", false), Ok(true));
    }

    #[test]
    fn many_choices_are_sorted_in_little_time() {
        let many = (0..100_000)
            .map(|i| format!("a/b;q=0.{i}"))
            .collect::<Vec<_>>()
            .join(",");
        let sorted = ranges(&many);
        assert!(sorted.is_sorted_by(|a, b| a.weight >= b.weight));
        let wild = format!("*/*,{many},application/yaml;q=nan");
        assert_eq!(ranges(&wild).last().unwrap().kind, ("*", "*"));
    }

    #[test]
    fn aggregated_discovery_is_taken_wherever_it_stands() {
        let of = |s: &str| {
            let mut h = HeaderMap::new();
            h.insert(header::ACCEPT, s.parse().unwrap());
            aggregated(&h).is_some()
        };
        let form = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        assert!(of(&format!("application/json,application/json;{form}")));
        assert!(!of("application/json"));
        assert!(!of(
            "application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList"
        ));
    }
}
