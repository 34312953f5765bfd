//! `/metrics`, in Prometheus' text format: what was answered, and how much is stored.

use std::fmt::Write as _;
use std::sync::PoisonError;

use super::info::RequestInfo;
use crate::registry::Server;

/// Requests for resources that were answered.
#[derive(Default)]
pub(crate) struct Answered {
    /// Sorted: a request that was counted before is found without a copy of its names.
    counts: Vec<Count>,
}

struct Count {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
    n: u64,
}

impl Answered {
    fn add(&mut self, info: &RequestInfo, named: bool, code: u16) {
        let (group, resource, subresource) = match named {
            true => (&*info.group, &*info.resource, &*info.subresource),
            false => ("", "", ""),
        };
        let wanted = (info.verb, group, resource, subresource, code);
        let found = self
            .counts
            .binary_search_by(|c| (c.verb, &*c.group, &*c.resource, &*c.subresource, c.code).cmp(&wanted));
        match found {
            Ok(at) => self.counts[at].n += 1,
            Err(at) => {
                let first = Count {
                    verb: info.verb,
                    group: group.to_owned(),
                    resource: resource.to_owned(),
                    subresource: subresource.to_owned(),
                    code,
                    n: 1,
                };
                self.counts.insert(at, first);
            }
        }
    }
}

/// Counts a request that was answered so.
pub(super) fn count(server: &Server, info: &RequestInfo, code: u16) {
    // Of what there is not, clients could ask for ever more.
    let there = code < 400 || {
        let found = server.catalog.find(&info.group, &info.version, &info.resource);
        found.is_some_and(|r| info.subresource.is_empty() || r.subresource(&info.subresource).is_some())
    };
    let mut answered = server.answered.lock().unwrap_or_else(PoisonError::into_inner);
    answered.add(info, there, code);
}

/// All of it.
pub(super) fn text(server: &Server) -> String {
    let mut s = String::from("# TYPE apiserver_request_total counter\n");
    let answered = server.answered.lock().unwrap_or_else(PoisonError::into_inner);
    for c in &answered.counts {
        // Writing into a string does not fail.
        let _ = writeln!(
            s,
            "apiserver_request_total{{verb=\"{}\",group=\"{}\",resource=\"{}\",subresource=\"{}\",code=\"{}\"}} {}",
            c.verb.to_ascii_uppercase(),
            c.group,
            c.resource,
            c.subresource,
            c.code,
            c.n
        );
    }
    drop(answered);
    s += "# TYPE apiserver_resource_objects gauge\n";
    for r in server.store.resources() {
        let n = server.store.list(&r, None, None).objects.len();
        let (group, resource) = (&r.group, &r.resource);
        let _ = writeln!(
            s,
            "apiserver_resource_objects{{group=\"{group}\",resource=\"{resource}\"}} {n}"
        );
    }
    let _ = writeln!(
        s,
        "# TYPE etcd_revision gauge\netcd_revision {}",
        server.store.revision()
    );
    s
}
