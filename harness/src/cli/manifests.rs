//! `cfn manifests`: the components as Kubernetes objects, for kubectl. docs/production.md shows how they go together.

use std::path::PathBuf;

use super::{CliError, out};
use crate::input::Problem;
use crate::lane::docker::manifests::{Agent, HubAccess, Placement, Scheduler, bootstrap_token, yaml};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The scheduler, for the hub
    Scheduler(SchedulerArgs),
    /// The agent, for a member
    Agent(AgentArgs),
    /// A bootstrap token, for the hub: members join with it
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
struct PodArgs {
    /// Image of the components, in a registry that the cluster reaches
    #[arg(long, default_value = crate::lane::docker::manifests::IMAGE)]
    image: String,
    /// Share the node's network: what an agent measures is then the node's
    #[arg(long)]
    host_network: bool,
    /// Further flags of the component, after --
    #[arg(last = true)]
    flags: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct SchedulerArgs {
    /// How many; of several one works
    #[arg(long, default_value_t = 2)]
    replicas: u32,
    #[command(flatten)]
    pod: PodArgs,
}

#[derive(Debug, clap::Args)]
struct AgentArgs {
    /// Name of the member on the hub
    #[arg(long)]
    cluster: String,
    /// Its site; its name without
    #[arg(long)]
    site: Option<String>,
    /// The hub, https://ADDRESS:PORT as the member reaches it
    #[arg(long, requires_all = ["hub_ca", "token"])]
    hub: Option<String>,
    /// File with the CA of the hub's certificate, PEM
    #[arg(long)]
    hub_ca: Option<PathBuf>,
    /// The token to join with
    #[arg(long, env = "CFN_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(flatten)]
    pod: PodArgs,
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// The token, ID.SECRET; a new one without
    #[arg(long, env = "CFN_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl PodArgs {
    fn placement(&self, replicas: u32) -> Placement {
        Placement {
            host_network: self.host_network,
            replicas,
            ..Placement::production(&self.image)
        }
    }
}

pub fn main(args: Args) -> Result<(), CliError> {
    let objects = match args.what {
        What::Scheduler(a) => {
            let s = Scheduler {
                placement: a.pod.placement(a.replicas),
                args: a.pod.flags.clone(),
                leader_elect: a.replicas > 1,
            };
            s.objects()
        }
        What::Agent(a) => {
            let hub = match (a.hub, a.hub_ca, a.token) {
                (Some(server), Some(ca), Some(token)) => Some(HubAccess {
                    server,
                    ca_pem: std::fs::read_to_string(&ca)
                        .map_err(|e| CliError::io(&format!("reading {}", ca.display()), &e))?,
                    token,
                }),
                _ => None,
            };
            let site = a.site.as_ref().unwrap_or(&a.cluster);
            let mut flags = vec![format!("--cluster={}", a.cluster), format!("--site={site}")];
            flags.extend(a.pod.flags.iter().cloned());
            let agent = Agent {
                placement: a.pod.placement(1),
                args: flags,
                hub,
            };
            agent.objects()
        }
        What::Token(a) => {
            let token = a.token.unwrap_or_else(new_token);
            let secret = bootstrap_token(&token).ok_or_else(|| {
                CliError::from(
                    Problem::of_file("--token", "it is no bootstrap token")
                        .expected("ID.SECRET, 6 and 16 lower-case letters or digits"),
                )
            })?;
            vec![secret]
        }
    };
    let text = yaml(&objects).map_err(|e| CliError::Failed(e.to_string()))?;
    out::line(text.trim_end());
    Ok(())
}

/// 110 bits from the operating system.
fn new_token() -> String {
    let digit = |n: u64| char::from_digit((n % 36) as u32, 36).unwrap_or('0');
    let part = |mut n: u64, len: usize| -> String {
        (0..len)
            .map(|_| {
                let d = digit(n);
                n /= 36;
                d
            })
            .collect()
    };
    let random = || cfn_net::Seed::unpredictable().0;
    format!("{}.{}{}", part(random(), 6), part(random(), 8), part(random(), 8))
}

#[cfg(test)]
mod tests {
    #[test]
    fn new_tokens_are_tokens_and_differ() {
        let (a, b) = (super::new_token(), super::new_token());
        assert!(crate::lane::docker::manifests::is_token(&a), "{a}");
        assert_ne!(a, b);
    }
}
