//! `cfn snapshot`: testbeds that are kept for later. A record of each is a file; its images and volumes are in Docker.

use std::path::PathBuf;

use super::state::State;
use super::{CliError, out, up};
use crate::input::Problem;
use crate::lane::docker;
use crate::lane::docker::snapshot::{Record, check_name};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Keep a running testbed of `cfn up --lane docker` under a name; it goes on afterwards
    Save {
        /// Lower-case letters, digits and `-`
        name: String,
        /// The directory that `cfn up` was given
        #[arg(long, default_value = up::DIR)]
        dir: PathBuf,
    },
    /// List what is kept
    List,
    /// Take one away, with its images and volumes
    Delete {
        /// Its name
        name: String,
    },
}

/// Where the records are: `$XDG_DATA_HOME/cfn/snapshots`, else `~/.local/share/cfn/snapshots`.
fn records() -> Result<PathBuf, CliError> {
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/share"));
    data.or_else(home)
        .map(|d| d.join("cfn/snapshots"))
        .ok_or_else(|| CliError::Environment {
            what: "there is no place for snapshots".into(),
            cure: "set HOME or XDG_DATA_HOME".into(),
        })
}

fn file(name: &str) -> Result<PathBuf, CliError> {
    check_name(name).map_err(|p| CliError::from(*p))?;
    Ok(records()?.join(format!("{name}.json")))
}

/// Writes a record, readable by its owner alone: it holds the secret by which nodes join.
pub fn write(record: &Record) -> Result<(), CliError> {
    let path = file(&record.name)?;
    let text = serde_json::to_string_pretty(record).map_err(|e| CliError::Failed(e.to_string()))?;
    let written = crate::secret::write(&path, &text);
    written.map_err(|e| CliError::io(&format!("writing {}", path.display()), &e))
}

/// The record of a snapshot.
pub fn read(name: &str) -> Result<Record, CliError> {
    let path = file(name)?;
    let text = std::fs::read_to_string(&path).map_err(|_| {
        let known = names().unwrap_or_default();
        let p = Problem::of_file(name, format!("unknown snapshot `{name}`"));
        CliError::from(if known.is_empty() {
            p.expected("one that `cfn snapshot save` kept; there is none")
        } else {
            p.one_of(name, known.iter().map(String::as_str))
        })
    })?;
    serde_saphyr::from_str(&text).map_err(|e| {
        Problem::of_file(path.display().to_string(), e.to_string())
            .expected("a record of `cfn snapshot save` of this version")
            .into()
    })
}

fn names() -> Result<Vec<String>, CliError> {
    let Ok(entries) = std::fs::read_dir(records()?) else {
        return Ok(Vec::new());
    };
    let mut all: Vec<String> = entries
        .filter_map(|e| Some(e.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    all.sort();
    Ok(all)
}

pub fn main(command: &Command) -> Result<(), CliError> {
    match command {
        Command::Save { name, dir } => {
            check_name(name).map_err(|p| CliError::from(*p))?;
            let state = State::read(dir)?;
            let said = up::ask(&state, &format!("snapshot {name}"))?;
            match said.strip_prefix("saved ") {
                Some(text) => {
                    out::line(text.trim());
                    Ok(())
                }
                None => Err(CliError::Failed(said.trim().to_owned())),
            }
        }
        Command::List => {
            let mut rows = vec![
                ["NAME", "TOPOLOGY", "FLAVOUR", "HOSTS", "SAVED"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            for name in names()? {
                match read(&name) {
                    Ok(r) => rows.push(vec![
                        name,
                        r.plan.topology,
                        r.flavour,
                        r.volumes.len().to_string(),
                        r.saved,
                    ]),
                    Err(e) => rows.push(vec![name, format!("unreadable: {}", e.text())]),
                }
            }
            out::line(out::table(&rows).trim_end());
            Ok(())
        }
        Command::Delete { name } => {
            let path = file(name)?;
            let removed = up::runtime()?.block_on(docker::delete_snapshot(name))?;
            let known = std::fs::remove_file(&path).is_ok();
            if removed == 0 && !known {
                read(name)?;
            }
            out::line(&format!("{name}: {removed} images and volumes removed"));
            Ok(())
        }
    }
}
