//! Shred domains: which keys belong to which names of a bucket (§9.4).
//!
//! What lives here: the domain of a prefix, and the domains of a name. What must not: states of records.
//! Invariant: a name has one domain at a time, decided by the authenticated records alone: the one of its longest
//! prefix that has records, otherwise the bucket's own.
//!
//! The attack considered: a client chooses names so that they fall into another's domain. It would have to find a
//! prefix with a given SHA-384, cut to 128 bits; and its gain would be objects that somebody else can destroy.

use std::collections::BTreeSet;

use sceau_keys::{BucketId, DomainId, Purpose};
use sha2::{Digest, Sha384};

use super::KeyringContent;
use crate::record::KeyRecord;

/// Longest prefix of a domain in bytes: the longest name that S3 has.
pub const DOMAIN_PREFIX_BYTES_MAX: usize = 1_024;

/// Ends each prefix of a domain.
const DELIMITER: u8 = b'/';

/// Begins the input of the digest that names a domain.
const LABEL: &[u8] = b"sof1/domain\0";

/// Whether names that begin with `prefix` can be a domain: it is not empty and ends with a slash.
pub fn is_domain_prefix(prefix: &[u8]) -> bool {
    prefix.len() <= DOMAIN_PREFIX_BYTES_MAX && prefix.last() == Some(&DELIMITER)
}

/// The domain of the names of `bucket` that begin with `prefix`.
pub fn prefix_domain(bucket: &BucketId, prefix: &[u8]) -> DomainId {
    let digest = Sha384::new()
        .chain_update(LABEL)
        .chain_update(bucket.0)
        .chain_update(prefix)
        .finalize();
    DomainId(digest.first_chunk().copied().unwrap_or_default())
}

impl KeyringContent {
    /// The data records of a bucket.
    pub fn data_records(&self, bucket: BucketId) -> impl Iterator<Item = &KeyRecord> {
        let is_of = move |record: &&KeyRecord| record.purpose == Purpose::Data && record.bucket == bucket;
        self.records.iter().filter(is_of)
    }

    /// The domain of names that belong to no other one: that of the bucket's first record.
    pub fn own_domain(&self, bucket: BucketId) -> Option<DomainId> {
        self.data_records(bucket).next().map(|record| record.domain)
    }

    /// The domains of a bucket, its own first, the others in the order in which they began.
    pub fn domains(&self, bucket: BucketId) -> Vec<DomainId> {
        let mut seen = BTreeSet::new();
        self.data_records(bucket)
            .map(|record| record.domain)
            .filter(|domain| seen.insert(*domain))
            .collect()
    }

    /// The domains that `name` can have had, the present one first and the bucket's own last.
    pub fn domains_of(&self, bucket: BucketId, name: &[u8]) -> Vec<DomainId> {
        let all: BTreeSet<_> = self.data_records(bucket).map(|record| record.domain).collect();
        let own = self.own_domain(bucket);
        // Nearly every bucket has one: then nothing is computed.
        if all.len() < 2 {
            return own.into_iter().collect();
        }
        let ends = name
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == DELIMITER);
        let prefixes = ends.filter_map(|(end, _)| name.get(..=end));
        let known = prefixes
            .filter(|prefix| is_domain_prefix(prefix))
            .map(|prefix| prefix_domain(&bucket, prefix))
            .filter(|domain| all.contains(domain) && Some(*domain) != own);
        known.chain(own).collect()
    }

    /// The newest record of a domain.
    pub fn newest_record(&self, bucket: BucketId, domain: DomainId) -> Option<&KeyRecord> {
        self.data_records(bucket)
            .filter(|record| record.domain == domain)
            .max_by_key(|record| record.epoch)
    }

    /// The record that seals new objects of a domain now: its newest epoch that may.
    pub fn sealing_record_of(&self, bucket: BucketId, domain: DomainId, now_ms: u64) -> Option<&KeyRecord> {
        self.data_records(bucket)
            .filter(|record| record.domain == domain && record.may_seal(now_ms))
            .max_by_key(|record| record.epoch)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sceau_keys::{Krid, TenantId};

    use super::*;
    use crate::record::RecordState;

    const BUCKET: BucketId = BucketId([3; 16]);

    fn record(number: u8, domain: DomainId, epoch: u32) -> KeyRecord {
        KeyRecord {
            krid: Krid([number; 16]),
            purpose: Purpose::Data,
            tenant: TenantId([1; 16]),
            bucket: BUCKET,
            domain,
            epoch,
            suite_mask: 1,
            state: RecordState::EncryptDecrypt,
            not_before_ms: 0,
            not_after_ms: u64::MAX,
            wraps: Vec::new(),
            check: [0; 32],
        }
    }

    fn content(domains: &[DomainId]) -> KeyringContent {
        KeyringContent {
            tenant: TenantId([1; 16]),
            generation: 1,
            keks: Vec::new(),
            records: (1..)
                .zip(domains)
                .map(|(number, domain)| record(number, *domain, 1))
                .collect(),
            buckets: Vec::new(),
        }
    }

    /// Frozen: a domain that were computed differently would seal names of a shred domain under another key.
    #[test]
    fn the_domain_of_a_prefix_is_what_the_specification_says() {
        let domain = prefix_domain(&BucketId([0x11; 16]), b"customers/42/");
        assert_eq!(HEXLOWER.encode(&domain.0), "aa961822381990a58ca04b5be2faafb2");
        assert_ne!(domain, prefix_domain(&BucketId([0x12; 16]), b"customers/42/"));
        assert_ne!(domain, prefix_domain(&BucketId([0x11; 16]), b"customers/4/"));
    }

    #[test]
    fn a_name_belongs_to_its_longest_prefix_that_has_records() {
        let own = DomainId([9; 16]);
        let [a, ab, deep] = [&b"a/"[..], b"a/b/", b"x/y/z/"].map(|prefix| prefix_domain(&BUCKET, prefix));
        let content = content(&[own, ab, a, deep]);
        let of = |name: &str| content.domains_of(BUCKET, name.as_bytes());
        assert_eq!(of("a/b/c"), [ab, a, own]);
        assert_eq!(of("a/b/"), [ab, a, own]);
        assert_eq!(of("a/b"), [a, own]);
        assert_eq!(of("a/c/b/"), [a, own]);
        assert_eq!(of("a"), [own]);
        assert_eq!(of("b/a/b/"), [own]);
        assert_eq!(of("x/y/z"), [own]);
        assert_eq!(of("x/y/z/1"), [deep, own]);
        assert_eq!(of("/a/"), [own], "names are bytes: nothing is cleaned");
        assert_eq!(of("a//b/"), [a, own]);
        assert_eq!(content.domains(BUCKET), [own, ab, a, deep]);
        assert_eq!(content.domains_of(BucketId([4; 16]), b"a/b/c"), []);
    }

    #[test]
    fn epochs_are_counted_in_each_domain() {
        let own = DomainId([9; 16]);
        let a = prefix_domain(&BUCKET, b"a/");
        let mut content = content(&[own, a]);
        content.records.push(record(3, own, 7));
        let sealing = |domain| {
            content
                .sealing_record_of(BUCKET, domain, 5)
                .map(|record| record.epoch)
        };
        assert_eq!((sealing(own), sealing(a)), (Some(7), Some(1)));
        assert_eq!(
            content.sealing_record(BUCKET, 5).map(|record| record.epoch),
            Some(7)
        );
        assert_eq!(
            content.newest_record(BUCKET, a).map(|record| record.krid),
            Some(Krid([2; 16]))
        );
    }

    #[test]
    fn prefixes_of_domains_end_with_a_slash() {
        assert!(is_domain_prefix(b"a/") && is_domain_prefix(b"/") && is_domain_prefix(b"a/b/"));
        assert!(!is_domain_prefix(b"") && !is_domain_prefix(b"a"));
        let long = [vec![b'a'; DOMAIN_PREFIX_BYTES_MAX], vec![b'/']].concat();
        assert!(!is_domain_prefix(&long));
    }
}
