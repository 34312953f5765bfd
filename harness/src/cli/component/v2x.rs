//! `cfn v2x`: the roadside service of one edge, as a pod of it runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Seed, SystemClock};
use cfn_v2x::road::RoadMap;
use cfn_v2x::roadside::RoadsideOptions;

use super::{Common, HERE, Process, failed, run};
use crate::access::{Target, config, is_in_cluster};
use crate::cli::CliError;
use crate::input::Problem;

#[derive(Debug, clap::Args)]
pub struct V2xArgs {
    /// Where relocations are recorded, FILE or FILE:CONTEXT (by the pod's own service account without, if it has one)
    #[arg(long, env = "CFN_KUBECONFIG")]
    kubeconfig: Option<Target>,
    /// How long a request there may take
    #[arg(long, default_value = "30s", value_parser = super::duration)]
    request_timeout: Duration,
    #[command(flatten)]
    common: Common,
}

const SITE: &str = "ROADSIDE_SITE";
const MAP: &str = "ROADSIDE_MAP";

pub fn v2x(args: V2xArgs) -> Result<(), CliError> {
    let mut env: BTreeMap<String, String> = std::env::vars().filter(|(k, _)| k.starts_with("ROADSIDE_")).collect();
    if !env.contains_key(SITE)
        && let Some(site) = env.get(MAP).and_then(|m| site_of_this_host(m, is_ours))
    {
        env.insert(SITE.into(), site);
    }
    let records = match (&args.kubeconfig, is_in_cluster()) {
        (None, false) => None,
        (target, _) => Some(config(target.as_ref(), args.request_timeout)?),
    };
    run("v2x", &args.common, |p: Process| async move {
        let clock = Arc::new(SystemClock);
        let made = RoadsideOptions::from_env(&env, HERE, p.net.clone(), clock, Seed::unpredictable());
        let mut options = made.map_err(|e| {
            CliError::from(
                Problem::of_file("environment", e.to_string())
                    .expected("the ROADSIDE_ variables of a roadside pod; see `cfn v2x --help`"),
            )
        })?;
        options.ready = p.ready;
        if let Some(c) = records {
            options.records = Some(c.client(&p.net, HERE).map_err(failed)?);
        }
        tracing::info!(site = options.site, port = options.port, "roadside service");
        cfn_v2x::roadside::run(options, p.cancel.clone()).await.map_err(failed)
    })
}

/// One manifest serves every edge: in a pod that shares its node's network, the site is the one whose service the map
/// has at an address of this host.
fn site_of_this_host(map: &str, ours: impl Fn(IpAddr) -> bool) -> Option<String> {
    let map: RoadMap = serde_json::from_str(map).ok()?;
    let here = map.edges.iter().filter(|e| {
        let at = map.endpoint(&e.site).and_then(|(host, _)| host.parse().ok());
        at.is_some_and(&ours)
    });
    let sites: Vec<&str> = here.map(|e| e.site.as_str()).collect();
    match sites[..] {
        [one] => Some(one.to_owned()),
        _ => None,
    }
}

/// Whether an address is this host's: the operating system lets nobody else have it. Nothing is sent.
fn is_ours(ip: IpAddr) -> bool {
    !ip.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(endpoints: &[(&str, &str)]) -> String {
        let edges: Vec<_> = endpoints
            .iter()
            .map(|(site, at)| serde_json::json!({"site": site, "endpoint": at}))
            .collect();
        let mut whole = serde_json::to_value(RoadMap::default()).unwrap();
        whole["edges"] = edges.into();
        whole.to_string()
    }

    #[test]
    fn the_site_is_the_one_that_is_served_here() {
        let ours = |ip: IpAddr| ip == IpAddr::from([10, 1, 2, 2]);
        let two = map(&[("a", "10.1.1.2:1883"), ("b", "10.1.2.2:1883")]);
        assert_eq!(site_of_this_host(&two, ours).as_deref(), Some("b"));
        assert_eq!(site_of_this_host(&two, |_| false), None);
        assert_eq!(
            site_of_this_host(&two, |_| true),
            None,
            "two at one host: nobody can tell"
        );
        assert_eq!(site_of_this_host(&map(&[("a", "node-a:1883")]), |_| true), None);
        assert_eq!(site_of_this_host("{", |_| true), None);
    }

    #[test]
    fn whose_an_address_is() {
        assert!(is_ours([127, 0, 0, 1].into()));
        // For documentation only: nobody has it.
        assert!(!is_ours([192, 0, 2, 1].into()));
        assert!(!is_ours([0, 0, 0, 0].into()));
    }
}
