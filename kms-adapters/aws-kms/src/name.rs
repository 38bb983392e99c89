//! How a key is named.
//!
//! What lives here: key ARNs and key ids. What must not: calls. Invariant: an alias is no name of a key, because it
//! can be moved to another key; a name that passed can stand in JSON as it is.

/// Longest key id, in bytes.
const ID_BYTES_MAX: usize = 64;
/// Longest key ARN, in bytes.
const ARN_BYTES_MAX: usize = 256;

/// A key by its id, and by its ARN where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    id: String,
    arn: Option<String>,
}

fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl KeyName {
    /// Reads `arn:PARTITION:kms:REGION:ACCOUNT:key/ID` or a bare `ID`. `None` for aliases and anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if !text.starts_with("arn:") {
            return is_word(text, ID_BYTES_MAX).then(|| Self {
                id: text.to_owned(),
                arn: None,
            });
        }
        let mut pieces = text.split(':');
        let (_, partition, service) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let (region, account, resource) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let id = resource.strip_prefix("key/")?;
        let words = [partition, region, account];
        let fits = service == "kms"
            && pieces.next().is_none()
            && text.len() <= ARN_BYTES_MAX
            && is_word(id, ID_BYTES_MAX)
            && words.iter().all(|word| is_word(word, ID_BYTES_MAX));
        fits.then(|| Self {
            id: id.to_owned(),
            arn: Some(text.to_owned()),
        })
    }

    /// What stands behind `key/`. It goes into wraps: the same in every region that holds the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the service's ARN of a key is this key's.
    pub(crate) fn is(&self, arn: &str) -> bool {
        match &self.arn {
            Some(own) => own == arn,
            None => Self::parse(arn).is_some_and(|named| named.id == self.id),
        }
    }

    /// What is sent until the ARN is known.
    pub(crate) fn as_sent(&self) -> &str {
        self.arn.as_deref().unwrap_or(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:eu-west-3:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

    #[test]
    fn a_key_is_named_by_arn_or_id_and_never_by_alias() {
        let named = KeyName::parse(ARN).unwrap();
        assert_eq!(named.id(), "1234abcd-12ab-34cd-56ef-1234567890ab");
        assert_eq!(KeyName::parse("mrk-0123").unwrap().id(), "mrk-0123");
        assert!(KeyName::parse(&ARN.replace("arn:aws:", "arn:aws-cn:")).is_some());
        for bad in [
            "",
            "alias/kek",
            "arn:aws:kms:eu-west-3:111122223333:alias/kek",
            "arn:aws:s3:eu-west-3:111122223333:key/1234",
            "arn:aws:kms:eu-west-3:111122223333:key/12\"34",
            "arn:aws:kms:eu-west-3:111122223333:key/1234:5",
            "arn:aws:kms::111122223333:key/1234",
            "a b",
            "a\"b",
        ] {
            assert_eq!(KeyName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn another_key_of_the_service_is_not_this_one() {
        let named = KeyName::parse(ARN).unwrap();
        assert!(named.is(ARN));
        assert!(!named.is(&ARN.replace("eu-west-3", "eu-west-1")));
        assert!(!named.is(&ARN.replace("111122223333", "444455556666")));
        let bare = KeyName::parse(named.id()).unwrap();
        assert!(bare.is(ARN) && bare.is(&ARN.replace("eu-west-3", "eu-west-1")));
        assert!(!bare.is(&ARN.replace("1234abcd", "1234abce")));
        assert!(!bare.is("nonsense"));
    }
}
