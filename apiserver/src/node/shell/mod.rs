//! Containers whose command is interpreted: those of well-known small images (busybox, Kubernetes' agnhost) whose
//! command is a shell script or a program that is written again here. What they print, the files they see and how they
//! end comes from running that command over the pod's environment and volumes. A container with any other command, or
//! with a script that this shell does not understand to the last word, stays a simulated one.

mod agnhost;
mod arithmetic;
mod commands;
mod curl;
mod discovery;
mod dns_commands;
mod etcd;
mod file_commands;
mod filters;
mod guestbook;
pub(crate) mod health;
mod input;
mod kernel_commands;
mod nettest;
mod network_commands;
mod parse;
mod porter;
mod reviews;
mod room;
mod run;
mod sample_apiserver;
mod serve;
mod terminal;
mod test_command;
mod tree;
mod udp;
pub(crate) mod web;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cfn_net::SharedClock;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::env;
use super::files::Files;
use super::images::{self, Image};
use super::lifecycle;
use super::network::Network;
use super::probes;
use super::volumes;
use super::workload::{Workload, WorkloadContext, Workloads, Write};
use crate::controllers::object::Object;
use crate::local::{Standard, Stdio};
pub(crate) use input::Input;
pub(crate) use parse::ParseError;
use run::{Io, Shell, Sink};
pub(crate) use run::{Process, Stdin};

/// Annotations that say how a container lives: it is then not interpreted.
const STAGED: &str = "cfn.akraino.org/exit-after";

/// Registers the interpreted images.
pub fn register(workloads: &mut Workloads) {
    for i in images::all() {
        workloads.register(i.prefix, Arc::new(Interpreted(i)));
    }
}

struct Interpreted(Image);

impl Interpreted {
    /// The command line of a container, as the runtime makes it from the image and the container.
    fn command_line(&self, container: &Value, env: &BTreeMap<String, String>) -> Vec<String> {
        let given = env::arguments(container, env);
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        match (
            container.items("/command").is_empty(),
            container.items("/args").is_empty(),
        ) {
            (false, _) => given,
            (true, false) => [own(self.0.entry), given].concat(),
            (true, true) => [own(self.0.entry), own(self.0.command)].concat(),
        }
    }
}

#[async_trait]
impl Workload for Interpreted {
    fn runs(&self, pod: &Value, container: &Value) -> bool {
        // Values are known when it starts; that they are there is enough to read the script.
        let names = container
            .items("/env")
            .iter()
            .map(|e| (e.text("/name").to_owned(), "x".to_owned()));
        let staged = pod
            .pointer("/metadata/annotations")
            .is_some_and(|a| a.get(STAGED).is_some());
        // A container that only waits is not worth more than a simulated one, but for what is done to it; and simulated
        // ones of jobs end.
        let watched = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
        let of_job = pod.label("batch.kubernetes.io/job-name").is_some();
        let waits = self.0.entry == ["/pause"] && !of_job && !watched.iter().any(|k| container.get(k).is_some());
        !staged
            && !waits
            && volumes::are_known(pod)
            && Program::of(&self.command_line(container, &names.collect())).is_some()
    }

    fn has_files(&self) -> bool {
        true
    }

    async fn run(&self, ctx: WorkloadContext) -> i32 {
        let (Some(container), Some(process)) = (env::container(&ctx.pod, &ctx.container), ctx.process.clone()) else {
            return 128;
        };
        let line = self.command_line(container, &ctx.env);
        let Some(program) = Program::of(&line) else {
            (ctx.log)(&format!("{}: not found", line.join(" ")));
            return 127;
        };
        let write = ctx.write.clone();
        let out = Sink::Call(Arc::new(move |b: &[u8]| write(b)));
        let io = Io {
            input: ctx.input.clone(),
            out: out.clone(),
            err: out,
        };
        // The program is told to end when its hook has run.
        let process = Process {
            term: CancellationToken::new(),
            ..process
        };
        let main = async {
            match &program {
                Program::Agnhost(agnhost::Sub::Serve(s)) => serve::run(s, &ctx, &process, &io).await,
                Program::SampleApiserver(flags) => sample_apiserver::run(flags, &ctx, &process, &io).await,
                program if container.flag("/stdin") && container.flag("/tty") => {
                    let screen = ctx.write.clone();
                    program
                        .at_terminal(process.clone(), ctx.input.clone(), screen, Signals::Pass)
                        .await
                }
                program => program.run(process.clone(), io).await,
            }
        };
        let told = async {
            ctx.cancel.cancelled().await;
            lifecycle::hook(&ctx, container, &process, "preStop").await;
            process.term.cancel();
            std::future::pending::<()>().await;
        };
        let looked_after = async {
            if !lifecycle::hook(&ctx, container, &process, "postStart").await {
                return probes::end(&ctx, container).await;
            }
            probes::watch(&ctx, container, &process).await
        };
        tokio::select! {
            biased;
            code = main => code,
            code = looked_after => code,
            () = told => 0,
        }
    }
}

impl Process {
    /// The first process of a container.
    pub(crate) fn of(
        pod: &Value,
        container: &Value,
        node: &str,
        env: &BTreeMap<String, String>,
        files: Files,
        clock: &SharedClock,
        net: Option<Network>,
    ) -> Self {
        let directory = match container.text("/workingDir") {
            "" => "/",
            d => d,
        };
        let hostname = volumes::hostname(pod, node);
        let mut env = env.clone();
        let home = if files.user.uid == 0 { "/root" } else { "/" };
        for (k, v) in [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOSTNAME", hostname),
            ("HOME", home),
        ] {
            env.entry(k.to_owned()).or_insert_with(|| v.to_owned());
        }
        let stdin = match (container.flag("/stdin"), container.flag("/stdinOnce")) {
            (false, _) => None,
            // A terminal is closed by nobody.
            (true, once) if once && !container.flag("/tty") => Some(Stdin::Once),
            (true, _) => Some(Stdin::Open),
        };
        let files = Arc::new(files);
        let net = net.map(|net| Network {
            files: Some(files.clone()),
            ..net
        });
        Self {
            files,
            env,
            directory: directory.to_owned(),
            hostname: hostname.to_owned(),
            clock: clock.clone(),
            term: CancellationToken::new(),
            net,
            stdin,
            interrupts: None,
        }
    }
}

/// A script and its arguments (`$0` first).
pub(crate) struct Script {
    pub(crate) args: Vec<String>,
    pub(crate) body: tree::Command,
    strict: bool,
}

impl Script {
    /// The script of `sh -c SCRIPT [NAME [ARG]...]`; `None` when the shell is given none.
    pub(crate) fn of(argv: &[String]) -> Option<Result<Self, ParseError>> {
        let options = argv.iter().skip(1).take_while(|a| a.starts_with('-')).count();
        let flags: String = argv[1..=options].concat();
        let script = argv.get(options + 1)?;
        if !flags.contains('c') {
            return Some(Err(ParseError(format!("the script file {script}"))));
        }
        let mut args = argv[options + 2..].to_vec();
        if args.is_empty() {
            args.push(argv[0].clone());
        }
        Some(parse::parse(script).map(|body| Self {
            args,
            body,
            strict: flags.contains('e'),
        }))
    }
}

/// A command line that is understood.
pub(crate) enum Program {
    Script(Script),
    Command(Vec<String>),
    Agnhost(agnhost::Sub),
    /// Only as a container's own program.
    SampleApiserver(sample_apiserver::Flags),
    Etcd,
    /// A shell that reads its commands.
    Shell(Vec<String>),
}

impl Program {
    /// What a command line runs, when that is understood.
    pub(crate) fn of(argv: &[String]) -> Option<Self> {
        let first = argv.first()?;
        // Most of what the kernel has to say is not simulated.
        if !argv.iter().all(|a| crate::node::kernel::has_all_of(a)) {
            return None;
        }
        if let Some(sub) = agnhost::Sub::of(argv) {
            return Some(Self::Agnhost(sub));
        }
        if let Some(flags) = sample_apiserver::Flags::of(argv) {
            return Some(Self::SampleApiserver(flags));
        }
        if etcd::is_own(argv) {
            return Some(Self::Etcd);
        }
        if commands::name(first) != "sh" {
            return commands::is_known(first).then(|| Self::Command(argv.to_vec()));
        }
        match Script::of(argv) {
            None => Some(Self::Shell(argv[..1].to_vec())),
            Some(s) => {
                let s = s.ok()?;
                let all = s.body.programs()?;
                all.iter().all(|p| commands::is_known(p)).then_some(Self::Script(s))
            }
        }
    }

    async fn run(&self, process: Process, io: Io) -> i32 {
        match self {
            Self::Script(s) => Shell::new(process, s.args.clone(), s.strict).script(&s.body, io).await,
            Self::Command(argv) => {
                let mut shell = Shell::new(process, Vec::new(), false);
                match commands::run(&mut shell, argv, &io).await {
                    run::Flow::Next(code) | run::Flow::Exit(code) => code,
                    run::Flow::Break | run::Flow::Continue => 0,
                }
            }
            Self::Agnhost(sub) => agnhost::run(sub, &process, &io).await,
            Self::Etcd => etcd::run(&process, &io).await,
            Self::SampleApiserver(_) => 1,
            Self::Shell(argv) => Shell::new(process, argv.clone(), false).interact(&io).await,
        }
    }

    /// Runs it at a terminal.
    async fn at_terminal(&self, process: Process, keyboard: Input, screen: Write, signals: Signals) -> i32 {
        let terminal = terminal::open(keyboard, screen);
        let io = Io {
            input: terminal.input,
            out: terminal.output.clone(),
            err: terminal.output,
        };
        let process = Process {
            interrupts: Some(terminal.interrupts.clone()),
            ..process
        };
        let typed = async {
            terminal.keyboard.await;
            std::future::pending::<()>().await;
        };
        let ends = !matches!(self, Self::Shell(_)) && signals == Signals::End;
        tokio::select! {
            biased;
            code = self.run(process, io) => code,
            () = typed => 0,
            () = terminal.interrupts.notified(), if ends => INTERRUPTED,
        }
    }
}

/// What signals do to a program that does not handle them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signals {
    /// They end it.
    End,
    /// Nothing: it is the first of its container.
    Pass,
}

/// The exit code of what SIGINT ended.
pub(crate) const INTERRUPTED: i32 = 128 + 2;

/// Whether a command can be run beside a container's own.
pub(crate) fn is_understood(argv: &[String]) -> bool {
    Program::of(argv).is_some()
}

/// Runs a command beside a container's own, to its exit code.
pub(crate) async fn execute(process: Process, argv: &[String], stdio: Stdio) -> i32 {
    let Stdio { stdin, output, tty } = stdio;
    let Some(program) = Program::of(argv) else {
        let why = format!("{}: not found\n", argv.join(" "));
        output(Standard::Error, why.as_bytes());
        return 127;
    };
    let input = stdin.map(Input::typed).unwrap_or_default();
    let to = |which: Standard| {
        let output = output.clone();
        Arc::new(move |b: &[u8]| output(which, b)) as Write
    };
    if tty {
        let screen = to(Standard::Output);
        return program.at_terminal(process, input, screen, Signals::End).await;
    }
    let io = Io {
        input,
        out: Sink::Call(to(Standard::Output)),
        err: Sink::Call(to(Standard::Error)),
    };
    program.run(process, io).await
}

#[cfg(test)]
mod tests;
