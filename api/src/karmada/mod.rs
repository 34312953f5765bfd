//! Karmada's API groups.

pub mod apps;
pub mod cluster;
pub mod config;
pub mod overrides;
pub mod policy;
pub mod quota;
pub mod taint;
pub mod work;
