//! Commands inside containers.

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures::{Stream, StreamExt};

use super::engine::{Engine, EngineError, Result, doing};

/// How much of what a failed command said a complaint repeats, characters.
const LAST_WORDS: usize = 400;

/// What a command inside a container said.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its exit code.
    pub code: i64,
    /// Its output.
    pub stdout: Vec<u8>,
    /// Its complaints.
    pub stderr: String,
}

impl Engine {
    /// Runs a command in a container to its end.
    ///
    /// # Errors
    /// When the engine refuses; a command that fails is an [`Output`] like another.
    pub async fn exec(&self, name: &str, command: &[&str]) -> Result<Output> {
        let (id, mut said) = self.attach(name, command).await?;
        let mut out = Output::default();
        while let Some(part) = said.next().await {
            match part.map_err(doing(running(name, command)))? {
                LogOutput::StdErr { message } => out.stderr.push_str(&String::from_utf8_lossy(&message)),
                o => out.stdout.extend_from_slice(&o.into_bytes()),
            }
        }
        out.code = self.ended(&id, name, command).await?;
        Ok(out)
    }

    /// As [`Engine::exec`]; a command that fails is an error.
    ///
    /// # Errors
    /// When the engine refuses or the command fails.
    pub async fn run(&self, name: &str, command: &[&str]) -> Result<Output> {
        let out = self.exec(name, command).await?;
        if out.code == 0 {
            return Ok(out);
        }
        let said = format!("{} {}", out.stderr, String::from_utf8_lossy(&out.stdout));
        Err(failed(name, command, out.code, &said))
    }

    /// Starts a command in a container and leaves it running.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn spawn(&self, name: &str, command: &[&str]) -> Result<()> {
        let id = self.prepare(name, command, false).await?;
        let options = StartExecOptions {
            detach: true,
            ..StartExecOptions::default()
        };
        let done = self.docker().start_exec(&id, Some(options)).await;
        done.map(drop).map_err(doing(running(name, command)))
    }

    /// Starts a command in a container, waits until it has said the line `word`, and leaves it running.
    ///
    /// # Errors
    /// When the engine refuses, or the command ends before: with what it said.
    pub async fn begin(&self, name: &str, command: &[&str], word: &str) -> Result<()> {
        let (id, mut parts) = self.attach(name, command).await?;
        let mut said = String::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(doing(running(name, command)))?;
            said.push_str(&String::from_utf8_lossy(&part.into_bytes()));
            if said.lines().any(|l| l == word) {
                return Ok(());
            }
        }
        let code = self.ended(&id, name, command).await?;
        Err(failed(name, command, code, &said))
    }

    async fn prepare(&self, name: &str, command: &[&str], attach: bool) -> Result<String> {
        let config = CreateExecOptions {
            attach_stdout: Some(attach),
            attach_stderr: Some(attach),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = self.docker().create_exec(name, config).await;
        Ok(made.map_err(doing(running(name, command)))?.id)
    }

    /// Starts a command, and what it says.
    async fn attach(
        &self,
        name: &str,
        command: &[&str],
    ) -> Result<(
        String,
        impl Stream<Item = std::result::Result<LogOutput, bollard::errors::Error>> + Unpin,
    )> {
        let id = self.prepare(name, command, true).await?;
        let started = self.docker().start_exec(&id, None::<StartExecOptions>).await;
        match started.map_err(doing(running(name, command)))? {
            StartExecResults::Attached { output, .. } => Ok((id, output)),
            // Only when asked for.
            StartExecResults::Detached => Err(failed(name, command, 0, "it was detached")),
        }
    }

    /// The exit code of a command that has ended.
    async fn ended(&self, id: &str, name: &str, command: &[&str]) -> Result<i64> {
        let ended = self.docker().inspect_exec(id).await;
        let ended = ended.map_err(doing(running(name, command)))?;
        Ok(ended.exit_code.unwrap_or_default())
    }
}

fn running(name: &str, command: &[&str]) -> String {
    format!("running `{}` in {name}", command.join(" "))
}

fn failed(name: &str, command: &[&str], code: i64, said: &str) -> EngineError {
    EngineError::Command {
        container: name.to_owned(),
        command: command.join(" "),
        code,
        said: said.trim().chars().take(LAST_WORDS).collect(),
    }
}
