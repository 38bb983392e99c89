//! Writing.
//!
//! What lives here: [`encode`]. What must not: the meaning of tags. Invariant: the buffer is as large as the
//! message from the start, so that growing leaves no copy of a key behind.

use zeroize::Zeroizing;

use crate::{DEPTH_MAX, HEAD_BYTES, ITEMS_MAX, Item, MESSAGE_BYTES_MAX, TtlvError, Value, is_tag, padding};

/// Writes one message.
///
/// # Errors
/// It is beyond a limit of this crate, has a tag that is none, or a big integer of another length than its
/// type has.
pub fn encode(item: &Item) -> Result<Zeroizing<Vec<u8>>, TtlvError> {
    let mut left = ITEMS_MAX;
    check(item, 1, &mut left)?;
    let length = whole(&item.value);
    if length > MESSAGE_BYTES_MAX {
        return Err(TtlvError::TooLong);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    put(item, &mut bytes)?;
    Ok(bytes)
}

/// Everything but the length.
fn check(item: &Item, depth: usize, left: &mut usize) -> Result<(), TtlvError> {
    *left = left.checked_sub(1).ok_or(TtlvError::TooMany)?;
    if !is_tag(item.tag) {
        return Err(TtlvError::Tag);
    }
    if let Value::BigInteger(bytes) = &item.value
        && (bytes.is_empty() || padding(bytes.len()) != 0)
    {
        return Err(TtlvError::Length);
    }
    if let Value::Structure(items) = &item.value {
        if depth > DEPTH_MAX {
            return Err(TtlvError::TooDeep);
        }
        let deeper = depth.saturating_add(1);
        return items.iter().try_for_each(|item| check(item, deeper, left));
    }
    Ok(())
}

/// Bytes of an item with head and padding.
fn whole(value: &Value) -> usize {
    let length = length(value);
    let whole = HEAD_BYTES.saturating_add(length);
    whole.saturating_add(padding(length))
}

/// Bytes of a value without padding.
fn length(value: &Value) -> usize {
    match value {
        Value::Structure(items) => items
            .iter()
            .fold(0, |sum, item| sum.saturating_add(whole(&item.value))),
        Value::Integer(_) | Value::Enumeration(_) | Value::Interval(_) => 4,
        Value::LongInteger(_) | Value::Boolean(_) | Value::DateTime(_) | Value::DateTimeExtended(_) => 8,
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) | Value::BigInteger(bytes) => bytes.len(),
    }
}

fn put(item: &Item, to: &mut Vec<u8>) -> Result<(), TtlvError> {
    let length = length(&item.value);
    let kind: u8 = match &item.value {
        Value::Structure(_) => 1,
        Value::Integer(_) => 2,
        Value::LongInteger(_) => 3,
        Value::BigInteger(_) => 4,
        Value::Enumeration(_) => 5,
        Value::Boolean(_) => 6,
        Value::Text(_) => 7,
        Value::Bytes(_) => 8,
        Value::DateTime(_) => 9,
        Value::Interval(_) => 10,
        Value::DateTimeExtended(_) => 11,
    };
    to.extend(item.tag.to_be_bytes().iter().skip(1));
    to.push(kind);
    let shown = u32::try_from(length).map_err(|_| TtlvError::TooLong)?;
    to.extend_from_slice(&shown.to_be_bytes());
    match &item.value {
        Value::Structure(items) => items.iter().try_for_each(|item| put(item, to))?,
        Value::Integer(number) => to.extend_from_slice(&number.to_be_bytes()),
        Value::LongInteger(number) | Value::DateTime(number) | Value::DateTimeExtended(number) => {
            to.extend_from_slice(&number.to_be_bytes());
        }
        Value::Enumeration(number) | Value::Interval(number) => to.extend_from_slice(&number.to_be_bytes()),
        Value::Boolean(value) => to.extend_from_slice(&u64::from(*value).to_be_bytes()),
        Value::Text(text) => to.extend_from_slice(text.as_bytes()),
        Value::Bytes(bytes) | Value::BigInteger(bytes) => to.extend_from_slice(bytes),
    }
    to.extend(std::iter::repeat_n(0, padding(length)));
    Ok(())
}
