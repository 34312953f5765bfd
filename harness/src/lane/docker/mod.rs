//! Real clusters in containers.

pub mod daemon;
