//! Options of a roadside service, also as the environment of its pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_net::{Net, Seed, SharedClock};
use serde::Deserialize;
use tokio::sync::watch;

use super::core::{Defect, Policy, Timers};
use super::training::Training;
use crate::predict::Predictor;
use crate::records::RecordSink;
use crate::road::{MapError, RoadMap};

/// MQTT's port.
pub const PORT: u16 = 1883;
/// Size of a context by default, bytes.
pub const CONTEXT_BYTES: usize = 64 * 1024;

/// Options of [`super::run`].
#[derive(Clone)]
pub struct RoadsideOptions {
    /// Edge site, as the map names it.
    pub site: String,
    /// Host in the network where it listens.
    pub host: String,
    /// MQTT port; other edges are heard on the next one.
    pub port: u16,
    /// The map; its `edges` are the peers.
    pub map: Arc<RoadMap>,
    /// Policy.
    pub policy: Policy,
    /// Where `ContextRelocation` objects are written.
    pub records: Option<kube::Client>,
    /// Their namespace.
    pub namespace: String,
    /// Another sink of records.
    pub sink: Option<Arc<dyn RecordSink>>,
    /// The network.
    pub net: Net,
    /// Wall time.
    pub clock: SharedClock,
    /// Seed.
    pub seed: Seed,
    /// Built-in fault.
    pub defect: Option<Defect>,
    /// True while it serves.
    pub ready: watch::Sender<bool>,
    /// Size of a context that travels, bytes.
    pub context_bytes: usize,
    /// Contexts that fit here.
    pub capacity: usize,
    /// Waits.
    pub timers: Timers,
    /// A predictor, instead of the default with the table of `training`.
    pub predictor: Option<Arc<dyn Predictor>>,
    /// Traffic to learn from; None: constant velocity only.
    pub training: Option<Training>,
}

/// What is wrong with a pod's environment.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A variable is missing.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable has a value that is not understood.
    #[error("{name}: {problem}")]
    Value {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The map is wrong.
    #[error("ROADSIDE_MAP: {0}")]
    Map(#[from] MapError),
}

impl RoadsideOptions {
    /// Options with defaults.
    #[must_use]
    pub fn new(
        site: &str,
        host: &str,
        map: Arc<RoadMap>,
        policy: Policy,
        net: Net,
        clock: SharedClock,
        seed: Seed,
    ) -> Self {
        Self {
            site: site.to_owned(),
            host: host.to_owned(),
            port: PORT,
            map,
            policy,
            records: None,
            namespace: "default".to_owned(),
            sink: None,
            net,
            clock,
            seed,
            defect: None,
            ready: watch::Sender::new(false),
            context_bytes: CONTEXT_BYTES,
            capacity: 100_000,
            timers: Timers::default(),
            predictor: None,
            training: Some(Training::default()),
        }
    }

    /// Options of a pod:
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `ROADSIDE_SITE` | edge site | required |
    /// | `ROADSIDE_MAP` | [`RoadMap`] as JSON | required |
    /// | `ROADSIDE_POLICY` | `predictive` or `reactive` | `predictive` |
    /// | `ROADSIDE_PORT` | MQTT port | 1883 |
    /// | `ROADSIDE_CONTEXT_BYTES` | size of a context | 65536 |
    /// | `ROADSIDE_CAPACITY` | contexts that fit | 100000 |
    /// | `ROADSIDE_TRAINING` | [`Training`] as JSON, or `none` | `{}` |
    /// | `ROADSIDE_NAMESPACE` | namespace of the records | `default` |
    /// | `ROADSIDE_DEFECT` | `DropContext` | none |
    ///
    /// # Errors
    /// The first variable that is missing or wrong.
    pub fn from_env(
        env: &BTreeMap<String, String>,
        host: &str,
        net: Net,
        clock: SharedClock,
        seed: Seed,
    ) -> Result<Self, OptionsError> {
        let get = |name: &'static str| env.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
        let need = |name| get(name).ok_or(OptionsError::Missing(name));
        let site = need("ROADSIDE_SITE")?;
        let map: RoadMap = json("ROADSIDE_MAP", need("ROADSIDE_MAP")?)?;
        map.validate()?;
        if map.endpoint(site).is_none() {
            return Err(value("ROADSIDE_SITE", format!("{site} is no edge site of the map")));
        }
        let policy = match get("ROADSIDE_POLICY").map(str::to_lowercase).as_deref() {
            None | Some("predictive") => Policy::Predictive,
            Some("reactive") => Policy::Reactive,
            Some(other) => {
                return Err(value(
                    "ROADSIDE_POLICY",
                    format!("{other:?} is not predictive or reactive"),
                ));
            }
        };
        let mut o = Self::new(site, host, Arc::new(map), policy, net, clock, seed);
        if let Some(v) = get("ROADSIDE_PORT") {
            o.port = number("ROADSIDE_PORT", v)?;
        }
        if let Some(v) = get("ROADSIDE_CONTEXT_BYTES") {
            o.context_bytes = number("ROADSIDE_CONTEXT_BYTES", v)?;
        }
        if let Some(v) = get("ROADSIDE_CAPACITY") {
            o.capacity = number("ROADSIDE_CAPACITY", v)?;
        }
        match get("ROADSIDE_TRAINING") {
            None => {}
            Some("none") => o.training = None,
            Some(v) => o.training = Some(json("ROADSIDE_TRAINING", v)?),
        }
        if let Some(v) = get("ROADSIDE_NAMESPACE") {
            v.clone_into(&mut o.namespace);
        }
        o.defect = match get("ROADSIDE_DEFECT") {
            None => None,
            Some("DropContext") => Some(Defect::DropContext),
            Some(other) => return Err(value("ROADSIDE_DEFECT", format!("{other:?} is not DropContext"))),
        };
        Ok(o)
    }

    /// Where the other edges listen: site -> host and port.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<String, (String, u16)> {
        self.map
            .edges
            .iter()
            .filter(|e| e.site != self.site)
            .filter_map(|e| {
                self.map
                    .endpoint(&e.site)
                    .map(|(h, p)| (e.site.clone(), (h, p.saturating_add(1))))
            })
            .collect()
    }
}

fn value(name: &'static str, problem: String) -> OptionsError {
    OptionsError::Value { name, problem }
}

fn json<T: for<'a> Deserialize<'a>>(name: &'static str, v: &str) -> Result<T, OptionsError> {
    serde_json::from_str(v).map_err(|e| value(name, e.to_string()))
}

fn number<T: std::str::FromStr>(name: &'static str, v: &str) -> Result<T, OptionsError> {
    v.parse()
        .map_err(|_| value(name, format!("{v:?} is not a number in range")))
}
