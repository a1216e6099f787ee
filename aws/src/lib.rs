//! AWS wire protocols, server side.
//!
//! Owns what is AWS's and not Berth's: the request and response shapes of the services (generated from their models), reading and
//! writing them in each wire protocol, the checks that a model's constraints ask for, errors, signatures, and finding out which
//! operation a request calls. Pure functions over `http` types; knows nothing of Berth, of a server or of a clock.
//!
//! # One request
//!
//! ```
//! use berth_aws::ecs::operations::CreateCluster;
//! use berth_aws::ecs::{Cluster, CreateClusterRequest, CreateClusterResponse, errors};
//! use berth_aws::{AwsError, Operation, protocol};
//!
//! // A handler knows its shapes only; `errors` holds the service's errors.
//! fn create_cluster(input: CreateClusterRequest) -> Result<CreateClusterResponse, AwsError> {
//!     let name = input.cluster_name.unwrap_or_else(|| "default".to_owned());
//!     if name.contains(' ') {
//!         return Err(errors::INVALID_PARAMETER.error("Identifier was invalid"));
//!     }
//!     let cluster = Cluster { cluster_name: Some(name), ..Default::default() };
//!     Ok(CreateClusterResponse { cluster: Some(cluster) })
//! }
//!
//! // The server reads the input, checked against the model, calls the handler and writes what it answers.
//! let body = br#"{"clusterName": "prod"}"#;
//! let answer = protocol::read::<CreateCluster>(body).and_then(create_cluster);
//! let response = match answer {
//!     Ok(output) => protocol::write::<CreateCluster>(&output, "request-1"),
//!     Err(error) => protocol::write_error(CreateCluster::SERVICE, &error, "request-1"),
//! };
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.body().as_ref(), br#"{"cluster":{"clusterName":"prod"}}"#);
//! ```
//!
//! # The way of a request
//!
//! 1. [`sigv4::verify`] says who signed it, for which region and service, or why the signature is refused.
//! 2. [`route::route`] finds the [`Operation`]'s table by service, then target or action, and hands out its input.
//! 3. [`protocol::read`], the handler, then [`protocol::write`] or [`protocol::write_error`], as above.
//!
//! What fails before step 3 is answered with [`route::refuse`], which finds the protocol that the caller speaks.
//!
//! # All services and operations
//!
//! [`SERVICES`] lists every service, [`Service::operations`] its operations by name, and each service's module has a macro
//! `for_each_operation!` that calls a macro with the types of all its operations.

mod check;
pub mod error;
mod generated;
pub mod model;
pub mod protocol;
pub mod route;
pub mod scalar;
pub mod sigv4;

pub use error::{AwsError, ErrorKind};
pub use generated::*;
pub use model::{Operation, OperationModel, Service};
pub use protocol::Protocol;
pub use scalar::{Blob, Timestamp};
