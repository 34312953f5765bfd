//! Resources described by data, and the one path every write takes whatever the resource is: versions, defaults,
//! validation, admission, ownership of fields, storage.

mod addresses;
mod admission;
mod admit_account;
mod admit_pod;
mod aggregated_roles;
mod apply;
mod autoscaling;
mod bootstrap;
mod call;
mod catalog;
mod conditions;
mod connect;
mod conversion;
mod convert;
mod create;
mod delete;
mod evict;
mod hooks;
mod identity;
mod kept;
mod meta;
mod patch;
mod pod_security;
mod policy;
mod quota;
mod read;
mod resource;
mod scale;
mod server;
mod services;
mod signers;
mod strategy;
mod update;
mod warning_headers;

pub use call::{Call, FieldValidation, User};
pub use catalog::Catalog;
pub(crate) use conditions::Condition;
pub use conversion::Conversion;
pub use delete::{DeleteOptions, Deleted, Propagation};
pub use patch::PatchKind;
pub use read::{List, ListOptions};
pub use resource::{Custom, Resource, ScalePaths, Subresource};
pub(crate) use resource::{api_version, group_version};
pub(crate) use server::uuid;
pub use server::{Server, Settings};
pub use update::{Target, Written};

pub(crate) use bootstrap::{ADVERTISED, SECURE_PORT, for_external_controllers};
pub(crate) use convert::as_kept;
pub(crate) use delete::{answers_with_object, warn_of_orphans};
pub(crate) use identity::{nameless, same_name};
pub(crate) use meta::{at, drop_nulls, go_package, list, rfc3339, text};
pub(crate) use quota::{pod_amounts, pod_requests, to_value as quota_amounts, used as quota_used};
pub(crate) use warning_headers::warning_headers;
