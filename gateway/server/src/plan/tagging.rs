//! A client's tags: from header, form or document to a checked set.
//!
//! What lives here: what S3 and the format refuse of them. What must not: how they are stored; whether
//! they fit the seal is known only with the bucket's policy. Invariant: no key of the format's own leaves
//! here, so that a set that a client wrote is never taken for a sealed one.

use http::{HeaderMap, HeaderName};
use sceau_envelope::tags;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::Operation;
use sceau_s3wire::tagging::{TagError, TagSet};
use sceau_s3wire::xml;

use crate::error::{GatewayError, Result};
use crate::plan::request::StoreAbilities;

/// The header of a set of tags.
pub const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");
/// The header that says whose tags a copy gets.
pub const TAGGING_DIRECTIVE: HeaderName = HeaderName::from_static("x-amz-tagging-directive");
/// The header in which a store counts the tags of the object that it answers with.
pub const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");

/// Refuses tags where the store keeps none.
pub fn check_store(store: StoreAbilities) -> Result<()> {
    if store.object_tags {
        return Ok(());
    }
    Err(GatewayError::client(
        ErrorCode::NotImplemented,
        "The store behind this gateway has no tags of objects.",
    ))
}

/// Refuses headers of tags on operations that have none: they would be dropped silently.
pub fn check_operation(operation: Operation, headers: &HeaderMap) -> Result<()> {
    let sets_tags = headers.get_all(TAGGING).iter().any(|value| !value.is_empty());
    let has_directive = headers
        .get_all(TAGGING_DIRECTIVE)
        .iter()
        .any(|value| value.as_bytes() != b"COPY");
    let takes_tags = matches!(
        operation,
        Operation::PutObject
            | Operation::PostObject
            | Operation::CreateMultipartUpload
            | Operation::CopyObject
    );
    let takes_directive = operation == Operation::CopyObject;
    let is_refused = (sets_tags && !takes_tags) || (has_directive && !takes_directive);
    if is_refused {
        return Err(GatewayError::client(
            ErrorCode::NotImplemented,
            "This operation does not take tags of objects.",
        ));
    }
    Ok(())
}

/// The tags that a write sets.
pub fn from_headers(headers: &HeaderMap, store: StoreAbilities) -> Result<TagSet> {
    let mut values = headers.get_all(TAGGING).iter();
    let Some(value) = values.next() else {
        return Ok(TagSet::default());
    };
    if values.next().is_some() {
        return Err(refused(TagError::Header));
    }
    let set = from_encoded(value.as_bytes())?;
    if !set.is_empty() {
        check_store(store)?;
    }
    Ok(set)
}

/// The tags that a copy gets; `None` for those of its source. As on S3, tags without the directive
/// REPLACE are ignored.
pub fn of_copy(headers: &HeaderMap, store: StoreAbilities) -> Result<Option<TagSet>> {
    let mut values = headers.get_all(TAGGING_DIRECTIVE).iter();
    match (values.next().map(|value| value.as_bytes()), values.next()) {
        (None | Some(b"COPY"), None) => Ok(None),
        (Some(b"REPLACE"), None) => from_headers(headers, store).map(Some),
        (_, _) => Err(GatewayError::client(
            ErrorCode::InvalidArgument,
            "Unknown tagging directive.",
        )),
    }
}

/// The URL-encoded form, as in the header `x-amz-tagging`.
pub fn from_encoded(encoded: &[u8]) -> Result<TagSet> {
    checked(TagSet::from_encoded(encoded))
}

/// The document `Tagging`, as in PutObjectTagging and in the field `tagging` of a form.
pub fn from_document(document: &[u8]) -> Result<TagSet> {
    checked(xml::parse_tagging(document))
}

fn checked(set: std::result::Result<TagSet, TagError>) -> Result<TagSet> {
    let set = set.map_err(refused)?;
    if set.pairs().iter().any(|(key, _)| tags::is_reserved(key)) {
        return Err(GatewayError::client(
            ErrorCode::InvalidTag,
            "Tag keys that begin with \"sceaut\" are the gateway's own.",
        ));
    }
    Ok(set)
}

fn refused(error: TagError) -> GatewayError {
    GatewayError::client(error.code(), error.message())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::error::Kind;

    const STORE: StoreAbilities = StoreAbilities {
        conditional_writes: true,
        object_tags: true,
    };
    const WITHOUT: StoreAbilities = StoreAbilities {
        conditional_writes: true,
        object_tags: false,
    };

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn code<T>(result: Result<T>) -> Option<ErrorCode> {
        match result.err().map(|error| error.kind) {
            Some(Kind::Client(code)) => Some(code),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn tags_of_a_write() {
        let set = from_headers(&headers(&[("x-amz-tagging", "b=2&a=1")]), STORE).unwrap();
        assert_eq!(set.to_encoded(), "a=1&b=2");
        for none in [headers(&[]), headers(&[("x-amz-tagging", "")])] {
            assert!(from_headers(&none, WITHOUT).unwrap().is_empty());
        }
        let one = headers(&[("x-amz-tagging", "a=1")]);
        assert_eq!(code(from_headers(&one, WITHOUT)), Some(ErrorCode::NotImplemented));
        let twice = headers(&[("x-amz-tagging", "a=1"), ("x-amz-tagging", "b=2")]);
        assert_eq!(
            code(from_headers(&twice, STORE)),
            Some(ErrorCode::InvalidArgument)
        );
    }

    #[test]
    fn names_of_the_format_are_refused_in_every_form() {
        for name in ["sceaut1a", "SceauT", "sceautage"] {
            assert_eq!(code(from_encoded(name.as_bytes())), Some(ErrorCode::InvalidTag));
            let document =
                format!("<Tagging><TagSet><Tag><Key>{name}</Key><Value>v</Value></Tag></TagSet></Tagging>");
            assert_eq!(
                code(from_document(document.as_bytes())),
                Some(ErrorCode::InvalidTag)
            );
        }
        assert!(from_encoded(b"sceau=1&x-sceaut1a=2").is_ok());
    }

    #[test]
    fn a_copy_says_whose_tags_it_gets() {
        for (pairs, expected) in [
            (vec![], Ok(None)),
            (vec![("x-amz-tagging-directive", "COPY")], Ok(None)),
            (
                vec![("x-amz-tagging-directive", "COPY"), ("x-amz-tagging", "a=1")],
                Ok(None),
            ),
            (vec![("x-amz-tagging-directive", "REPLACE")], Ok(Some(""))),
            (
                vec![("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "a=1")],
                Ok(Some("a=1")),
            ),
            (
                vec![("x-amz-tagging-directive", "copy")],
                Err(ErrorCode::InvalidArgument),
            ),
            (
                vec![
                    ("x-amz-tagging-directive", "COPY"),
                    ("x-amz-tagging-directive", "REPLACE"),
                ],
                Err(ErrorCode::InvalidArgument),
            ),
        ] {
            let found = of_copy(&headers(&pairs), STORE);
            match expected {
                Ok(expected) => assert_eq!(
                    found.unwrap().map(|set| set.to_encoded()).as_deref(),
                    expected,
                    "{pairs:?}"
                ),
                Err(expected) => assert_eq!(code(found), Some(expected), "{pairs:?}"),
            }
        }
    }

    #[test]
    fn other_operations_take_no_tags() {
        let (set, empty) = (
            headers(&[("x-amz-tagging", "a=1")]),
            headers(&[("x-amz-tagging", "")]),
        );
        let replace = headers(&[("x-amz-tagging-directive", "REPLACE")]);
        for operation in [
            Operation::UploadPart,
            Operation::CompleteMultipartUpload,
            Operation::GetObject,
        ] {
            assert_eq!(
                code(check_operation(operation, &set)),
                Some(ErrorCode::NotImplemented)
            );
            assert_eq!(
                code(check_operation(operation, &replace)),
                Some(ErrorCode::NotImplemented)
            );
            assert!(check_operation(operation, &empty).is_ok());
        }
        for operation in [Operation::PutObject, Operation::CreateMultipartUpload] {
            assert!(check_operation(operation, &set).is_ok());
            assert_eq!(
                code(check_operation(operation, &replace)),
                Some(ErrorCode::NotImplemented)
            );
        }
        assert!(check_operation(Operation::CopyObject, &replace).is_ok());
    }
}
