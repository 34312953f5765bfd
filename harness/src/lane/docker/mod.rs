//! Real clusters in containers.

pub mod daemon;
pub mod manifests;
