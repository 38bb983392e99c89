//! Which key seals a name, and which can have sealed it.
//!
//! What lives here: the questions of the request path about shred domains. What must not: the rule itself, which
//! is the format's. Invariant: a domain whose epochs do not seal is never passed over: its names are refused, and
//! do not fall back to the bucket's own epochs.

use sceau_envelope::RecordState;
use sceau_keys::{BucketId, DomainId, Krid};

use super::error::{EpochKeyError, KeyringFault};
use super::{KeyringService, now_ms};
use crate::keyring::change::Change;

impl KeyringService {
    /// The record that seals new objects of `bucket` now, outside of shred domains of prefixes.
    ///
    /// # Errors
    /// As [`KeyringService::sealing_epoch`].
    pub fn active_epoch(&self, bucket: BucketId) -> Result<Krid, EpochKeyError> {
        self.sealing_epoch(bucket, b"")
    }

    /// The record that seals `name` in `bucket` now.
    ///
    /// # Errors
    /// [`EpochKeyError::NotUsable`] when no record of its domain may seal, [`EpochKeyError::Unknown`] when the
    /// bucket has none.
    pub fn sealing_epoch(&self, bucket: BucketId, name: &[u8]) -> Result<Krid, EpochKeyError> {
        let loaded = self.loaded();
        let content = loaded.keyring.content();
        let domains = content.domains_of(bucket, name);
        let domain = *domains.first().ok_or(EpochKeyError::Unknown)?;
        if let Some(record) = content.sealing_record_of(bucket, domain, now_ms()) {
            return Ok(record.krid);
        }
        Err(match content.newest_record(bucket, domain) {
            Some(record) if record.state == RecordState::EncryptDecrypt => EpochKeyError::NotNow,
            Some(record) => EpochKeyError::NotUsable(record.state),
            None => EpochKeyError::Unknown,
        })
    }

    /// The records that can have sealed `name` in `bucket` and may open it: of its domain first, then of those it
    /// belonged to before that one began; newest epoch first.
    pub fn opening_records(&self, bucket: BucketId, name: &[u8]) -> Vec<Krid> {
        let loaded = self.loaded();
        let content = loaded.keyring.content();
        let domains = content.domains_of(bucket, name);
        let place = |domain: DomainId| domains.iter().position(|known| *known == domain);
        let mut opening: Vec<_> = content
            .data_records(bucket)
            .filter(|record| record.may_open())
            .filter_map(|record| {
                Some((
                    place(record.domain)?,
                    std::cmp::Reverse(record.epoch),
                    record.krid,
                ))
            })
            .collect();
        opening.sort_unstable();
        opening.into_iter().map(|(_, _, krid)| krid).collect()
    }

    /// Begins the next epoch of a shred domain of the bucket called `name`, its first one if `begins`. Answers the
    /// new record.
    ///
    /// # Errors
    /// [`KeyringFault::DomainUnknown`] where the domain has no epoch and is not to begin, [`KeyringFault::DomainKnown`]
    /// where it is to begin and has one, and as [`KeyringService::add_bucket`].
    pub async fn new_epoch_of(
        &self,
        name: &str,
        domain: DomainId,
        begins: bool,
    ) -> Result<Krid, KeyringFault> {
        self.change(&Change::NewDomainEpoch {
            name: name.to_owned(),
            domain,
            begins,
        })
        .await?;
        let entry = self.bucket(name).ok_or(KeyringFault::BucketUnknown)?;
        let loaded = self.loaded();
        let record = loaded
            .keyring
            .content()
            .sealing_record_of(entry.bucket, domain, now_ms());
        record.map(|record| record.krid).ok_or(KeyringFault::EpochUnknown)
    }
}
