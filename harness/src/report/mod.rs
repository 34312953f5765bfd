//! The report: one pure function from a run to text per file, and the directory they are written to.

pub mod conformance;
pub mod html;
pub mod junit;
pub mod summary;
pub mod trace;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::evidence::RunResult;

pub use summary::summary;

/// Why the report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory or a file in it can't be written: no permission, disk full.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file's content can't be put into its format.
    #[error("cannot write {file}: {message}")]
    Format {
        /// The file's name.
        file: &'static str,
        /// What the format's library says.
        message: String,
    },
}

/// Every file of the report with its content, in the order they are written.
///
/// # Errors
/// [`ReportError::Format`].
pub fn files(run: &RunResult) -> Result<Vec<(&'static str, String)>, ReportError> {
    Ok(vec![
        ("report.yaml", conformance::render(run)?),
        ("junit_01.xml", junit::render(run)?),
        ("trace.jsonl", trace::render(run)?),
        ("report.html", html::render(run)),
    ])
}

/// Writes every file of the report into `dir` (made when missing) and returns their paths. Each file appears whole or
/// not at all.
///
/// # Errors
/// [`ReportError::Write`] with the path; [`ReportError::Format`].
pub fn write_all(dir: &Path, run: &RunResult) -> Result<Vec<PathBuf>, ReportError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| ReportError::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(error(dir))?;
    let mut written = Vec::new();
    for (name, text) in files(run)? {
        let path = dir.join(name);
        let partial = dir.join(format!(".{name}.partial"));
        let result = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path));
        if result.is_err() {
            // Half a file helps nobody; when even this fails there is nothing more to do about it.
            let _ = fs::remove_file(&partial);
        }
        result.map_err(error(&path))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
