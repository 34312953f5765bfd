//! Requests from clients to a workload, over the testbed's links.

use super::super::ObjectRef;
use super::super::step::Load;
use super::Bench;
use crate::evidence::Sample;
use crate::lane::traffic::Requests;

impl Bench {
    /// Sends the requests, one after the other, each on the pod's own connection; records how long each took, from
    /// the client's site and with the client's own access.
    pub(super) async fn load(&self, l: &Load) -> Result<String, String> {
        let object = ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(l.namespace.clone()),
            name: None,
            label_selector: Some(l.label_selector.clone()),
        };
        let mut pods = Vec::new();
        for c in &l.clusters {
            for p in self.objects.select(c, &object).await.map_err(|e| e.to_string())? {
                let ready = p["status"]["conditions"]
                    .as_array()
                    .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
                if let (true, Some(ip)) = (ready, p["status"]["podIP"].as_str()) {
                    pods.push(ip.to_owned());
                }
            }
        }
        if pods.is_empty() {
            return Err(format!("no ready pod with {}", l.label_selector));
        }
        let requests = Requests {
            from: l.from.value.clone(),
            to: pods.clone(),
            port: l.port,
            count: l.requests.value as usize,
        };
        let began = self.at();
        let exchanges = self.testbed.traffic.load(&requests).await.map_err(|e| e.to_string())?;
        let mut failed = 0;
        for e in exchanges {
            let Some(took) = e.took else {
                failed += 1;
                continue;
            };
            let sample = Sample {
                series: l.series.value.clone(),
                value: (took + l.access.0).as_secs_f64() * 1e3,
                unit: "ms".into(),
                at: began + e.at,
            };
            self.result().record(sample);
        }
        if failed > 0 {
            Err(format!("{failed} of {} requests failed", l.requests.value))
        } else {
            Ok(format!("{} requests to {}", l.requests.value, pods.join(", ")))
        }
    }
}
