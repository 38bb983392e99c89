//! The store client: signs requests and sends them to the object store.
//!
//! What lives here: connection pools, signing with the gateway's own credentials, time limits,
//! retries, region learning, the control bucket. What must not: client identities, keys of objects,
//! plaintext. Invariant: this is the only room that opens a connection to the store, and a request
//! body that did not end as promised never completes a request: the connection is dropped short of
//! its `Content-Length`. Start reading at [`Store::send`].

mod address;
mod backoff;
mod body;
mod config;
mod connect;
mod control;
mod credentials;
mod error;
mod fault;
mod folders;
mod region;
mod request;
mod response;
mod signing;
mod store;
#[cfg(test)]
mod tests;

pub use body::BodyError;
pub use config::{AddressingStyle, Capabilities, FolderMarkers, StoreConfig, Timeouts};
pub(crate) use connect::{StoreConnector, tls_config};
pub use control::{Condition, ControlBucket, PutOutcome};
pub use credentials::{CredentialProvider, CredentialSource};
pub use error::{ConnectFault, CredentialFault, RetrySafety, StoreError, Wait};
pub use fault::{UpstreamFault, classify_error};
pub use folders::keeps_folder_objects;
pub use request::{StoreBody, StoreRequest};
pub use response::{StoreResponse, StoreResponseBody};
pub use store::Store;
