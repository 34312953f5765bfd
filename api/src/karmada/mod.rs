//! Karmada's API groups.

pub mod cluster;
pub mod policy;
pub mod work;
