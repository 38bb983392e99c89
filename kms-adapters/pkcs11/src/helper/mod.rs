//! Skeleton.
use std::process::ExitCode;

/// The helper process: reads its configuration from standard input, which must be the gateway's
/// socket, and serves until that closes. Synchronous; never forks.
pub fn helper_main() -> ExitCode {
    ExitCode::from(2)
}
