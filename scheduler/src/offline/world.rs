//! What files describe: clusters of both kinds, and all that decisions are made from.

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::cfn::{ComputingMetric, ComputingPolicy};
use cfn_api::karmada::cluster::{ApiEnablement, ApiResourceKind, Cluster, ClusterSpec, ClusterStatus, ResourceSummary};
use cfn_api::ocm::PLACEMENT_LABEL;
use cfn_api::ocm::cluster::{AddOnPlacementScore, ManagedCluster, ManagedClusterTaint};
use cfn_api::ocm::placement::{Placement, PlacementDecision};
use cfn_api::ocm::set::{ManagedClusterSet, ManagedClusterSetBinding};
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value;

use super::check::{self, Written};
use super::document::{documents, kind, read, read_object, take};
use super::karmada::Item;
use super::{Format, OfflineError, Options};
use crate::engine::ocm::as_managed;
use crate::engine::{Fleet, Member};

/// Clusters and what is known of them.
#[derive(Debug, Clone, Default)]
pub struct World {
    pub(super) clusters: Vec<Cluster>,
    pub(super) metrics: Vec<ComputingMetric>,
    pub(super) managed: Vec<ManagedCluster>,
    pub(super) scores: Vec<AddOnPlacementScore>,
    pub(super) decisions: Vec<PlacementDecision>,
    pub(super) sets: Vec<ManagedClusterSet>,
    pub(super) set_bindings: Vec<ManagedClusterSetBinding>,
    pub(super) warnings: Vec<String>,
}

/// An OCM Placement to decide.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub id: Value,
    pub placement: Placement,
    /// Why its API would not take it.
    pub refused: Option<String>,
}

/// What is to be decided, each with its place in the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    pub bindings: Vec<(usize, Item)>,
    pub placements: Vec<(usize, Choice)>,
}

fn name_of(doc: &Value) -> Value {
    let field = |f: &str| doc["metadata"].get(f).and_then(Value::as_str).unwrap_or_default();
    match (field("namespace"), field("name")) {
        ("", name) => name.into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

/// Whether a cluster without a kind is OCM's.
fn is_managed(cluster: &Value, format: Option<Format>) -> bool {
    let has = |part: &str, fields: &[&str]| fields.iter().any(|f| cluster[part].get(f).is_some());
    if has("spec", &["hubAcceptsClient", "managedClusterClientConfigs"])
        || has("status", &["clusterClaims", "capacity", "allocatable"])
    {
        return true;
    }
    if has("spec", &["syncMode", "region", "provider", "zones"])
        || has("status", &["resourceSummary", "apiEnablements"])
    {
        return false;
    }
    format == Some(Format::Ocm)
}

const PLACEMENT_FIELDS: [&str; 7] = [
    "numberOfClusters",
    "predicates",
    "prioritizerPolicy",
    "clusterSets",
    "decisionStrategy",
    "spreadPolicy",
    "tolerations",
];

impl World {
    /// The fleet described by a file.
    ///
    /// # Errors
    /// When the file does not parse or does not speak of clusters. A list without clusters is an empty fleet.
    pub fn read(bytes: &[u8], format: Option<Format>) -> Result<Self, OfflineError> {
        let mut world = Self::default();
        let docs = documents(bytes)?;
        let mut speaks = docs.is_empty() && !bytes.is_empty();
        for (at, doc) in docs.into_iter().enumerate() {
            speaks |= world.take_in(doc, at, format)?;
        }
        if !speaks {
            return Err(OfflineError::Nothing("Cluster or ManagedCluster"));
        }
        world.drop_doubles();
        Ok(world)
    }

    /// A world of these clusters.
    pub(super) fn of(clusters: Vec<Value>, at: usize, format: Option<Format>) -> Result<Self, OfflineError> {
        let mut world = Self::default();
        for (i, c) in clusters.into_iter().enumerate() {
            world.take_in_cluster(c, at, &format!("clusters[{i}]"), format)?;
        }
        world.drop_doubles();
        Ok(world)
    }

    /// Takes in one document of a fleet; whether it spoke of clusters.
    fn take_in(&mut self, mut doc: Value, at: usize, format: Option<Format>) -> Result<bool, OfflineError> {
        match kind(&doc) {
            "Cluster" | "ManagedCluster" => {
                self.take_in_cluster(doc, at, "", format)?;
                return Ok(true);
            }
            "ComputingMetric" => self.metrics.push(read_object(doc, at, "", "a ComputingMetric")?),
            "ManagedClusterSet" => self.sets.push(read_object(doc, at, "", "a ManagedClusterSet")?),
            "ManagedClusterSetBinding" => {
                self.set_bindings
                    .push(read_object(doc, at, "", "a ManagedClusterSetBinding")?);
            }
            "AddOnPlacementScore" => self.scores.push(read_object(doc, at, "", "an AddOnPlacementScore")?),
            "PlacementDecision" => self.decisions.push(read_object(doc, at, "", "a PlacementDecision")?),
            "" if doc.get("clusters").is_some_and(Value::is_array) => {
                for (i, c) in take(&mut doc, "clusters").into_iter().enumerate() {
                    // A bare binding spec has a list of that name too: names and replicas.
                    if c.get("metadata").is_some() {
                        self.take_in_cluster(c, at, &format!("clusters[{i}]"), format)?;
                    }
                }
                for (i, m) in take(&mut doc, "metrics").into_iter().enumerate() {
                    let path = format!("metrics[{i}]");
                    self.metrics.push(read_object(m, at, &path, "a ComputingMetric")?);
                }
                return Ok(true);
            }
            // One cluster a line, without its kind.
            "" if doc["metadata"].get("name").is_some() && doc.get("spec").or(doc.get("status")).is_some() => {
                self.take_in_cluster(doc, at, "", format)?;
                return Ok(true);
            }
            other => {
                if !other.is_empty() {
                    let text = format!("document {}: {other} is not part of a fleet and was not read", at + 1);
                    self.warnings.push(text);
                }
            }
        }
        Ok(false)
    }

    fn take_in_cluster(&mut self, c: Value, at: usize, path: &str, format: Option<Format>) -> Result<(), OfflineError> {
        let managed = match kind(&c) {
            "ManagedCluster" => true,
            "Cluster" => false,
            _ => is_managed(&c, format),
        };
        let wrong = |why: String| OfflineError::Shape {
            at: at + 1,
            path: if path.is_empty() {
                "the cluster".to_owned()
            } else {
                path.to_owned()
            },
            what: "quantities",
            error: why,
        };
        let named = |name: &Option<String>| {
            name.as_ref()
                .filter(|n| !n.is_empty())
                .map(|_| ())
                .ok_or_else(|| OfflineError::Shape {
                    at: at + 1,
                    path: if path.is_empty() {
                        "metadata.name".to_owned()
                    } else {
                        format!("{path}.metadata.name")
                    },
                    what: "a name",
                    error: "Required value: name or generateName is required".to_owned(),
                })
        };
        if managed {
            let m: ManagedCluster = read_object(c, at, path, "a ManagedCluster")?;
            named(&m.metadata.name)?;
            for s in m.status.iter() {
                for (map, field) in [(&s.allocatable, "status.allocatable"), (&s.capacity, "status.capacity")] {
                    if let Some(why) = check::bad_quantity(map, field) {
                        return Err(wrong(why));
                    }
                }
            }
            self.managed.push(m);
            return Ok(());
        }
        let c: Cluster = read_object(c, at, path, "a Cluster")?;
        named(&c.metadata.name)?;
        for s in c.status.iter().filter_map(|s| s.resource_summary.as_ref()) {
            let maps = [
                (&s.allocatable, "status.resourceSummary.allocatable"),
                (&s.allocated, "status.resourceSummary.allocated"),
                (&s.allocating, "status.resourceSummary.allocating"),
            ];
            for (map, field) in maps {
                if let Some(why) = check::bad_quantity(map, field) {
                    return Err(wrong(why));
                }
            }
        }
        self.clusters.push(c);
        Ok(())
    }

    /// Of clusters with one name the last counts.
    fn drop_doubles(&mut self) {
        let mut seen = BTreeSet::new();
        let mut doubles: Vec<String> = Vec::new();
        let mut first = |name: &Option<String>| {
            let new = seen.insert(name.clone());
            if !new {
                doubles.push(name.clone().unwrap_or_default());
            }
            new
        };
        self.clusters.reverse();
        self.clusters.retain(|c| first(&c.metadata.name));
        self.clusters.reverse();
        let mut seen = BTreeSet::new();
        self.managed.reverse();
        self.managed.retain(|c| seen.insert(c.metadata.name.clone()));
        self.managed.reverse();
        for name in doubles {
            self.warnings
                .push(format!("cluster {name} is there more than once: the last counts"));
        }
    }

    /// Whether there is such a cluster, of either kind.
    pub(super) fn has(&self, name: &str) -> bool {
        let named = |n: &Option<String>| n.as_deref() == Some(name);
        self.clusters.iter().any(|c| named(&c.metadata.name)) || self.managed.iter().any(|c| named(&c.metadata.name))
    }

    /// What a file asks to decide. Decisions, scores, sets and clusters that it holds are taken in.
    pub(super) fn bindings(&mut self, bytes: &[u8], options: &Options) -> Result<Work, OfflineError> {
        let mut work = Work::default();
        let mut policies: Vec<ComputingPolicy> = Vec::new();
        let mut next = 0;
        let mut place = || {
            next += 1;
            next - 1
        };
        for (at, mut doc) in documents(bytes)?.into_iter().enumerate() {
            let of_ocm = doc
                .get("apiVersion")
                .and_then(Value::as_str)
                .is_some_and(|v| v.starts_with("cluster.open-cluster-management.io/"));
            match kind(&doc) {
                "ResourceBinding" | "ClusterResourceBinding" => {
                    work.bindings.push((place(), Item::of_object(doc, at)?));
                }
                "ComputingPolicy" => {
                    if let Some(why) = check::unknown_field(&doc["spec"], Written::ComputingPolicy) {
                        return Err(OfflineError::Shape {
                            at: at + 1,
                            path: "spec".into(),
                            what: "a ComputingPolicy",
                            error: why,
                        });
                    }
                    policies.push(read_object(doc, at, "", "a ComputingPolicy")?);
                }
                "Placement" if of_ocm || doc.get("apiVersion").is_none() => {
                    work.placements.push((place(), choice(doc, at, true)?));
                }
                "" if doc.get("resource").is_some() => {
                    let n = place();
                    work.bindings.push((n, Item::of_spec(n.into(), doc, at, "")?));
                }
                "" if doc.get("specs").is_some_and(Value::is_array) => {
                    for (i, spec) in take(&mut doc, "specs").into_iter().enumerate() {
                        let n = place();
                        work.bindings
                            .push((n, Item::of_spec(n.into(), spec, at, &format!("specs[{i}]"))?));
                    }
                }
                "" if doc.get("placements").is_some_and(Value::is_array) => {
                    for p in take(&mut doc, "placements") {
                        work.placements.push((place(), choice(p, at, false)?));
                    }
                }
                "" if doc["spec"].get("resource").is_some() => {
                    work.bindings.push((place(), Item::of_object(doc, at)?));
                }
                "" if PLACEMENT_FIELDS.iter().any(|f| doc["spec"].get(f).is_some())
                    || options.format == Some(Format::Ocm) && doc.get("spec").is_some() =>
                {
                    work.placements.push((place(), choice(doc, at, false)?));
                }
                _ => {
                    self.take_in(doc, at, options.format)?;
                }
            }
        }
        self.drop_doubles();
        for (_, item) in &mut work.bindings {
            item.attach(&policies);
        }
        if work.bindings.is_empty() && work.placements.is_empty() {
            return Err(OfflineError::Nothing("ResourceBinding or Placement"));
        }
        Ok(work)
    }

    /// The fleet that Karmada's bindings are placed on: its own clusters, and OCM's that it has none of the name of.
    ///
    /// OCM does not tell which APIs a cluster serves: it counts as serving what the bindings ask for. Where it does not
    /// tell how many pods fit, they do not limit.
    pub(super) fn fleet(&self, work: &Work) -> Fleet {
        let by_name: BTreeMap<&str, &ComputingMetric> = self
            .metrics
            .iter()
            .flat_map(|m| {
                let name = m.metadata.name.as_deref().unwrap_or_default();
                [(name, m), (m.spec.cluster.as_str(), m)]
            })
            .collect();
        let mut fleet = Fleet::default();
        let metric = |c: &Cluster| {
            by_name
                .get(c.metadata.name.as_deref().unwrap_or_default())
                .map(|m| (*m).clone())
        };
        let own: BTreeSet<Option<&str>> = self.clusters.iter().map(|c| c.metadata.name.as_deref()).collect();
        for c in &self.clusters {
            fleet.insert(Member::new(c.clone(), metric(c)));
        }
        let mut apis: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, item) in &work.bindings {
            let r = &item.spec.resource;
            apis.entry(r.api_version.clone()).or_default().insert(r.kind.clone());
        }
        for m in self
            .managed
            .iter()
            .filter(|m| !own.contains(&m.metadata.name.as_deref()))
        {
            let c = as_cluster(m, &apis);
            let metric = metric(&c);
            fleet.insert(Member::new(c, metric));
        }
        fleet
    }

    /// The clusters that OCM's placements choose from: its own, and Karmada's that it has none of the name of.
    pub(super) fn managed_clusters(&self) -> Vec<ManagedCluster> {
        let own: BTreeSet<Option<&str>> = self.managed.iter().map(|c| c.metadata.name.as_deref()).collect();
        let others = self
            .clusters
            .iter()
            .filter(|c| !own.contains(&c.metadata.name.as_deref()));
        let mut all: Vec<ManagedCluster> = self.managed.clone();
        all.extend(others.map(as_managed));
        all
    }
}

/// Reads a Placement. `whole`: it is an object of an API, where weights that are left out count 1.
fn choice(doc: Value, at: usize, whole: bool) -> Result<Choice, OfflineError> {
    let id = match name_of(&doc) {
        Value::String(s) if s.is_empty() => at.into(),
        name => name,
    };
    let refused = check::unknown_field(&doc["spec"], Written::OcmPlacement);
    let mut placement: Placement = read_object(doc, at, "", "a Placement")?;
    if whole {
        for c in &mut placement.spec.prioritizer_policy.configurations {
            c.weight.get_or_insert(1);
        }
    }
    Ok(Choice { id, placement, refused })
}

/// A Placement in a case.
pub(super) fn case_choice(id: Value, placement: Value, at: usize) -> Result<Choice, OfflineError> {
    let refused = check::unknown_field(&placement["spec"], Written::OcmPlacement);
    let placement = read_object(placement, at, "placement", "a Placement")?;
    Ok(Choice { id, placement, refused })
}

/// A decision that is there already.
pub(super) fn decision(
    namespace: Option<String>,
    name: &str,
    owner: Option<&str>,
    clusters: Vec<String>,
) -> PlacementDecision {
    let mut d = PlacementDecision::default();
    d.metadata.name = Some(name.to_owned());
    d.metadata.namespace = namespace;
    d.metadata.labels = owner.map(|o| BTreeMap::from([(PLACEMENT_LABEL.to_owned(), o.to_owned())]));
    let decisions = clusters
        .into_iter()
        .map(|cluster_name| cfn_api::ocm::placement::ClusterDecision {
            cluster_name,
            reason: String::new(),
        });
    d.status = Some(cfn_api::ocm::placement::PlacementDecisionStatus {
        decisions: decisions.collect(),
    });
    d
}

pub(super) fn read_names(v: Value, at: usize, path: &str) -> Result<Vec<String>, OfflineError> {
    read(v, at, path, "names of clusters")
}

fn claim<'a>(m: &'a ManagedCluster, names: &[&str]) -> Option<&'a str> {
    let claims = m.status.as_ref()?;
    let claim = claims
        .cluster_claims
        .iter()
        .find(|c| names.contains(&c.name.as_str()))?;
    Some(&claim.value)
}

fn as_cluster(m: &ManagedCluster, apis: &BTreeMap<String, BTreeSet<String>>) -> Cluster {
    let mut c = Cluster::new(m.metadata.name.as_deref().unwrap_or_default(), ClusterSpec::default());
    c.metadata.labels.clone_from(&m.metadata.labels);
    c.metadata.deletion_timestamp.clone_from(&m.metadata.deletion_timestamp);
    let text = |names: &[&str]| claim(m, names).map(str::to_owned);
    c.spec.region = text(&["region", "region.open-cluster-management.io"]);
    c.spec.provider = text(&["provider", "platform.open-cluster-management.io"]);
    c.spec.zones = text(&["zone", "zone.open-cluster-management.io"]).into_iter().collect();
    c.spec.taints = m.spec.taints.iter().map(taint).collect();
    let mut allocatable = m.status.as_ref().map(|s| s.allocatable.clone()).unwrap_or_default();
    allocatable
        .entry("pods".to_owned())
        .or_insert_with(|| Quantity(i32::MAX.to_string()));
    c.status = Some(ClusterStatus {
        api_enablements: apis
            .iter()
            .map(|(v, kinds)| ApiEnablement {
                group_version: v.clone(),
                resources: kinds
                    .iter()
                    .map(|k| ApiResourceKind {
                        name: k.to_lowercase(),
                        kind: k.clone(),
                    })
                    .collect(),
            })
            .collect(),
        resource_summary: Some(ResourceSummary {
            allocatable,
            ..ResourceSummary::default()
        }),
        ..ClusterStatus::default()
    });
    c
}

fn taint(t: &ManagedClusterTaint) -> Taint {
    let effect = if t.effect == "PreferNoSelect" {
        "PreferNoSchedule"
    } else {
        "NoSchedule"
    };
    Taint {
        key: t.key.clone(),
        value: Some(t.value.clone()).filter(|v| !v.is_empty()),
        effect: effect.to_owned(),
        time_added: t.time_added.clone(),
    }
}
