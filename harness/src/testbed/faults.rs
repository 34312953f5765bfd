//! Faults of a testbed that another project's tests hold, each mended by its handle.

use super::{Testbed, unknown};
use crate::input::At;
use crate::lane::LaneError;
use crate::scenario::{Fault, FaultKind};

impl Testbed {
    /// A process dies at once: `scheduler`, `agent/<cluster>`, `edge/<node>`, `kubelet/<node>`, `kube-apiserver/<cluster>`
    /// and others of Kubernetes' own, where the lane has them. Mending starts it again.
    ///
    /// # Errors
    /// When there is none, or the lane cannot.
    pub async fn kill(&self, component: &str) -> Result<Broken<'_>, LaneError> {
        let all = crate::scenario::component::all(&self.inner.topology);
        if !all.iter().any(|c| c == component) {
            return Err(unknown("component", component, all.iter().map(String::as_str)));
        }
        self.fault(Fault {
            component: Some(name(component)),
            ..Fault::of(FaultKind::Kill)
        })
        .await
    }

    /// A node's kubelet stops; its containers go on.
    ///
    /// # Errors
    /// When there is no such node, or the lane cannot.
    pub async fn stop_kubelet(&self, node: &str) -> Result<Broken<'_>, LaneError> {
        self.node(node)?;
        self.fault(Fault {
            node: Some(name(node)),
            ..Fault::of(FaultKind::Stop)
        })
        .await
    }

    /// A node loses power.
    ///
    /// # Errors
    /// As [`Testbed::stop_kubelet`].
    pub async fn crash_node(&self, node: &str) -> Result<Broken<'_>, LaneError> {
        self.node(node)?;
        self.fault(Fault {
            node: Some(name(node)),
            ..Fault::of(FaultKind::Crash)
        })
        .await
    }

    /// A cluster's control plane stops; its nodes go on.
    ///
    /// # Errors
    /// When there is no such cluster, or the lane cannot.
    pub async fn stop_control_plane(&self, cluster: &str) -> Result<Broken<'_>, LaneError> {
        self.client(cluster)?;
        self.fault(Fault {
            cluster: Some(name(cluster)),
            ..Fault::of(FaultKind::Stop)
        })
        .await
    }

    /// All hosts of a cluster lose power.
    ///
    /// # Errors
    /// As [`Testbed::stop_control_plane`].
    pub async fn crash_cluster(&self, cluster: &str) -> Result<Broken<'_>, LaneError> {
        self.client(cluster)?;
        self.fault(Fault {
            cluster: Some(name(cluster)),
            ..Fault::of(FaultKind::Crash)
        })
        .await
    }

    /// Nothing passes to or from a site.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn isolate(&self, site: &str) -> Result<Broken<'_>, LaneError> {
        self.site(site)?;
        self.fault(Fault {
            site: Some(name(site)),
            ..Fault::of(FaultKind::Isolate)
        })
        .await
    }

    /// Nothing passes between two sites.
    ///
    /// # Errors
    /// When there are no such sites.
    pub async fn partition(&self, a: &str, b: &str) -> Result<Broken<'_>, LaneError> {
        self.site(a)?;
        self.site(b)?;
        self.fault(Fault {
            between: Some([name(a), name(b)]),
            ..Fault::of(FaultKind::Partition)
        })
        .await
    }

    /// Any fault that a scenario knows.
    ///
    /// # Errors
    /// When the lane cannot.
    pub async fn fault(&self, fault: Fault) -> Result<Broken<'_>, LaneError> {
        let (controls, what) = (self.inner.controls.clone(), fault.clone());
        self.there(async move { controls.fault(&what).await }).await?;
        Ok(Broken { bed: self, fault })
    }
}

/// Something that was broken. [`Broken::heal`] mends it; dropping leaves it broken for as long as the testbed lives.
#[must_use = "it stays broken: keep it to mend it, or drop it on purpose"]
pub struct Broken<'a> {
    bed: &'a Testbed,
    fault: Fault,
}

impl Broken<'_> {
    /// Mends it.
    ///
    /// # Errors
    /// When the lane cannot.
    pub async fn heal(self) -> Result<(), LaneError> {
        let (bed, fault) = (self.bed, self.fault);
        let controls = bed.inner.controls.clone();
        bed.there(async move { controls.heal(&fault).await }).await
    }
}

fn name(s: &str) -> At<String> {
    At::nowhere(s.to_owned())
}
