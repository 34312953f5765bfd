//! The agents of a computing force network. [`cluster`] joins a cluster to a hub: it registers, keeps a lease,
//! reports what the cluster has and how far the other sites are, and carries out the hub's Works. [`edge`] stands
//! between a node's kubelet and its API server, so that the node lives on when the link is cut.

pub mod cluster;
pub mod edge;
