//! `sceau keys accept`: what token, key and module are now becomes what they should be.
//!
//! What lives here: the command. What must not: the comparison (`crate::enrolment`). Invariant: nothing is
//! accepted with a key that does not open the keyring.

use clap::Args;
use serde_json::json;

use crate::enrolment;
use crate::exit::Failure;
use crate::output::Output;
use crate::parts::{ConfigArg, Foundations, Provider};

/// What becomes of what was accepted before.
#[derive(Debug, Args)]
pub struct AcceptArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Only show what is different
    #[arg(long)]
    dry_run: bool,
    /// Accept modules of before no longer; without it gateways that have them yet go on to start
    #[arg(long, conflicts_with = "dry_run")]
    only: bool,
}

/// Accepts what is seen, or shows what would be accepted.
pub async fn run(args: AcceptArgs, output: Output) -> Result<(), Failure> {
    let foundations = Foundations::load(&args.config.config)?;
    // Whatever the module is: accepting it is what this command is for.
    let provider = Provider::start_with(&foundations.config.keys, None).await?;
    let service = foundations.keyring(provider.shared(&foundations.metrics)).await?;
    let seen = provider.tokens();
    let (differences, serial) = if args.dry_run {
        let look = enrolment::look(&foundations, &service, &provider).await?;
        (look.differences().to_vec(), None)
    } else {
        match enrolment::accept(&foundations, &service, &provider, args.only).await? {
            Some((record, differences)) => (differences, Some(record.serial)),
            None => (Vec::new(), None),
        }
    };
    let mut lines: Vec<_> = seen
        .iter()
        .map(|token| {
            let attributes: Vec<_> = token
                .attributes
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!(
                "token {} ({})\n  key {} version {}  CKA_ID {}  check value {}  {}\n  {}\n  module {}",
                token.token_serial,
                token.token,
                token.key_label,
                token.key_version,
                token.key_id,
                token.check_value.as_deref().unwrap_or("not told"),
                token.scheme,
                attributes.join(" "),
                token.modules.join(" "),
            )
        })
        .collect();
    if differences.is_empty() {
        lines.push("nothing is different from what was accepted".to_owned());
    }
    lines.extend(
        differences
            .iter()
            .map(|difference| format!("different: {difference}")),
    );
    lines.push(match serial {
        Some(serial) => format!("accepted, record {serial}; running gateways are not affected"),
        None => "nothing was written".to_owned(),
    });
    let json = json!({"tokens": seen, "differences": differences, "record": serial});
    output.print(&lines.join("\n"), &json)
}
