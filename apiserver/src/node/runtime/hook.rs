//! What a host tells the API server of its containers: logs, what they say, and commands beside theirs and ports.

use tokio_util::sync::CancellationToken;

use super::{Container, Doing, Runtime};
use crate::local::{Attached, Execution, Forwarding, LogOptions, NodeHook, Stdio};
use crate::node::shell::{self, Process};

impl Runtime {
    /// Does something with a container of a pod (the pod's only one where none is named).
    fn in_container<T>(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        f: impl FnOnce(&mut Container) -> T,
    ) -> Option<T> {
        let mut inner = self.inner();
        let mut all = inner.pods.values_mut();
        let s = all.find(|s| s.namespace == namespace && s.name == pod)?;
        if container.is_empty() {
            return s.containers.values_mut().next().map(f);
        }
        s.containers.get_mut(container).map(f)
    }
}

impl NodeHook for Runtime {
    fn log(&self, namespace: &str, pod: &str, container: &str, wanted: &LogOptions) -> Option<Vec<u8>> {
        let log = self.in_container(namespace, pod, container, |c| match wanted.previous {
            true => c.previous.clone(),
            false => Some(c.log.clone()),
        })??;
        Some(log.read(wanted))
    }

    fn attach(&self, namespace: &str, pod: &str, container: &str, stdin: bool) -> Option<Attached> {
        self.in_container(namespace, pod, container, |c| match c.view.doing {
            Doing::Running { .. } => Some(Attached {
                output: c.log.follow(),
                // Of one that takes it once, the first who asks has it.
                input: match &c.input {
                    Some(i) if stdin && i.once => c.input.take(),
                    i => i.clone().filter(|_| stdin),
                },
            }),
            Doing::Exited(_) => None,
        })?
    }

    fn forward(&self, namespace: &str, pod: &str, port: u16) -> Option<Forwarding> {
        let address = {
            let inner = self.inner();
            let s = inner
                .pods
                .values()
                .find(|s| s.namespace == namespace && s.name == pod)?;
            s.ip.map_or_else(|| self.node.clone(), |ip| ip.to_string())
        };
        let (net, node) = (self.net.clone(), self.node.clone());
        Some(Box::pin(async move { net.connect(&node, &address, port).await }))
    }

    fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[String], stdio: Stdio) -> Option<Execution> {
        let process = self.in_container(namespace, pod, container, |c| match c.view.doing {
            Doing::Running { .. } => c.process.clone(),
            Doing::Exited(_) => None,
        })??;
        // The container's signals are not this command's.
        let process = Process {
            term: CancellationToken::new(),
            ..process
        };
        let command = command.to_vec();
        if !shell::is_understood(&command) {
            return None;
        }
        Some(Box::pin(async move { shell::execute(process, &command, stdio).await }))
    }
}
