//! Which scenarios are meant: bundled ones by id, name or directory, or files.

use std::path::{Path, PathBuf};

use crate::bundled;
use crate::input::{Problem, Problems, Source, nearest};
use crate::scenario::{Base, Overrides, Scenario};

/// Every bundled scenario's path under `scenarios/` with its text, in order.
pub fn bundled_scenarios() -> impl Iterator<Item = (&'static str, &'static str)> {
    bundled::SCENARIOS.iter().copied().filter(|(_, text)| is_scenario(text))
}

/// Whether a file says that it is one; a directory of scenarios also has their manifests.
fn is_scenario(text: &str) -> bool {
    text.lines().any(|l| l.trim_end() == "kind: Scenario")
}

fn id_in(text: &str) -> &str {
    text.lines()
        .find_map(|l| l.strip_prefix("  id: "))
        .map_or("", str::trim)
}

fn bundled(path: &str, text: &str) -> (Source, Base) {
    let dir = path.rsplit_once('/').map_or("", |(d, _)| d);
    (
        Source::new(format!("scenarios/{path}"), text),
        Base::Bundled(dir.to_owned()),
    )
}

fn of_file(path: &Path) -> Result<(Source, Base), Problem> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok((Source::read(path)?, Base::Dir(dir.to_owned())))
}

fn in_directory(dir: &Path, out: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)?.flatten().map(|e| e.path()).collect();
    all.sort();
    for p in all {
        if p.is_dir() {
            in_directory(&p, out)?;
        } else if p.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            out.push(p);
        }
    }
    Ok(())
}

fn sources(wanted: &[String]) -> Result<Vec<(Source, Base)>, Problems> {
    if wanted.is_empty() {
        return Ok(bundled_scenarios().map(|(p, t)| bundled(p, t)).collect());
    }
    let mut out = Vec::new();
    let mut problems = Problems::default();
    for w in wanted {
        let path = Path::new(w);
        if path.is_dir() {
            let mut files = Vec::new();
            if let Err(e) = in_directory(path, &mut files) {
                problems
                    .0
                    .push(Problem::of_file(w, format!("cannot be read: {e}")).expected("a readable directory"));
            }
            let before = out.len();
            for f in files {
                match of_file(&f) {
                    Ok((s, b)) if is_scenario(&s.text) => out.push((s, b)),
                    Ok(_) => {}
                    Err(p) => problems.0.push(p),
                }
            }
            if out.len() == before && problems.0.is_empty() {
                problems
                    .0
                    .push(Problem::of_file(w, "no scenario is in there").expected("a file with `kind: Scenario`"));
            }
            continue;
        }
        if path.exists() {
            match of_file(path) {
                Ok(x) => out.push(x),
                Err(p) => problems.0.push(p),
            }
            continue;
        }
        let key = w.trim_end_matches('/').trim_start_matches("scenarios/");
        let stem = key.trim_end_matches(".yaml");
        let found: Vec<_> = bundled_scenarios()
            .filter(|(p, t)| {
                let name = p.trim_end_matches(".yaml");
                name == stem
                    || name.starts_with(&format!("{stem}/"))
                    || name.rsplit('/').next() == Some(stem)
                    || id_in(t).eq_ignore_ascii_case(w)
            })
            .collect();
        if found.is_empty() {
            let ids: Vec<&str> = bundled_scenarios().map(|(_, t)| id_in(t)).collect();
            let mut p = match of_file(path) {
                Err(p) => p,
                Ok(_) => Problem::of_file(w, "there is no such scenario"),
            };
            if p.nearest.is_none() {
                p.nearest = nearest(w, ids.iter().copied()).map(str::to_owned);
            }
            problems
                .0
                .push(p.expected("a scenario file, a directory, or a bundled scenario's id or phase"));
        }
        out.extend(found.into_iter().map(|(p, t)| bundled(p, t)));
    }
    problems.into_result()?;
    Ok(out)
}

/// The scenarios that are meant, read and checked; all problems of all of them at once.
///
/// # Errors
/// What is wrong.
pub fn scenarios(wanted: &[String], overrides: &Overrides) -> Result<Vec<Scenario>, Problems> {
    let mut problems = Problems::default();
    let mut out: Vec<Scenario> = Vec::new();
    for (source, base) in sources(wanted)? {
        match Scenario::read(source, base, overrides) {
            Ok(s) => {
                if let Some(first) = out.iter().find(|x| x.id() == s.id()) {
                    if first.source == s.source {
                        continue;
                    }
                    let message = format!("duplicate scenario id `{}` (also in {})", s.id(), first.source.name);
                    let p = Problem::new(&s.source, s.file.spec.id.location, message);
                    problems
                        .0
                        .push(p.expected("an id that no other scenario of the run has"));
                    continue;
                }
                out.push(s);
            }
            Err(p) => problems.0.extend(p.0),
        }
    }
    let mut seen = Vec::new();
    problems.0.retain(|p| {
        let new = !seen.contains(p);
        seen.push(p.clone());
        new
    });
    problems.into_result()?;
    Ok(out)
}
