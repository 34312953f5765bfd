//! Runs commands of the shell: control flow, words and streams.

mod interact;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::commands;
use super::input::Input;
use super::parse;
use super::room::Roomy;
use super::tree::{Command, Part, Redirect, Word};
use crate::node::files::{Files, absolute};
use crate::node::network::Network;
use crate::node::workload::Write;

/// How long one turn of a loop takes at least: a loop that waits for nothing must let time go on.
const TURN: Duration = Duration::from_millis(1);

/// How many commands wait for the one inside them at most. A script is not so deep by what is written in it, but it
/// may run itself.
const DEEPEST: usize = 50;

/// Where a stream goes.
#[derive(Clone)]
pub(crate) enum Sink {
    Buffer(Arc<Mutex<Vec<u8>>>),
    Call(Write),
    File(String),
    Nothing,
}

/// The streams of a command. Commands of a pipe run one after the other.
#[derive(Clone)]
pub(crate) struct Io {
    pub(crate) input: Input,
    pub(crate) out: Sink,
    pub(crate) err: Sink,
}

/// What happens after a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next(i32),
    Exit(i32),
    Break,
    Continue,
}

/// How long the standard input of a container is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// As long as it runs.
    Open,
    /// Until the first who is attached to it has no more to say (`stdinOnce`).
    Once,
}

/// What a process has around it.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) files: Arc<Files>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) directory: String,
    pub(crate) hostname: String,
    /// The wall time, as seconds.
    pub(crate) clock: cfn_net::SharedClock,
    /// SIGTERM.
    pub(crate) term: CancellationToken,
    /// The network as it sees it.
    pub(crate) net: Option<Network>,
    /// How long its container's input is open; none that has none.
    pub(crate) stdin: Option<Stdin>,
    /// SIGINT from the terminal that it runs at.
    pub(crate) interrupts: Option<Arc<Notify>>,
}

/// A shell, or what runs one command.
#[derive(Clone)]
pub(crate) struct Shell {
    pub(crate) p: Process,
    /// Variables that are not exported.
    variables: BTreeMap<String, String>,
    /// `$0`, `$1` …
    pub(crate) args: Vec<String>,
    status: i32,
    trap: Option<Command>,
    /// Whether failures end the script (`-e`).
    strict: bool,
    /// How many commands that run wait for the one inside them.
    depth: usize,
}

impl Shell {
    pub(crate) fn new(p: Process, args: Vec<String>, strict: bool) -> Self {
        Self {
            p,
            variables: BTreeMap::new(),
            args,
            status: 0,
            trap: None,
            strict,
            depth: 0,
        }
    }

    /// One more command waits for the one inside it, until [`Shell::back`]; false, and said so, where too many do.
    pub(crate) fn deeper(&mut self, io: &Io) -> bool {
        if self.depth == DEEPEST {
            self.complain(io, "sh: maximum recursion depth exceeded");
            return false;
        }
        self.depth += 1;
        true
    }

    pub(crate) fn back(&mut self) {
        self.depth -= 1;
    }

    /// Writes to a stream of a command.
    pub(crate) fn write(&self, to: &Sink, data: &[u8]) -> bool {
        match to {
            Sink::Buffer(b) => b.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(data),
            Sink::Call(f) => f(data),
            Sink::File(path) => return self.p.files.write(path, data, true, 0o644).is_ok(),
            Sink::Nothing => {}
        }
        true
    }

    pub(crate) fn complain(&self, io: &Io, text: &str) {
        self.write(&io.err, format!("{text}\n").as_bytes());
    }

    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        match name {
            "?" => return Some(self.status.to_string()),
            "$" => return Some("1".into()),
            "!" => return None,
            "#" => return Some(self.args.len().saturating_sub(1).to_string()),
            "@" | "*" => return Some(self.args.get(1..).unwrap_or_default().join(" ")),
            "PWD" => return Some(self.p.directory.clone()),
            _ => {}
        }
        if let Ok(n) = name.parse::<usize>() {
            return self.args.get(n).cloned();
        }
        self.variables.get(name).or_else(|| self.p.env.get(name)).cloned()
    }

    /// Sets a variable; one of the environment stays there.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        let of = if self.p.env.contains_key(name) {
            &mut self.p.env
        } else {
            &mut self.variables
        };
        of.insert(name.to_owned(), value);
    }

    pub(crate) fn export(&mut self, name: &str, value: Option<String>) {
        let value = value.or_else(|| self.variables.remove(name)).unwrap_or_default();
        self.p.env.insert(name.to_owned(), value);
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
        self.p.env.remove(name);
    }

    /// `trap command TERM`: what is done when the container is asked to end.
    pub(crate) fn set_trap(&mut self, script: &str) -> Result<(), parse::ParseError> {
        self.trap = Some(parse::parse(script)?);
        Ok(())
    }

    /// `read [-r] [NAME]...`: the words of a line; the last name has the rest.
    pub(crate) async fn read(&mut self, names: &[&str], io: &Io) -> i32 {
        let names: Vec<&str> = names.iter().copied().filter(|n| *n != "-r").collect();
        let read = io.input.line().await;
        let (line, whole) = read.unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut rest = line.trim();
        for (i, name) in names.iter().enumerate() {
            let (word, after) = match rest.split_once(char::is_whitespace) {
                Some((word, after)) if i + 1 < names.len() => (word, after.trim_start()),
                _ => (rest, ""),
            };
            self.set(name, word.to_owned());
            rest = after;
        }
        i32::from(!whole)
    }

    /// Runs a script to its exit code.
    pub(crate) async fn script(&mut self, c: &Command, io: Io) -> i32 {
        match self.run(c, io).await {
            Flow::Next(code) | Flow::Exit(code) => code,
            Flow::Break | Flow::Continue => self.status,
        }
    }

    pub(crate) fn run<'a>(&'a mut self, c: &'a Command, io: Io) -> BoxFuture<'a, Flow> {
        Box::pin(Roomy::new(async move {
            if !self.deeper(&io) {
                return Flow::Exit(2);
            }
            let flow = match c {
                Command::Simple {
                    assigns,
                    words,
                    redirects,
                } => self.simple(assigns, words, redirects, io).await,
                Command::Sequence(all) => self.sequence(all, io).await,
                Command::Pipeline(all) => self.pipeline(all, io).await,
                Command::Not(c) => match self.run(c, io).await {
                    Flow::Next(code) => Flow::Next(i32::from(code == 0)),
                    other => other,
                },
                Command::Chain(first, rest) => self.chain(first, rest, io).await,
                Command::If { arms, otherwise } => self.branches(arms, otherwise.as_deref(), io).await,
                Command::Loop { until, condition, body } => self.repeat(*until, condition, body, io).await,
                Command::For { name, words, body } => self.each(name, words, body, io).await,
                Command::Group { body, apart, redirects } => match self.streams(redirects, io.clone()).await {
                    Err(why) => {
                        self.complain(&io, &why);
                        Flow::Next(1)
                    }
                    Ok(io) if *apart => Flow::Next(self.clone().script(body, io).await),
                    Ok(io) => self.run(body, io).await,
                },
            };
            self.back();
            if let Flow::Next(code) = flow {
                self.status = code;
            }
            flow
        }))
    }

    async fn sequence(&mut self, all: &[Command], io: Io) -> Flow {
        for c in all {
            match self.run(c, io.clone()).await {
                Flow::Next(code) if self.strict && code != 0 && is_checked(c) => return Flow::Exit(code),
                Flow::Next(_) => {}
                other => return other,
            }
        }
        Flow::Next(self.status)
    }

    async fn chain(&mut self, first: &Command, rest: &[(bool, Command)], io: Io) -> Flow {
        let mut flow = self.run(first, io.clone()).await;
        for (and, c) in rest {
            match flow {
                Flow::Next(code) if (code == 0) == *and => flow = self.run(c, io.clone()).await,
                Flow::Next(_) => {}
                other => return other,
            }
        }
        flow
    }

    async fn branches(&mut self, arms: &[(Command, Command)], otherwise: Option<&Command>, io: Io) -> Flow {
        for (condition, body) in arms {
            match self.run(condition, io.clone()).await {
                Flow::Next(0) => return self.run(body, io).await,
                Flow::Next(_) => {}
                other => return other,
            }
        }
        match otherwise {
            Some(c) => self.run(c, io).await,
            None => Flow::Next(0),
        }
    }

    async fn repeat(&mut self, until: bool, condition: &Command, body: &Command, io: Io) -> Flow {
        let mut last = 0;
        loop {
            match self.run(condition, io.clone()).await {
                Flow::Next(code) if (code == 0) == until => return Flow::Next(last),
                Flow::Next(_) | Flow::Continue => {}
                Flow::Break => return Flow::Next(last),
                Flow::Exit(code) => return Flow::Exit(code),
            }
            match self.run(body, io.clone()).await {
                Flow::Next(code) => last = code,
                Flow::Continue => {}
                Flow::Break => return Flow::Next(0),
                Flow::Exit(code) => return Flow::Exit(code),
            }
            tokio::time::sleep(TURN).await;
        }
    }

    async fn each(&mut self, name: &str, words: &[Word], body: &Command, io: Io) -> Flow {
        let all = match self.words(words, &io).await {
            Ok(all) => all,
            Err(code) => return Flow::Exit(code),
        };
        let mut last = 0;
        for w in all {
            self.set(name, w);
            match self.run(body, io.clone()).await {
                Flow::Next(code) => last = code,
                Flow::Continue => {}
                Flow::Break => return Flow::Next(0),
                Flow::Exit(code) => return Flow::Exit(code),
            }
        }
        Flow::Next(last)
    }

    async fn pipeline(&mut self, all: &[Command], io: Io) -> Flow {
        let mut input = io.input.clone();
        let mut code = 0;
        for (i, c) in all.iter().enumerate() {
            let buffer = Arc::new(Mutex::new(Vec::new()));
            let last = i + 1 == all.len();
            let out = if last {
                io.out.clone()
            } else {
                Sink::Buffer(buffer.clone())
            };
            let err = io.err.clone();
            code = self.clone().script(c, Io { input, out, err }).await;
            input = Input::of(std::mem::take(
                &mut buffer.lock().unwrap_or_else(PoisonError::into_inner),
            ));
        }
        Flow::Next(code)
    }

    /// The streams of a command with its redirections.
    async fn streams(&mut self, redirects: &[Redirect], mut io: Io) -> Result<Io, String> {
        let me = self.args.first().cloned().unwrap_or_else(|| "sh".to_owned());
        for r in redirects {
            let word = match r {
                Redirect::Input(w) | Redirect::Output { to: w, .. } => {
                    let all = self.words(std::slice::from_ref(w), &io).await.unwrap_or_default();
                    all.join(" ")
                }
                Redirect::Duplicate { .. } => String::new(),
            };
            let path = absolute(&self.p.directory, &word);
            match r {
                Redirect::Input(_) => {
                    let data = self
                        .p
                        .files
                        .read(&path)
                        .map_err(|e| format!("{me}: can't open {word}: {e}"))?;
                    io.input = Input::of(data);
                }
                Redirect::Output { fd, append, .. } => {
                    let made = self.p.files.write(&path, b"", *append, 0o644);
                    made.map_err(|e| format!("{me}: can't create {word}: {e}"))?;
                    let to = match path.as_str() {
                        "/dev/null" => Sink::Nothing,
                        "/dev/stdout" | "/dev/stderr" => io.out.clone(),
                        _ => Sink::File(path),
                    };
                    *(if *fd == 2 { &mut io.err } else { &mut io.out }) = to;
                }
                Redirect::Duplicate { fd: 2, .. } => io.err = io.out.clone(),
                Redirect::Duplicate { .. } => io.out = io.err.clone(),
            }
        }
        Ok(io)
    }

    async fn simple(&mut self, assigns: &[(String, Word)], words: &[Word], redirects: &[Redirect], io: Io) -> Flow {
        let argv = match self.words(words, &io).await {
            Ok(a) => a,
            Err(code) => return Flow::Exit(code),
        };
        let io = match self.streams(redirects, io.clone()).await {
            Ok(io) => io,
            Err(why) => {
                self.complain(&io, &why);
                return Flow::Next(1);
            }
        };
        let mut saved = Vec::new();
        for (name, word) in assigns {
            let value = match self.text(word, &io).await {
                Ok(v) => v,
                Err(code) => return Flow::Exit(code),
            };
            if argv.is_empty() {
                self.set(name, value);
            } else {
                saved.push((name.clone(), self.p.env.insert(name.clone(), value)));
            }
        }
        let flow = if argv.is_empty() {
            Flow::Next(0)
        } else {
            commands::run(self, &argv, &io).await
        };
        for (name, before) in saved {
            match before {
                Some(v) => self.p.env.insert(name, v),
                None => self.p.env.remove(&name),
            };
        }
        // The handler runs when the command in the foreground has ended.
        if self.p.term.is_cancelled()
            && let Some(handler) = self.trap.take()
            && let Flow::Exit(code) = self.run(&handler, io).await
        {
            return Flow::Exit(code);
        }
        flow
    }

    /// Words after expansion, splitting and patterns of files. An error is the code the shell ends with.
    async fn words(&mut self, words: &[Word], io: &Io) -> Result<Vec<String>, i32> {
        let mut all = Vec::new();
        for w in words {
            // What has been split off already, and the word that grows.
            let (mut grows, mut present, mut pattern) = (String::new(), false, false);
            for part in w {
                let (value, quoted) = self.part(part, io).await?;
                if quoted {
                    present = true;
                    grows.push_str(&value);
                    continue;
                }
                if let Part::Text { text, .. } = part {
                    pattern |= text.contains('*');
                    present = true;
                    grows.push_str(&value);
                    continue;
                }
                if value.starts_with(char::is_whitespace) && !grows.is_empty() {
                    all.push(std::mem::take(&mut grows));
                }
                let mut fields = value.split_whitespace().peekable();
                while let Some(f) = fields.next() {
                    grows.push_str(f);
                    present = true;
                    if fields.peek().is_some() || value.ends_with(char::is_whitespace) {
                        all.push(std::mem::take(&mut grows));
                        present = false;
                    }
                }
            }
            match self.matching(&grows) {
                Some(found) if pattern => all.extend(found),
                _ if present || !grows.is_empty() => all.push(grows),
                _ => {}
            }
        }
        Ok(all)
    }

    /// The files that a pattern with `*` in its last part matches.
    fn matching(&self, pattern: &str) -> Option<Vec<String>> {
        let (dir, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        let (before, after) = last.split_once('*')?;
        let at = if dir.is_empty() && !pattern.starts_with('/') {
            self.p.directory.clone()
        } else {
            format!("{dir}/")
        };
        let names = self.p.files.list(&absolute(&self.p.directory, &at)).ok()?;
        let prefix = pattern.strip_suffix(last).unwrap_or_default();
        let is = |n: &&String| {
            n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after) && !n.starts_with('.')
        };
        let found: BTreeSet<String> = names.iter().filter(is).map(|n| format!("{prefix}{n}")).collect();
        (!found.is_empty()).then(|| found.into_iter().collect())
    }

    async fn text(&mut self, w: &Word, io: &Io) -> Result<String, i32> {
        let mut all = String::new();
        for part in w {
            all += &self.part(part, io).await?.0;
        }
        Ok(all)
    }

    /// The value of a part, and whether it is quoted.
    async fn part(&mut self, p: &Part, io: &Io) -> Result<(String, bool), i32> {
        Ok(match p {
            Part::Text { text, quoted } => (text.clone(), *quoted),
            Part::Variable { name, op, quoted } => {
                let value = self.variable(name);
                let Some((op, word)) = op else {
                    return Ok((value.unwrap_or_default(), *quoted));
                };
                let there = value.filter(|v| !op.starts_with(':') || !v.is_empty());
                let value = match (op.trim_start_matches(':'), there) {
                    ("+", Some(_)) => Roomy::new(self.text(word, io)).await?,
                    ("+", None) => String::new(),
                    (_, Some(v)) => v,
                    ("?", None) => {
                        let why = Roomy::new(self.text(word, io)).await?;
                        let why = if why.is_empty() {
                            "parameter not set".to_owned()
                        } else {
                            why
                        };
                        self.complain(io, &format!("sh: {name}: {why}"));
                        return Err(2);
                    }
                    ("=", None) => {
                        let v = Roomy::new(self.text(word, io)).await?;
                        self.set(name, v.clone());
                        v
                    }
                    (_, None) => Roomy::new(self.text(word, io)).await?,
                };
                (value, *quoted)
            }
            Part::Output { of, quoted } => {
                let buffer = Arc::new(Mutex::new(Vec::new()));
                let io = Io {
                    out: Sink::Buffer(buffer.clone()),
                    ..io.clone()
                };
                self.status = self.clone().script(of, io).await;
                let data = std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
                (
                    String::from_utf8_lossy(&data).trim_end_matches('\n').to_owned(),
                    *quoted,
                )
            }
            Part::Arithmetic(w) => {
                let text = Roomy::new(self.text(w, io)).await?;
                let value = super::arithmetic::evaluate(&text, &|name| self.variable(name));
                match value {
                    Some(n) => (n.to_string(), false),
                    None => {
                        self.complain(io, "sh: arithmetic syntax error");
                        return Err(2);
                    }
                }
            }
        })
    }
}

/// Whether `-e` looks at the command's status.
fn is_checked(c: &Command) -> bool {
    !matches!(c, Command::Not(_) | Command::Chain(..))
}
