//! Reading.
//!
//! What lives here: [`decode`]. What must not: the meaning of tags. Invariant: a length is believed only
//! after so many bytes were seen; nothing is read twice.

use zeroize::Zeroizing;

use crate::{DEPTH_MAX, HEAD_BYTES, ITEMS_MAX, Item, MESSAGE_BYTES_MAX, TtlvError, Value, is_tag, padding};

/// How many bytes the message has that begins with `head`, the head counted.
///
/// # Errors
/// [`TtlvError::TooLong`]; [`TtlvError::Type`] for anything but a structure; [`TtlvError::Length`] for one
/// whose length is no multiple of eight; [`TtlvError::Tag`].
pub fn message_bytes(head: &[u8; HEAD_BYTES]) -> Result<usize, TtlvError> {
    let [t0, t1, t2, kind, l0, l1, l2, l3] = *head;
    if !is_tag(u32::from_be_bytes([0, t0, t1, t2])) {
        return Err(TtlvError::Tag);
    }
    if kind != 1 {
        return Err(TtlvError::Type);
    }
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if padding(length) != 0 {
        return Err(TtlvError::Length);
    }
    let whole = length.saturating_add(HEAD_BYTES);
    if whole > MESSAGE_BYTES_MAX {
        return Err(TtlvError::TooLong);
    }
    Ok(whole)
}

/// Reads one message, all of `bytes`.
///
/// # Errors
/// What is wrong with it; no text shows its bytes.
pub fn decode(bytes: &[u8]) -> Result<Item, TtlvError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(TtlvError::TooLong);
    }
    let mut rest = bytes;
    let mut left = ITEMS_MAX;
    let item = item(&mut rest, 1, &mut left)?;
    if rest.is_empty() {
        Ok(item)
    } else {
        Err(TtlvError::Length)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], TtlvError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(TtlvError::Length)?;
    *rest = after;
    Ok(taken)
}

fn item(rest: &mut &[u8], depth: usize, left: &mut usize) -> Result<Item, TtlvError> {
    *left = left.checked_sub(1).ok_or(TtlvError::TooMany)?;
    let head = take(rest, HEAD_BYTES)?;
    let [t0, t1, t2, kind, l0, l1, l2, l3] = *head else {
        return Err(TtlvError::Length);
    };
    let tag = u32::from_be_bytes([0, t0, t1, t2]);
    if !is_tag(tag) {
        return Err(TtlvError::Tag);
    }
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).map_err(|_| TtlvError::Length)?;
    let value = take(rest, length)?;
    if take(rest, padding(length))?.iter().any(|byte| *byte != 0) {
        return Err(TtlvError::Value);
    }
    Ok(Item {
        tag,
        value: self::value(kind, value, depth, left)?,
    })
}

fn value(kind: u8, bytes: &[u8], depth: usize, left: &mut usize) -> Result<Value, TtlvError> {
    let four = || bytes.try_into().map_err(|_| TtlvError::Length);
    let eight = || bytes.try_into().map_err(|_| TtlvError::Length);
    Ok(match kind {
        1 => Value::Structure(items(bytes, depth, left)?),
        2 => Value::Integer(i32::from_be_bytes(four()?)),
        3 => Value::LongInteger(i64::from_be_bytes(eight()?)),
        4 if bytes.is_empty() || padding(bytes.len()) != 0 => return Err(TtlvError::Length),
        4 => Value::BigInteger(Zeroizing::new(bytes.to_vec())),
        5 => Value::Enumeration(u32::from_be_bytes(four()?)),
        6 => match u64::from_be_bytes(eight()?) {
            0 => Value::Boolean(false),
            1 => Value::Boolean(true),
            _ => return Err(TtlvError::Value),
        },
        7 => Value::Text(
            std::str::from_utf8(bytes)
                .map_err(|_| TtlvError::Value)?
                .to_owned(),
        ),
        8 => Value::Bytes(Zeroizing::new(bytes.to_vec())),
        9 => Value::DateTime(i64::from_be_bytes(eight()?)),
        10 => Value::Interval(u32::from_be_bytes(four()?)),
        11 => Value::DateTimeExtended(i64::from_be_bytes(eight()?)),
        _ => return Err(TtlvError::Type),
    })
}

fn items(bytes: &[u8], depth: usize, left: &mut usize) -> Result<Vec<Item>, TtlvError> {
    let deeper = depth.saturating_add(1);
    if depth > DEPTH_MAX {
        return Err(TtlvError::TooDeep);
    }
    let mut rest = bytes;
    let mut items = Vec::new();
    while !rest.is_empty() {
        items.push(item(&mut rest, deeper, left)?);
    }
    Ok(items)
}
