//! Embeds the bundled topologies, scenarios and timer profiles, so that an installed binary works anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    println!("cargo::rerun-if-changed={}", dir.display());
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for p in paths {
        if p.is_dir() {
            files(&p, out);
        } else if p.extension().is_some_and(|e| e == "yaml") {
            println!("cargo::rerun-if-changed={}", p.display());
            out.push(p);
        }
    }
}

fn main() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut text = String::new();
    for (name, dir, whole_path, what) in [
        ("TIMERS", here.join("timers"), false, "Timer profiles: name and text."),
        (
            "FLAVOURS",
            here.join("flavours"),
            false,
            "What clusters in containers are made of: name and text.",
        ),
        (
            "TOPOLOGIES",
            here.join("../topologies"),
            false,
            "Topologies: name and text.",
        ),
        (
            "SCENARIOS",
            here.join("../scenarios"),
            true,
            "Scenarios and their manifests: path under `scenarios/` and text.",
        ),
    ] {
        let mut found = Vec::new();
        files(&dir, &mut found);
        writeln!(text, "/// {what}\npub const {name}: &[(&str, &str)] = &[").expect("a string takes it");
        for p in found {
            let rel = p
                .strip_prefix(&dir)
                .expect("it was found in there")
                .display()
                .to_string();
            let key = if whole_path {
                rel.replace('\\', "/")
            } else {
                rel.trim_end_matches(".yaml").to_owned()
            };
            writeln!(text, "    ({key:?}, include_str!({:?})),", p.display().to_string()).expect("a string takes it");
        }
        text.push_str("];\n");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it")).join("bundled.rs");
    std::fs::write(out, text).expect("cargo's own directory takes it");
}
