//! `cfn.akraino.org/v1alpha1`: what CFN adds.

mod metric;
mod policy;
mod relocation;

pub use metric::*;
pub use policy::*;
pub use relocation::*;
