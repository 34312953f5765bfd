//! Programs beside ours.

use super::facts::Tools;
use super::finding::{Finding, Lane};

/// What follows: none is needed by a lane.
#[must_use]
pub fn judge(t: &Tools) -> Vec<Finding> {
    let tool = |name: &str, lanes: &[Lane], version: &Option<String>, cure: &str| match version {
        Some(v) => Finding::ok(name, lanes, v.clone()),
        None => Finding::warn(name, lanes, "not found", cure),
    };
    vec![
        tool(
            "kubectl",
            &[Lane::Local, Lane::Docker],
            &t.kubectl,
            "install kubectl to look into testbeds (nix develop has it)",
        ),
        tool(
            "kind",
            &[Lane::Docker],
            &t.kind,
            "needed by the flavour kind only: go install sigs.k8s.io/kind@latest (nix develop has it)",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn an_absent_program_is_worth_knowing_and_no_more() {
        let found = judge(&Tools {
            kubectl: Some("Client Version: v1.36.3".into()),
            kind: None,
        });
        assert_eq!((found[0].state, found[1].state), (State::Ok, State::Warn));
    }
}
