//! An embedded Kubernetes API server with controllers and simulated nodes.
//!
//! Resources are described by data ([`schema::discovery`] and CustomResourceDefinitions); one path serves them all
//! ([`registry`]), over HTTP and in process ([`local::Local`]). It is never presented as Kubernetes itself.

mod aggregator;
mod anyone;
pub mod audit;
pub mod auth;
mod certificate;
pub mod cluster;
pub mod controllers;
pub mod crd;
pub mod cron;
pub mod data_dir;
pub mod defaults;
mod digest;
mod endpoints;
pub mod extension;
pub mod http;
pub mod local;
pub mod node;
pub mod patch;
mod pod_security;
pub mod registry;
pub mod schema;
pub mod select;
pub mod status;
pub mod store;
pub mod table;
pub mod webhook;
