//! `CORSConfiguration`, as the store keeps it.
//!
//! What lives here: a bounded reader. What must not: the match. Invariant: a document that is not
//! understood as a whole allows nothing.

use super::read::{CONTROL_DOCUMENT_BYTES_MAX, Reader, XmlError};
use crate::cors::CorsRule;

/// Rules in one document (S3's limit).
pub const CORS_RULES_MAX: usize = 100;

/// Texts in one rule.
const TEXTS_MAX: usize = 500;

/// Reads the rules of a bucket.
///
/// # Errors
///
/// The document is not one, or has too many rules.
pub fn parse_cors(document: &[u8]) -> Result<Vec<CorsRule>, XmlError> {
    let mut reader = Reader::new(document, CONTROL_DOCUMENT_BYTES_MAX)?;
    reader.expect_root("CORSConfiguration")?;
    let mut rules = Vec::new();
    while let Some(name) = reader.child()? {
        if name != "CORSRule" {
            return Err(XmlError::Unexpected);
        }
        if rules.len() == CORS_RULES_MAX {
            return Err(XmlError::TooLarge);
        }
        rules.push(parse_rule(&mut reader)?);
    }
    Ok(rules)
}

fn parse_rule(reader: &mut Reader<'_>) -> Result<CorsRule, XmlError> {
    let mut rule = CorsRule::default();
    let mut texts = 0_usize;
    while let Some(name) = reader.child()? {
        let list = match name {
            "AllowedOrigin" => &mut rule.origins,
            "AllowedMethod" => &mut rule.methods,
            "AllowedHeader" => &mut rule.headers,
            "ExposeHeader" => &mut rule.exposed,
            "MaxAgeSeconds" => {
                rule.max_age_seconds = Some(reader.number()?);
                continue;
            }
            "ID" => {
                reader.skip()?;
                continue;
            }
            _ => return Err(XmlError::Unexpected),
        };
        texts = texts.saturating_add(1);
        if texts > TEXTS_MAX {
            return Err(XmlError::TooLarge);
        }
        list.push(reader.text()?);
    }
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_s3_writes_them() {
        let document = b"<?xml version=\"1.0\"?><CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><CORSRule><ID>x</ID>\
            <AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>\
            <AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule><CORSRule/>\
            </CORSConfiguration>";
        let rules = parse_cors(document).unwrap();
        assert_eq!(
            (rules.len(), &*rules[0].methods),
            (2, &["GET".to_owned(), "PUT".to_owned()][..])
        );
        assert_eq!(rules[0].max_age_seconds, Some(5));
        assert_eq!(rules[1], CorsRule::default());
    }

    #[test]
    fn what_is_not_understood_allows_nothing() {
        for document in [
            "",
            "<Error/>",
            "<CORSConfiguration><Other/></CORSConfiguration>",
            "<CORSConfiguration><CORSRule><DeniedOrigin>*</DeniedOrigin></CORSRule></CORSConfiguration>",
            "<CORSConfiguration><CORSRule><MaxAgeSeconds>x</MaxAgeSeconds></CORSRule></CORSConfiguration>",
        ] {
            assert!(parse_cors(document.as_bytes()).is_err(), "{document}");
        }
        let many = format!(
            "<CORSConfiguration>{}</CORSConfiguration>",
            "<CORSRule/>".repeat(101)
        );
        assert_eq!(parse_cors(many.as_bytes()), Err(XmlError::TooLarge));
    }
}
