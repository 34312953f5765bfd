//! Where relocations are recorded: nowhere, in memory, or as `ContextRelocation` objects in a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cfn_api::cfn::{ContextRelocation, ContextRelocationSpec, ContextRelocationStatus, RelocationTimestamps};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::relocation::{Relocation, SERVICE, instance};
use crate::units::Micros;

/// A relocation as it stands now, to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct RelocationRecord {
    /// Name of the record: vehicle, source, target, number.
    pub name: String,
    /// The relocation.
    pub relocation: Relocation,
}

impl RelocationRecord {
    /// The record of a relocation.
    #[must_use]
    pub fn new(relocation: &Relocation) -> Self {
        let r = relocation;
        let name = format!("{}-{}-{}-{}", r.vehicle, r.source, r.target, r.id).to_lowercase();
        Self {
            name,
            relocation: r.clone(),
        }
    }

    /// The object that carries it.
    #[must_use]
    pub fn to_object(&self, namespace: &str) -> ContextRelocation {
        let r = &self.relocation;
        let time = |t: Option<Micros>| {
            t.and_then(|t| k8s_openapi::jiff::Timestamp::from_microsecond(t).ok())
                .map(MicroTime)
        };
        ContextRelocation {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            spec: ContextRelocationSpec {
                subject: r.vehicle.clone(),
                service: SERVICE.to_owned(),
                source: instance(&r.source),
                target: instance(&r.target),
                trigger: r.trigger,
            },
            status: Some(ContextRelocationStatus {
                state: Some(r.state),
                context_state: Some(r.context_state),
                timestamps: RelocationTimestamps {
                    detected: time(r.stamps.detected),
                    decided: time(r.stamps.decided),
                    sent: time(r.stamps.sent),
                    acknowledged: time(r.stamps.acknowledged),
                    switched: time(r.stamps.switched),
                    cleaned_up: time(r.stamps.cleaned_up),
                },
                sequence: Some(r.sequence),
                bytes: Some(r.bytes),
                reason: r.reason.clone(),
            }),
        }
    }
}

/// Takes records. Never blocks the service that writes them.
pub trait RecordSink: Send + Sync {
    /// The record is new, or has changed.
    fn record(&self, record: RelocationRecord);
}

/// Keeps the last state of every record in memory.
#[derive(Clone, Default)]
pub struct MemorySink {
    records: Arc<Mutex<BTreeMap<String, Relocation>>>,
}

impl MemorySink {
    /// All records by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Relocation> {
        self.records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

impl RecordSink for MemorySink {
    fn record(&self, r: RelocationRecord) {
        self.records
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(r.name, r.relocation);
    }
}

/// Writes `ContextRelocation` objects: creates each once, then replaces its status. A record that cannot be written is
/// tried [`KUBE_ATTEMPTS`] times; the service never waits for it.
pub struct KubeSink {
    queue: mpsc::UnboundedSender<RelocationRecord>,
}

/// Attempts to write a record.
pub const KUBE_ATTEMPTS: u32 = 3;

impl KubeSink {
    /// A sink and the task that writes, which the caller runs; it ends when cancelled or when the sink is dropped.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, mut rx) = mpsc::unbounded_channel::<RelocationRecord>();
        let namespace = namespace.to_owned();
        let api: kube::Api<ContextRelocation> = kube::Api::namespaced(client, &namespace);
        let work = async move {
            let mut created = std::collections::BTreeSet::new();
            loop {
                let first = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return,
                    r = rx.recv() => match r { Some(r) => r, None => return },
                };
                // only the newest state of each record is worth a request
                let mut batch = vec![first];
                while let Ok(r) = rx.try_recv() {
                    match batch.iter_mut().find(|b| b.name == r.name) {
                        Some(b) => *b = r,
                        None => batch.push(r),
                    }
                }
                for r in batch {
                    for attempt in 1..=KUBE_ATTEMPTS {
                        match write(&api, &namespace, &r, &mut created).await {
                            Ok(()) => break,
                            Err(e) => tracing::warn!(record = r.name, attempt, error = %e, "relocation not recorded"),
                        }
                    }
                }
            }
        };
        (Self { queue }, work)
    }
}

async fn write(
    api: &kube::Api<ContextRelocation>,
    namespace: &str,
    r: &RelocationRecord,
    created: &mut std::collections::BTreeSet<String>,
) -> kube::Result<()> {
    let object = r.to_object(namespace);
    if !created.contains(&r.name) {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => {}
            // written by this service before it was restarted
            Err(kube::Error::Api(e)) if e.code == 409 => {}
            Err(e) => return Err(e),
        }
        created.insert(r.name.clone());
    }
    let status = serde_json::json!({ "status": object.status });
    api.patch_status(&r.name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

impl RecordSink for KubeSink {
    fn record(&self, r: RelocationRecord) {
        // the writer has ended: so has the service
        let _ = self.queue.send(r);
    }
}
