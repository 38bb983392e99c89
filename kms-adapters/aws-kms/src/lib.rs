//! Keys in the key management service of AWS, or in one that speaks its protocol.
//!
//! What lives here: [`AwsKmsProvider`], how a key is named, the meaning of the service's answers. What must not:
//! TLS, connections, where credentials come from. Invariant: only DescribeKey, Encrypt, Decrypt and GenerateRandom
//! are ever asked for: never GenerateDataKey (epoch keys are made by the gateway, of two generators), never
//! anything that changes a key.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod answers;
mod name;
mod provider;
mod request;

pub use name::KeyName;
pub use provider::{AwsKmsConfig, AwsKmsProvider};
pub use request::CredentialLender;
