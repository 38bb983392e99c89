//! What a form asks for, in the terms of a PutObject.
//!
//! What lives here: the object's name, the headers that the fields stand for, the answer that the form
//! wants. What must not: whether it is allowed. Invariant: a field that would change the object and is
//! not carried out is refused.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::PostError;
use super::form::{Field, FormHead};
use crate::headers::{RequestTreatment, request_treatment};
use crate::target::{OBJECT_KEY_BYTES_MAX, encode_component, encode_path};
use crate::xml;
use crate::xml::write::XmlWriter;

/// Stands for the file's name in the field `key`.
const FILE_NAME: &str = "${filename}";

/// Fields that are headers of the same name.
const HEADER_FIELDS: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-md5",
    "content-type",
    "expires",
];

/// The header of a set of tags; a form has it as a document, in the field `tagging`.
const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");

/// Fields of the signature.
const SIGNATURE_FIELDS: [&str; 5] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-signature",
];

/// A form with the name of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostForm {
    /// With `key` as it is once the file's name is put in.
    fields: Vec<Field>,
    bucket: String,
    key: String,
}

/// The answer that a form wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// 200 without a body.
    Ok,
    /// 201 with a document.
    Created,
    /// 204.
    NoContent,
    /// 303 to this address, which is a valid header value.
    Redirect(String),
}

impl PostForm {
    /// Names the object of a form that was sent to `bucket`.
    ///
    /// A file name brings no path with it (only its last component is used), so a key of the form
    /// `user/${filename}` stays below `user/` whatever a browser claims.
    ///
    /// # Errors
    ///
    /// No key, a key that is too long, or another bucket's name in the form.
    pub fn from_head(head: FormHead, bucket: &str) -> Result<Self, PostError> {
        let FormHead {
            mut fields,
            file_name,
            ..
        } = head;
        let field = fields.iter_mut().find(|field| field.name == "key");
        let field = field.ok_or(PostError::FieldMissing("key"))?;
        field.value = field.value.replace(FILE_NAME, &file_name);
        let key = field.value.clone();
        match key.len() {
            0 => {
                return Err(PostError::FieldInvalid(
                    "User key must have a length greater than 0.",
                ));
            }
            1..=OBJECT_KEY_BYTES_MAX => {}
            _ => return Err(PostError::KeyTooLong),
        }
        if fields
            .iter()
            .any(|field| field.name == "bucket" && field.value != bucket)
        {
            return Err(PostError::FieldInvalid(
                "the field 'bucket' names another bucket than the request",
            ));
        }
        Ok(Self {
            fields,
            bucket: bucket.to_owned(),
            key,
        })
    }

    /// The object's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Value of a field (name in lower case). `bucket` is always there: it is the bucket of the request.
    pub fn get(&self, name: &str) -> Option<&str> {
        if name == "bucket" {
            return Some(&self.bucket);
        }
        self.fields
            .iter()
            .find(|field| field.name == name)
            .map(|field| field.value.as_str())
    }

    /// Names of all fields in front of the file.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// The headers of a PutObject that says the same. A value that is not one of a header (a line break
    /// in it, for instance) is refused, so a field cannot become two headers.
    ///
    /// Fields that S3 does not know change nothing, as there; the policy has to speak of them all the same.
    ///
    /// # Errors
    ///
    /// A value that is not one of a header, or a field that a form cannot have.
    pub fn headers(&self) -> Result<HeaderMap, PostError> {
        let mut headers = HeaderMap::new();
        for Field { name, value } in &self.fields {
            let header = match name.as_str() {
                "acl" => "x-amz-acl",
                "tagging" => {
                    headers.insert(TAGGING, tagging(value)?);
                    continue;
                }
                own if HEADER_FIELDS.contains(&own) => own,
                own if SIGNATURE_FIELDS.contains(&own) || !own.starts_with("x-amz-") => continue,
                own => own,
            };
            let name = HeaderName::try_from(header)
                .map_err(|_| PostError::FieldInvalid("a field's name is not one of a header"))?;
            if !is_for_forms(&name) {
                return Err(PostError::FieldUnsupported(name.as_str().to_owned()));
            }
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| PostError::FieldInvalid("a field's value is not one of a header"))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// The answer that the form wants. An address that is none is as good as absent, as in S3.
    pub fn reply(&self) -> Reply {
        let redirect = self.get("success_action_redirect").filter(|url| is_address(url));
        match (redirect, self.get("success_action_status")) {
            (Some(url), _) => Reply::Redirect(url.to_owned()),
            (None, Some("200")) => Reply::Ok,
            (None, Some("201")) => Reply::Created,
            (None, _) => Reply::NoContent,
        }
    }

    /// Whether one of `starts`, what the policy says the address begins with, fixes its scheme and host.
    ///
    /// Attack considered: `starts-with` an empty text, or `https://example.com` without a slash, would
    /// let whoever fills in the form send the browser anywhere, and have this gateway vouch for it.
    pub(super) fn check_redirect<'a>(
        &self,
        mut starts: impl Iterator<Item = &'a str>,
    ) -> Result<(), PostError> {
        match self.get("success_action_redirect") {
            Some(url) if is_address(url) && !starts.any(has_origin) => Err(PostError::RedirectNotFixed),
            Some(_) | None => Ok(()),
        }
    }

    /// A form without a policy: nobody vouches for where it leads.
    ///
    /// # Errors
    ///
    /// It asks for a redirect.
    pub fn check_without_policy(&self) -> Result<(), PostError> {
        self.check_redirect(std::iter::empty())
    }
}

/// The header that says the same as the document in the field `tagging`.
fn tagging(document: &str) -> Result<HeaderValue, PostError> {
    let set = xml::parse_tagging(document.as_bytes()).map_err(PostError::Tagging)?;
    HeaderValue::try_from(set.to_encoded())
        .map_err(|_| PostError::FieldInvalid("the field 'tagging' is not one of tags"))
}

/// Headers that belong to other kinds of requests must not come in through a form.
fn is_for_forms(name: &HeaderName) -> bool {
    if name.as_str().starts_with("x-amz-server-side-encryption") {
        return true;
    }
    match request_treatment(name.as_str()) {
        RequestTreatment::SealedMetadata | RequestTreatment::Forwarded | RequestTreatment::Refused(_) => true,
        RequestTreatment::Consumed => {
            name == "content-md5"
                || ["x-amz-checksum-", "x-amz-server-side-encryption-customer-"]
                    .iter()
                    .any(|start| name.as_str().starts_with(start))
        }
        // Planned as in a PutObject.
        RequestTreatment::Mapped => name.as_str().starts_with("x-amz-server-side-encryption"),
        RequestTreatment::Dropped => false,
    }
}

/// Whether a text is an `http` address in characters that an address can have.
fn is_address(url: &str) -> bool {
    has_scheme(url).is_some_and(|rest| !rest.is_empty())
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}

/// Whether a text fixes scheme and host: the slash behind the host is part of it.
fn has_origin(start: &str) -> bool {
    has_scheme(start).is_some_and(|rest| rest.find(['/', '?', '#']).is_some_and(|end| end > 0))
}

fn has_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")).then_some(rest)
}

impl Reply {
    /// Where a redirect leads: the form's address with what was stored, as parameters.
    pub fn location(url: &str, bucket: &str, key: &str, etag: &str) -> String {
        let (page, fragment) = url
            .split_once('#')
            .map_or((url, String::new()), |(page, fragment)| {
                (page, format!("#{fragment}"))
            });
        let mark = if page.contains('?') { '&' } else { '?' };
        let [bucket, key, etag] = [bucket, key, etag].map(encode_component);
        format!("{page}{mark}bucket={bucket}&key={key}&etag={etag}{fragment}")
    }
}

/// The document of a 201, and the object's address as its `Location` says it. `root` is scheme and host,
/// and the bucket where the host does not name it.
pub fn post_response(root: &str, bucket: &str, key: &str, etag: &str) -> (String, Vec<u8>) {
    let location = format!("{root}/{}", encode_path(key));
    let mut xml = XmlWriter::document();
    xml.open("PostResponse");
    xml.element("Location", &location);
    xml.element("Bucket", bucket);
    xml.key_element("Key", key);
    xml.element("ETag", etag);
    xml.close("PostResponse");
    (location, xml.finish())
}
