//! `cfn node`: what runs in a node container.

use super::CliError;
use crate::node::flags::Flags;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Control plane, and a node too
    Server(Box<Flags>),
    /// A node
    Agent(Box<Flags>),
    /// Print which containers of pods run on this node, as the CRI's JSON does
    Running,
    /// A node that kind configures
    Kind,
    /// What kind calls of kubeadm
    #[command(hide = true)]
    Kubeadm(linux::Kubeadm),
}

#[cfg(not(target_os = "linux"))]
mod linux {
    #[derive(Debug, clap::Args)]
    pub struct Kubeadm {}
}

#[cfg(not(target_os = "linux"))]
pub fn main(_: Args) -> Result<(), CliError> {
    Err(CliError::Environment {
        what: "cfn node runs on Linux, in a container".into(),
        cure: "use the image cfn.akraino.org/node".into(),
    })
}

#[cfg(target_os = "linux")]
pub fn main(args: Args) -> Result<(), CliError> {
    use crate::node::flags::Role;
    match args.what {
        What::Server(flags) => linux::start(Role::Server, *flags),
        What::Agent(flags) => linux::start(Role::Agent, *flags),
        What::Running => linux::running(),
        What::Kind => linux::kind(),
        What::Kubeadm(k) => linux::kubeadm(&k),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use cfn_net::SystemClock;
    use clap::Parser;

    use super::super::{CliError, out};
    use crate::input::Problem;
    use crate::node::flags::{Checked, Flags, FlagsError, Role};
    use crate::node::{self, NodeError, kind};

    #[derive(Debug, clap::Args)]
    pub struct Kubeadm {
        /// init, join or version
        command: String,
        /// kubeadm's flags; they say nothing that the configuration does not
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    }

    fn wrong(e: &FlagsError) -> CliError {
        CliError::from(Problem::of_file("command line", e.to_string()))
    }

    fn failed(e: NodeError) -> CliError {
        let what = e.to_string();
        let cure = match e {
            NodeError::Flags(e) => return wrong(&e),
            NodeError::NotFirst => "start it as `docker run cfn.akraino.org/node:1.36.3 server`",
            NodeError::Kernel { .. } => {
                "docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined, or --privileged"
            }
            _ => "see `cfn doctor`",
        };
        CliError::Environment {
            what,
            cure: cure.to_owned(),
        }
    }

    pub fn start(role: Role, flags: Flags) -> Result<(), CliError> {
        if node::prepared().map_err(failed)? {
            return node::run(role, flags, &SystemClock).map_err(failed);
        }
        let capacity = flags.cfn_capacity;
        let host = node::hostname().map_err(failed)?;
        Checked::new(role, flags, &host).map_err(|e| wrong(&e))?;
        first(capacity)
    }

    fn first(capacity: Option<node::capacity::Capacity>) -> Result<(), CliError> {
        let code = node::first_process(capacity).map_err(failed)?;
        std::process::exit(code);
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        what: super::What,
    }

    pub fn running() -> Result<(), CliError> {
        use crate::node::running::{PODS, TASKS, containers};
        let alive = |pid: u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        let list = containers(TASKS.as_ref(), PODS.as_ref(), alive);
        let list = list.map_err(|e| CliError::io(&format!("reading {TASKS}"), &e))?;
        out::line(&list.to_string());
        Ok(())
    }

    /// Waits for kubeadm's stand-in to say what this node shall be.
    pub fn kind() -> Result<(), CliError> {
        if !node::prepared().map_err(failed)? {
            return first(None);
        }
        out::line(kind::READY);
        let text = wait(|| std::fs::read_to_string(kind::role_file()).ok())?;
        let line = Line::try_parse_from(std::iter::once("node").chain(text.lines()))
            .map_err(|e| CliError::from(Problem::of_file(kind::CONFIG, e.to_string())))?;
        let (role, flags) = match line.what {
            super::What::Server(f) => (Role::Server, f),
            super::What::Agent(f) => (Role::Agent, f),
            _ => return Ok(()),
        };
        // The first process did not know it yet.
        if let Some(c) = flags.cfn_capacity {
            node::pretend(c).map_err(failed)?;
        }
        start(role, *flags)
    }

    /// Looks until there is something.
    fn wait<T>(look: impl Fn() -> Option<T>) -> Result<T, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| CliError::io("starting a runtime", &e))?;
        runtime.block_on(async {
            let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(|e| CliError::io("waiting for signals", &e))?;
            loop {
                if let Some(found) = look() {
                    return Ok(found);
                }
                tokio::select! {
                    biased;
                    _ = signal.recv() => return Err(CliError::Failed("ended before kubeadm was called".into())),
                    () = tokio::time::sleep(Duration::from_millis(50)) => {}
                }
            }
        })
    }

    pub fn kubeadm(of: &Kubeadm) -> Result<(), CliError> {
        let role = match of.command.as_str() {
            "init" => Role::Server,
            "join" => Role::Agent,
            "version" => {
                out::line(std::fs::read_to_string("/kind/version").unwrap_or_default().trim());
                return Ok(());
            }
            other => {
                return Err(
                    Problem::of_file("command line", format!("kubeadm {other} is not stood in for"))
                        .one_of(other, ["init", "join", "version"])
                        .into(),
                );
            }
        };
        let wrong = |e: kind::KindError| CliError::from(Problem::of_file(kind::CONFIG, e.to_string()));
        let text = std::fs::read_to_string(kind::CONFIG).map_err(|e| CliError::io(kind::CONFIG, &e))?;
        let config = kind::Config::read(&text).map_err(wrong)?;
        let line = config.line(role).map_err(wrong)?;
        if let Some(text) = config.kubelet().map_err(wrong)? {
            put(kind::KUBELET_DROP_IN, &text)?;
        }
        put(&kind::role_file(), &line.join("\n"))?;
        let own = node::hostname().map_err(failed)?.to_lowercase();
        let name = kind::node_name(line.iter().map(String::as_str), &own);
        let (kubeconfig, config) = wait(|| {
            let mut all = kind::waits_for(role).iter();
            all.find_map(|k| Some((*k, std::fs::read_to_string(k).ok()?)))
        })?;
        let node = ["get", "node", &name];
        wait(|| kubectl(kubeconfig, &node))?;
        if role == Role::Server {
            let admin = config.replace("https://127.0.0.1:", &format!("https://{own}:"));
            put("/etc/kubernetes/admin.conf", &admin)?;
        }
        Ok(())
    }

    /// A file that is there all at once, and for root alone: it may hold a token.
    fn put(path: &str, text: &str) -> Result<(), CliError> {
        let new = format!("{path}.new");
        crate::secret::write(new.as_ref(), text)
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|e| CliError::io(path, &e))
    }

    fn kubectl(kubeconfig: &str, arguments: &[&str]) -> Option<()> {
        let done = std::process::Command::new("kubectl")
            .args(["--request-timeout=3s", "--kubeconfig", kubeconfig])
            .args(arguments)
            .output()
            .ok()?;
        done.status.success().then_some(())
    }
}
