//! The testbed and integration harness: brings up a computing force network, runs the blueprint's scenarios on it,
//! and leaves evidence.

pub mod access;
pub mod bundled;
pub mod cli;
pub mod doctor;
pub mod evidence;
pub mod fault;
pub mod input;
pub mod lane;
pub mod link;
pub mod node;
pub mod report;
pub mod scenario;
pub mod secret;
pub mod testbed;
pub mod timers;
pub mod topology;

pub use testbed::Testbed;
