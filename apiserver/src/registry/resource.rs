//! One resource in one version, as data.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Conversion;
use crate::digest::sha256;
use crate::local::Gvr;
use crate::schema::{ResourceDef, SchemaRef};
use crate::store::ResourceKey;
use crate::table::Column;

/// A subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// Last segment of its path.
    pub name: String,
    /// Group of the kind it takes.
    pub group: String,
    /// Version of that kind.
    pub version: String,
    /// The kind it takes.
    pub kind: String,
    /// Verbs.
    pub verbs: Vec<String>,
}

/// Where a custom resource keeps what its scale shows (CRD `subresources.scale`), as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// Replicas wanted.
    pub spec_replicas: String,
    /// Replicas seen.
    pub status_replicas: String,
    /// Selector as text, when the resource has one.
    pub selector: Option<String>,
}

/// What only custom resources have.
#[derive(Debug)]
pub struct Custom {
    /// The structural schema.
    pub schema: SchemaRef,
    /// The schema as the definition gives it, for OpenAPI.
    pub openapi: Option<Value>,
    /// Printer columns; empty: only the age.
    pub columns: Vec<Column>,
    /// The scale subresource.
    pub scale: Option<ScalePaths>,
    /// Fields one may select by, without leading dot.
    pub selectable: Vec<String>,
    /// Name of the definition.
    pub definition: String,
    /// Kind of its lists.
    pub list_kind: String,
    /// A warning for every request in this version (`deprecated`).
    pub deprecation: Option<String>,
    /// Names what its objects become by its schema: this version, in this generation of the definition.
    pub shown_id: String,
    /// Whether its schema has defaults.
    pub has_defaults: bool,
    /// Whether the definition has other versions.
    pub has_other_versions: bool,
    /// The webhook that converts between versions.
    pub conversion: Option<Arc<Conversion>>,
}

/// A resource in one version.
#[derive(Debug)]
pub struct Resource {
    /// API group; empty: core.
    pub group: Cow<'static, str>,
    /// Version.
    pub version: Cow<'static, str>,
    /// Plural: its segment in paths.
    pub plural: Cow<'static, str>,
    /// Singular.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Subresources.
    pub subresources: Vec<Subresource>,
    /// Where its objects are stored, whatever version is asked for.
    pub storage: ResourceKey,
    /// apiVersion they are stored in.
    pub storage_version: String,
    /// `group/version`.
    pub api_version: String,
    /// What only custom resources have.
    pub custom: Option<Arc<Custom>>,
    /// The schema of a built-in one, once it was asked for.
    pub(crate) schema: OnceLock<SchemaRef>,
}

/// Built-in kinds whose objects count their generations (their registries' strategies set it).
const GENERATED: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("", "podtemplates"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "daemonsets"),
    ("apps", "statefulsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("networking.k8s.io", "ingressclasses"),
    ("policy", "poddisruptionbudgets"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
];

impl Resource {
    /// A built-in resource, stored as `storage` in `storage_version`.
    #[must_use]
    pub fn builtin(d: &'static ResourceDef, storage: ResourceKey, storage_version: String) -> Self {
        let api_version = api_version(&d.group, &d.version);
        let sub = d.subresources.iter().map(|s| Subresource {
            name: s.name.clone(),
            group: s.group.clone(),
            version: s.version.clone(),
            kind: s.kind.clone(),
            verbs: s.verbs.clone(),
        });
        Self {
            group: Cow::Borrowed(&d.group),
            version: Cow::Borrowed(&d.version),
            plural: Cow::Borrowed(&d.plural),
            singular: d.singular.clone(),
            kind: d.kind.clone(),
            short_names: d.short_names.clone(),
            categories: d.categories.clone(),
            namespaced: d.namespaced,
            verbs: d.verbs.clone(),
            subresources: sub.collect(),
            storage,
            storage_version,
            api_version,
            custom: None,
            schema: OnceLock::new(),
        }
    }

    /// `storageVersionHash` of discovery: by it a client sees that what is stored has another version now
    /// (`discovery.StorageVersionHash` of `k8s.io/apiserver`). `None` where nothing is stored.
    #[must_use]
    pub fn storage_version_hash(&self) -> Option<String> {
        let stored = self.verbs.iter().any(|v| v == "list") && !self.is("", "componentstatuses");
        let (group, version) = group_version(&self.storage_version);
        stored.then(|| {
            let digest = sha256([format!("{group}/{version}/{}", self.kind)]);
            STANDARD.encode(&digest[..8])
        })
    }

    /// Its name as group, version, resource.
    #[must_use]
    pub fn gvr(&self) -> Gvr {
        Gvr {
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.plural.clone(),
        }
    }

    /// A subresource by name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether status is written apart from the rest.
    #[must_use]
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether this is the built-in resource `plural` of `group` (in any version).
    #[must_use]
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.plural == plural && self.group == group && self.custom.is_none()
    }

    /// Whether its objects have `metadata.generation`.
    #[must_use]
    pub fn has_generation(&self) -> bool {
        self.custom.is_some()
            || GENERATED
                .iter()
                .any(|(group, plural)| *plural == self.plural && *group == self.group)
    }

    /// Its schema in this version.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        match &self.custom {
            Some(c) => c.schema.clone(),
            None => {
                let find = || SchemaRef::for_gvk(&self.group, &self.version, &self.kind);
                let known = self.schema.get_or_init(|| find().unwrap_or_else(SchemaRef::opaque));
                known.clone()
            }
        }
    }

    /// Kind of its lists.
    #[must_use]
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(c) => c.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }
}

/// Group (empty: core) and version of an apiVersion.
#[must_use]
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `group/version`, or `version` in the core group.
#[must_use]
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

#[cfg(test)]
mod tests {
    use crate::registry::Catalog;

    #[test]
    fn hashes_of_storage_versions_are_those_of_real_clusters() {
        let catalog = Catalog::default();
        for (group, version, plural, hash) in [
            ("", "v1", "pods", Some("xPOwRZ+Yhw8=")),
            ("", "v1", "configmaps", Some("qFsyl6wFWjQ=")),
            ("apps", "v1", "deployments", Some("8aSe+NMegvE=")),
            // Both versions are stored as one.
            ("autoscaling", "v2", "horizontalpodautoscalers", Some("qwQve8ut294=")),
            ("autoscaling", "v1", "horizontalpodautoscalers", Some("qwQve8ut294=")),
            ("events.k8s.io", "v1", "events", Some("r2yiGXH7wu8=")),
            ("", "v1", "componentstatuses", None),
            ("authorization.k8s.io", "v1", "subjectaccessreviews", None),
        ] {
            let r = catalog.find(group, version, plural).unwrap();
            assert_eq!(r.storage_version_hash().as_deref(), hash, "{group}/{version} {plural}");
        }
    }
}
