//! Multi-cluster scheduler: a pure [`engine`] and the [`controllers`] around it.
//!
//! The vocabulary and the arithmetic are Karmada's (policies, bindings, Works, Webster's division); what CFN adds is the
//! joint view of computing and network ([`cfn_api::cfn::ComputingPolicy`]). [`offline`] runs the engine on files.

pub mod controllers;
pub mod engine;
pub mod offline;
