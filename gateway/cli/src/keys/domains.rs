//! Shred domains by their prefixes: what `--prefix` means, and what a domain's number is called.
//!
//! What lives here: the names of domains. What must not: which domain a name is of, which is the format's.
//! Invariant: a name that the store hands out for a domain is shown only if the domain's number follows from it.

use bytes::Bytes;
use sceau_envelope::KeyringContent;
use sceau_envelope::keyring::{is_domain_prefix, prefix_domain};
use sceau_keys::{BucketId, DomainId};
use sceau_server::upstream::Condition;

use crate::exit::Failure;
use crate::parts::Foundations;

/// What the bucket's own domain is called.
pub const OWN: &str = "(bucket)";

/// The domain that `--prefix` names; the bucket's own without.
pub fn named(content: &KeyringContent, bucket: BucketId, prefix: Option<&str>) -> Result<DomainId, Failure> {
    match prefix {
        Some(prefix) if is_domain_prefix(prefix.as_bytes()) => Ok(prefix_domain(&bucket, prefix.as_bytes())),
        Some(_) => Err(Failure::usage(
            "the prefix of a shred domain ends with a slash, and has 1024 bytes at most",
        )),
        None => content
            .own_domain(bucket)
            .ok_or_else(|| Failure::usage("the bucket has no epochs")),
    }
}

/// Where the store remembers the prefix of a domain.
fn object(domain: DomainId) -> String {
    format!("domains/{domain}")
}

/// Remembers the prefix of a domain, which the keyring cannot tell.
pub async fn remember(foundations: &Foundations, domain: DomainId, prefix: &str) -> Result<(), Failure> {
    let value = Bytes::copy_from_slice(prefix.as_bytes());
    let name = object(domain);
    let put = foundations.control.put(&name, value, Condition::None);
    put.await.map(drop).map_err(Failure::store)
}

/// What a domain is called: its prefix if the store tells one that it follows from, otherwise its number.
pub async fn name(
    foundations: &Foundations,
    content: &KeyringContent,
    bucket: BucketId,
    domain: DomainId,
) -> String {
    if content.own_domain(bucket) == Some(domain) {
        return OWN.to_owned();
    }
    let told = foundations.control.get(&object(domain)).await.ok().flatten();
    let prefix = told.and_then(|(value, _)| String::from_utf8(value.to_vec()).ok());
    let is_true = |prefix: &String| prefix_domain(&bucket, prefix.as_bytes()) == domain;
    prefix
        .filter(is_true)
        .unwrap_or_else(|| format!("domain {domain}"))
}
