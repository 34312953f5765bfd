//! What tests share that need something which a machine may lack.
#![allow(dead_code, reason = "every test takes a part of it")]

use cfn::lane::docker::Docker;
use libtest_mimic::{Failed, Trial};

/// A test that is reported as ignored, with the reason. Asked for all the same, it fails with it.
pub fn ignored(name: &str, why: &str) -> Trial {
    let said = why.to_owned();
    Trial::test(format!("{name} ({why})"), move || Err(said.into())).with_ignored_flag(true)
}

/// A test, or why it is ignored.
pub fn trial(name: &str, lacking: Option<&str>, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    match lacking {
        None => Trial::test(name, test),
        Some(why) => ignored(name, why),
    }
}

/// Why the docker lane, with its default flavour, cannot be used here.
pub fn no_docker() -> Option<String> {
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    rt.block_on(Docker::default().available()).err().map(|e| e.to_string())
}
