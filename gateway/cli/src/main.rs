//! The binary `sceau`: commands, and which key providers are compiled in.
//!
//! What lives here: the command line and the choice of adapters. What must not: request handling.
//! Invariant: data goes to standard output, messages to standard error, and nothing secret is ever an
//! argument outside development mode.
//!
//! Exit codes: 0 done, 1 something was found wrong, 2 command line or configuration, 3 keys, 4 store,
//! 5 internal, 6 key provider out of reach.

mod audit;
mod buckets;
mod check;
mod decrypt;
mod dev;
mod enrolment;
mod exit;
mod hygiene;
mod keys;
mod output;
mod parts;
mod rewrap;
mod serve;
mod stop;
mod stored;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Failure;
use crate::output::Output;

/// The segments of bodies are allocated on one thread and freed on another all the time, which this allocator does
/// without trimming the heap in between. What a PKCS#11 module allocates is not its business.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Customer-held-key encryption gateway for object storage.
#[derive(Debug, Parser)]
#[command(name = "sceau", version, about, propagate_version = true)]
struct Cli {
    /// Form of the data on standard output
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::AuditArgs),
    Buckets(buckets::BucketsArgs),
    Check(check::CheckArgs),
    Decrypt(decrypt::DecryptArgs),
    Dev(dev::DevArgs),
    Inspect(stored::InspectArgs),
    Keys(keys::KeysArgs),
    Rewrap(rewrap::RewrapArgs),
    Serve(serve::ServeArgs),
    Verify(stored::VerifyArgs),
    /// Runs a PKCS#11 module for a gateway; started by it, not by people
    #[command(hide = true)]
    Pkcs11Helper,
}

fn main() -> ExitCode {
    // What cannot be switched off is reported by `serve`, and by `check`.
    hygiene::shield();
    let cli = Cli::parse();
    // The helper stays single-threaded until its module is loaded: no runtime here.
    if matches!(cli.command, Command::Pkcs11Helper) {
        return sceau_kms_pkcs11::helper_main();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::internal(error).report(),
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Audit(args) => audit::run(args, cli.output).await,
        Command::Buckets(args) => buckets::run(args, cli.output).await,
        Command::Check(args) => check::run(args, cli.output).await,
        Command::Keys(args) => keys::run(args, cli.output).await,
        Command::Rewrap(args) => rewrap::run(args, cli.output).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Decrypt(args) => decrypt::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Inspect(args) => stored::inspect(args, cli.output).await,
        Command::Verify(args) => stored::verify(args, cli.output).await,
        // Handled before the runtime was made.
        Command::Pkcs11Helper => Ok(()),
    }
}
