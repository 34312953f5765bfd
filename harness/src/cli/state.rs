//! What `cfn up` leaves on disk while it runs, for `down`, `status` and `kubeconfig`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CliError;
use crate::input::{Problem, nearest};

/// The state file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The process that keeps the testbed.
    pub pid: u32,
    /// Its lane.
    pub lane: String,
    /// The topology's name.
    pub topology: String,
    /// Timer profile.
    pub timers: String,
    /// Seed.
    pub seed: u64,
    /// Where it takes commands.
    pub control: PathBuf,
    /// Name of the hub.
    pub hub: String,
    /// Kubeconfig files by cluster.
    pub kubeconfigs: BTreeMap<String, PathBuf>,
}

fn file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

impl State {
    /// Writes it.
    pub fn write(&self, dir: &Path) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| CliError::Failed(e.to_string()))?;
        let path = file(dir);
        std::fs::write(&path, text).map_err(|e| CliError::io(&format!("writing {}", path.display()), &e))
    }

    /// Reads it.
    pub fn read(dir: &Path) -> Result<Self, CliError> {
        let path = file(dir);
        let text = std::fs::read_to_string(&path).map_err(|_| CliError::Environment {
            what: format!("no testbed is running ({} is not there)", path.display()),
            cure: "start one with `cfn up`, or name its directory with --dir".into(),
        })?;
        serde_json::from_str(&text).map_err(|e| {
            Problem::of_file(path.display().to_string(), e.to_string())
                .expected("the state file of `cfn up`")
                .into()
        })
    }

    /// The kubeconfig of a cluster; the hub's without a name.
    pub fn kubeconfig(&self, cluster: Option<&str>) -> Result<&PathBuf, CliError> {
        let name = cluster.unwrap_or(&self.hub);
        self.kubeconfigs.get(name).ok_or_else(|| {
            let names = || self.kubeconfigs.keys().map(String::as_str);
            let mut p = Problem::of_file(name, format!("unknown cluster `{name}`")).one_of(name, names());
            p.nearest = nearest(name, names()).map(str::to_owned);
            p.into()
        })
    }

    /// Takes the files away.
    pub fn remove(&self, dir: &Path) {
        for p in self.kubeconfigs.values() {
            let _ = std::fs::remove_file(p);
        }
        let _ = std::fs::remove_file(&self.control);
        let _ = std::fs::remove_file(file(dir));
        // Only when nothing else is in there.
        let _ = std::fs::remove_dir(dir);
    }
}
