//! What a GetObjectAttributes request asks for, and where a numbered part of an object lies.
//!
//! What lives here: reading the request's headers, paging, the place of a part in the plaintext. What
//! must not: requests to the store. Invariant: numbers and sizes of parts are those of a verified layout.

use http::HeaderMap;
use sceau_envelope::secrets::PartNumber;
use sceau_envelope::trailer::Layout;
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::AttributeParts;

use crate::error::{GatewayError, Result};
use crate::plan::customer_key::CustomerKey;
use crate::plan::request::ObjectName;

/// Most parts in one answer.
const PARTS_ON_PAGE_MAX: usize = 1_000;

/// Highest part number of the S3 interface.
const PART_NUMBER_MAX: u16 = 10_000;

/// An attribute of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The entity tag.
    Etag,
    /// The checksum of the whole.
    Checksum,
    /// The parts.
    ObjectParts,
    /// The storage class.
    StorageClass,
    /// The plaintext size.
    ObjectSize,
}

impl Attribute {
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "ETag" => Some(Self::Etag),
            "Checksum" => Some(Self::Checksum),
            "ObjectParts" => Some(Self::ObjectParts),
            "StorageClass" => Some(Self::StorageClass),
            "ObjectSize" => Some(Self::ObjectSize),
            _ => None,
        }
    }
}

/// A GetObjectAttributes request.
#[derive(Debug)]
pub struct AttributesPlan {
    /// The object.
    pub name: ObjectName,
    /// The version asked for; `None` for the current one.
    pub version: Option<String>,
    /// What is asked for.
    pub wanted: Vec<Attribute>,
    /// Parts after this number.
    pub after: u16,
    /// How many parts at most.
    pub parts_max: usize,
    /// The customer's own key, if it was shown.
    pub customer: Option<CustomerKey>,
}

impl AttributesPlan {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// `InvalidRequest` when nothing is asked for, `InvalidArgument` for an unknown attribute or an odd number.
    pub fn from_headers(
        name: ObjectName,
        version: Option<String>,
        headers: &HeaderMap,
        customer: Option<CustomerKey>,
    ) -> Result<Self> {
        let mut wanted = Vec::new();
        for value in headers.get_all("x-amz-object-attributes") {
            let names = value.to_str().unwrap_or_default().split(',').map(str::trim);
            for name in names.filter(|name| !name.is_empty()) {
                let attribute = Attribute::from_name(name).ok_or_else(|| {
                    GatewayError::client(ErrorCode::InvalidArgument, "Invalid attribute name specified.")
                })?;
                if !wanted.contains(&attribute) {
                    wanted.push(attribute);
                }
            }
        }
        if wanted.is_empty() {
            return Err(GatewayError::client(
                ErrorCode::InvalidRequest,
                "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty.",
            ));
        }
        let after = number(headers, "x-amz-part-number-marker")?.unwrap_or(0);
        let parts_max = number(headers, "x-amz-max-parts")?.map_or(PARTS_ON_PAGE_MAX, usize::from);
        Ok(Self {
            name,
            version,
            wanted,
            after,
            parts_max: parts_max.min(PARTS_ON_PAGE_MAX),
            customer,
        })
    }

    /// The page of parts asked for; none for an object that was not uploaded in parts.
    pub fn page(&self, layout: &Layout) -> Option<AttributeParts> {
        if !layout.is_multi() {
            return None;
        }
        let mut rest = layout
            .parts()
            .iter()
            .map(|part| (part.number.get(), part.plain_len))
            .filter(|(number, _)| *number > self.after);
        let parts = rest.by_ref().take(self.parts_max).collect::<Vec<_>>();
        Some(AttributeParts {
            total: layout.parts().len(),
            marker: self.after,
            parts_max: self.parts_max,
            is_truncated: !parts.is_empty() && rest.next().is_some(),
            parts,
        })
    }
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u16>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let digits = digits.ok_or_else(|| {
        GatewayError::client(
            ErrorCode::InvalidArgument,
            format!("Provided {name} not an integer or within integer range."),
        )
    })?;
    // Any larger number means the same as the largest.
    Ok(Some(digits.parse().unwrap_or(u16::MAX)))
}

/// The part number of a read.
///
/// # Errors
/// `InvalidArgument` unless it is 1 to 10 000.
pub fn read_part_number(text: &str) -> Result<u16> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number @ 1..=PART_NUMBER_MAX) if digits_only => Ok(number),
        _ => Err(GatewayError::client(
            ErrorCode::InvalidArgument,
            "Part number must be an integer between 1 and 10000, inclusive.",
        )),
    }
}

/// Where a part lies in the plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartPlace {
    /// First and last byte.
    Bytes(u64, u64),
    /// The part has no bytes.
    Empty,
}

/// Finds a part by the number it was uploaded under. An object of a single PUT is its own part 1.
pub fn part_place(layout: &Layout, number: u16) -> Option<PartPlace> {
    let number = if layout.is_multi() {
        PartNumber::upload(number)?
    } else {
        Some(PartNumber::SINGLE).filter(|_| number == 1)?
    };
    layout.parts().iter().find(|part| part.number == number)?;
    let range = layout.part_range(number);
    Some(range.map_or(PartPlace::Empty, |range| {
        PartPlace::Bytes(range.first, range.last)
    }))
}

/// The refusal of a part that an object does not have.
pub fn no_such_part(number: u16, layout: &Layout) -> GatewayError {
    let mut error = GatewayError::code(ErrorCode::InvalidPartNumber);
    error.extra.push(("PartNumberRequested", number.to_string()));
    error
        .extra
        .push(("ActualPartCount", layout.parts().len().to_string()));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use sceau_envelope::trailer::{Manifest, PartEntry};

    const MIN: u64 = 5 * 1024 * 1024;

    fn layout(parts: &[(u16, u64)]) -> Layout {
        let entry = |(number, plain_len): &(u16, u64)| PartEntry {
            number: PartNumber::upload(*number).unwrap(),
            plain_len: *plain_len,
            iv: Some([1; 32]),
            crc64: [0; 8],
        };
        let manifest = Manifest::multipart(parts.iter().map(entry).collect(), None).unwrap();
        manifest.layout().clone()
    }

    fn refused(rows: &[(&'static str, &'static str)]) -> ErrorCode {
        plan(rows).unwrap_err().kind.code()
    }

    fn plan(rows: &[(&'static str, &'static str)]) -> Result<AttributesPlan> {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let name = ObjectName {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
        };
        AttributesPlan::from_headers(name, None, &headers, None)
    }

    #[test]
    fn attributes_are_read_from_lists_and_repeated_headers() {
        const NAME: &str = "x-amz-object-attributes";
        let read = plan(&[(NAME, "ETag, ObjectSize,"), (NAME, "ObjectParts"), (NAME, "ETag")]).unwrap();
        assert_eq!(
            read.wanted,
            [Attribute::Etag, Attribute::ObjectSize, Attribute::ObjectParts]
        );
        assert_eq!((read.after, read.parts_max), (0, 1_000));
        assert_eq!(refused(&[]), ErrorCode::InvalidRequest);
        assert_eq!(refused(&[(NAME, " ,")]), ErrorCode::InvalidRequest);
        assert_eq!(refused(&[(NAME, "etag")]), ErrorCode::InvalidArgument);
        for odd in ["-1", "", "+1", "x"] {
            let rows = [(NAME, "ETag"), ("x-amz-max-parts", odd)];
            assert_eq!(refused(&rows), ErrorCode::InvalidArgument, "{odd}");
        }
    }

    #[test]
    fn pages_follow_one_another() {
        let layout = layout(&[(2, MIN), (7, MIN + 1), (9_999, 5)]);
        let page = |after, parts_max| {
            let mut asked = plan(&[("x-amz-object-attributes", "ObjectParts")]).unwrap();
            (asked.after, asked.parts_max) = (after, parts_max);
            let page = asked.page(&layout).unwrap();
            assert_eq!(page.total, 3);
            (page.parts, page.is_truncated)
        };
        assert_eq!(page(0, 2), (vec![(2, MIN), (7, MIN + 1)], true));
        assert_eq!(page(7, 2), (vec![(9_999, 5)], false));
        assert_eq!(page(9_999, 2), (vec![], false));
        assert_eq!(page(0, 0), (vec![], false));
        assert!(!page(0, 3).1);
    }

    #[test]
    fn parts_are_found_by_their_own_number() {
        let layout = layout(&[(2, MIN), (7, MIN + 1), (9_999, 0)]);
        let rows = [
            (1, None),
            (2, Some(PartPlace::Bytes(0, MIN - 1))),
            (7, Some(PartPlace::Bytes(MIN, 2 * MIN))),
            (9_999, Some(PartPlace::Empty)),
            (10_000, None),
        ];
        for (number, place) in rows {
            assert_eq!(part_place(&layout, number), place, "{number}");
        }
        let single = Manifest::single(10, [1; 32], None).unwrap();
        assert_eq!(part_place(single.layout(), 1), Some(PartPlace::Bytes(0, 9)));
        assert_eq!(part_place(single.layout(), 2), None);
        let empty = Manifest::single(0, [1; 32], None).unwrap();
        assert_eq!(part_place(empty.layout(), 1), Some(PartPlace::Empty));
        for odd in ["0", "10001", "", "+1", "-1", "x", "99999999999"] {
            assert!(read_part_number(odd).is_err(), "{odd}");
        }
        assert_eq!(read_part_number("10000").unwrap(), 10_000);
    }
}
