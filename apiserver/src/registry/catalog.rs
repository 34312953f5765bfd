//! All resources of a cluster: the built-in ones (shared by every cluster of the process) and the custom ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::resource::{Resource, api_version};
use crate::local::Gvr;
use crate::schema;

/// Sorted for look-up, by what tells most first; discovery's order is kept beside it.
#[derive(Default)]
struct Table {
    by_name: Vec<Arc<Resource>>,
    by_kind: Vec<Arc<Resource>>,
    ordered: Vec<Arc<Resource>>,
}

type Name<'a> = (&'a str, &'a str, &'a str);

fn name_of(r: &Resource) -> Name<'_> {
    (&r.plural, &r.group, &r.version)
}

fn kind_of(r: &Resource) -> (&str, &str) {
    (&r.kind, &r.api_version)
}

impl Table {
    /// What comes later stands in for what comes earlier.
    fn new(ordered: Vec<Arc<Resource>>) -> Self {
        fn sorted<K: Ord>(all: &[Arc<Resource>], key: impl Fn(&Resource) -> K) -> Vec<Arc<Resource>> {
            let by_key: BTreeMap<K, &Arc<Resource>> = all.iter().map(|r| (key(r), r)).collect();
            by_key.into_values().cloned().collect()
        }
        Self {
            by_name: sorted(&ordered, |r| {
                let (plural, group, version) = name_of(r);
                (plural.to_owned(), group.to_owned(), version.to_owned())
            }),
            by_kind: sorted(&ordered, |r| {
                let (kind, api_version) = kind_of(r);
                (kind.to_owned(), api_version.to_owned())
            }),
            ordered,
        }
    }

    fn named(&self, name: Name<'_>) -> Option<Arc<Resource>> {
        let at = self.by_name.binary_search_by(|r| name_of(r).cmp(&name)).ok()?;
        Some(self.by_name[at].clone())
    }

    fn of_kind(&self, kind: (&str, &str)) -> Option<Arc<Resource>> {
        let at = self.by_kind.binary_search_by(|r| kind_of(r).cmp(&kind)).ok()?;
        Some(self.by_kind[at].clone())
    }
}

static BUILTIN: LazyLock<Table> = LazyLock::new(|| {
    let mut all = Vec::new();
    let mut storage: BTreeMap<(&str, &str), (Arc<Gvr>, String)> = BTreeMap::new();
    for d in schema::discovery() {
        // Events of both groups are one resource (pkg/registry/core/event).
        let group = if d.plural == "events" { "" } else { d.group.as_str() };
        let version = if d.plural == "events" { "v1" } else { d.version.as_str() };
        let (key, stored_as) = storage
            .entry((group, d.plural.as_str()))
            .or_insert_with(|| {
                let gvr = Gvr {
                    group: group.into(),
                    version: version.into(),
                    resource: d.plural.as_str().into(),
                };
                (Arc::new(gvr), api_version(group, version))
            })
            .clone();
        all.push(Arc::new(Resource::builtin(d, key, stored_as)));
    }
    Table::new(all)
});

/// The resources of one cluster.
#[derive(Default)]
pub struct Catalog {
    custom: RwLock<Arc<Table>>,
    /// Whether clients are not shown the built-in ones, which then only stand under what is served.
    hidden: AtomicBool,
}

impl Catalog {
    fn custom(&self) -> Arc<Table> {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A resource by its name in paths.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let name = (plural, group, version);
        BUILTIN.named(name).or_else(|| self.custom().named(name))
    }

    /// A resource by its objects' apiVersion and kind.
    #[must_use]
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let kind = (kind, api_version);
        BUILTIN.of_kind(kind).or_else(|| self.custom().of_kind(kind))
    }

    /// Has only custom resources served from now on: an extension server.
    pub(crate) fn hide_builtin(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }

    /// Whether only custom resources are served.
    pub(crate) fn hides_builtin(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// Every resource in every version that is served: built-in ones in Kubernetes' order, then custom ones by group.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
        if self.hides_builtin() {
            return self.all_custom();
        }
        BUILTIN.ordered.iter().chain(&self.custom().ordered).cloned().collect()
    }

    /// The custom ones.
    #[must_use]
    pub fn all_custom(&self) -> Vec<Arc<Resource>> {
        self.custom().ordered.clone()
    }

    /// Every resource that is stored, in the version it is stored as.
    #[must_use]
    pub fn stored(&self) -> Vec<Arc<Resource>> {
        self.all()
            .into_iter()
            .filter(|r| *r.storage == r.gvr() && r.verbs.iter().any(|v| v == "list"))
            .collect()
    }

    /// Puts `resources` in the place of all custom ones. They come sorted by group, best version first.
    pub fn set_custom(&self, resources: Vec<Arc<Resource>>) {
        let table = Table::new(resources);
        *self.custom.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// Whether a built-in group has that version.
    #[must_use]
    pub fn is_builtin(&self, group: &str, version: &str) -> bool {
        let mut all = BUILTIN.ordered.iter();
        all.any(|r| r.group == group && r.version == version)
    }

    /// Whether a built-in group of that name exists.
    #[must_use]
    pub fn is_builtin_group(group: &str) -> bool {
        BUILTIN.ordered.iter().any(|r| r.group == group)
    }
}
