//! All resources of a cluster: the built-in ones (shared by every cluster of the process) and the custom ones.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use super::resource::{Resource, api_version};
use crate::local::Gvr;
use crate::schema;

/// Sorted for look-up; discovery's order is kept beside it.
#[derive(Default)]
struct Table {
    by_name: BTreeMap<(String, String, String), Arc<Resource>>,
    by_kind: BTreeMap<(String, String), Arc<Resource>>,
    ordered: Vec<Arc<Resource>>,
}

impl Table {
    fn add(&mut self, r: Arc<Resource>) {
        self.by_name.insert(
            (r.group.to_string(), r.version.to_string(), r.plural.to_string()),
            r.clone(),
        );
        self.by_kind.insert((r.api_version.clone(), r.kind.clone()), r.clone());
        self.ordered.push(r);
    }
}

static BUILTIN: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::default();
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
        table.add(Arc::new(Resource::builtin(d, key, stored_as)));
    }
    table
});

/// The resources of one cluster.
#[derive(Default)]
pub struct Catalog {
    custom: RwLock<Arc<Table>>,
}

impl Catalog {
    fn custom(&self) -> Arc<Table> {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A resource by its name in paths.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        BUILTIN
            .by_name
            .get(&key)
            .cloned()
            .or_else(|| self.custom().by_name.get(&key).cloned())
    }

    /// A resource by its objects' apiVersion and kind.
    #[must_use]
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let key = (api_version.to_owned(), kind.to_owned());
        BUILTIN
            .by_kind
            .get(&key)
            .cloned()
            .or_else(|| self.custom().by_kind.get(&key).cloned())
    }

    /// Every resource in every version: built-in ones in Kubernetes' order, then custom ones by group.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Resource>> {
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
        let mut table = Table::default();
        resources.into_iter().for_each(|r| table.add(r));
        *self.custom.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// Whether a built-in group of that name exists.
    #[must_use]
    pub fn is_builtin_group(group: &str) -> bool {
        BUILTIN.ordered.iter().any(|r| r.group == group)
    }
}
