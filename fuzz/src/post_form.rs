//! Browser forms in pieces of any size, and the policies that judge them.
//!
//! Input: kind, split and alteration bytes, then either the bytes of a body; or the fields and the file of an
//! honest form, which is altered in one place; or a policy document and the fields that it judges.

use bytes::Bytes;
use data_encoding::BASE64;
use http::HeaderMap;
use sceau_s3wire::payload::PayloadPlan;
use sceau_s3wire::post::{
    Boundary, FIELDS_MAX, FORM_HEAD_BYTES_MAX, Field, FormFile, FormHead, FormReader, Policy, PostForm,
};
use serde_json::Value;

use crate::input::{Input, Sequence};
use crate::memory::within;

const BOUNDARY: &str = "b-x";

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(3) {
        0 => {
            let splits = input.u16();
            let _ = same_in_pieces(input.rest(), splits);
        }
        1 => honest(&mut input),
        _ => policy(&mut input),
    }
}

fn boundary() -> Boundary {
    Boundary::of_content_type(format!("multipart/form-data; boundary={BOUNDARY}").as_bytes()).unwrap().unwrap()
}

/// What became of a body: the fields, and the file or why there is none.
type Read = Result<(Vec<(String, String)>, String, Vec<u8>), String>;

/// Reads a body whose pieces `cut` decides.
fn read(body: &[u8], whole_first: bool, mut cut: impl FnMut() -> usize) -> Read {
    let mut rest = body;
    let mut next = || {
        let (piece, after) = rest.split_at(cut().clamp(1, rest.len().max(1)).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    };
    let mut reader = FormReader::new(&boundary());
    let head = loop {
        let piece = next().ok_or("no file")?;
        if let Some(head) = reader.push(piece).map_err(|error| error.to_string())? {
            break head;
        }
    };
    assert!(head.fields.len() <= FIELDS_MAX && head.file_offset <= FORM_HEAD_BYTES_MAX as u64);
    let fields: Vec<_> = head.fields.into_iter().map(|field| (field.name, field.value)).collect();
    for (index, (name, _)) in fields.iter().enumerate() {
        assert!(fields[..index].iter().all(|(other, _)| other != name), "a field is there twice");
    }
    let file = if whole_first {
        let mut all = head.rest.to_vec();
        while let Some(piece) = next() {
            all.extend_from_slice(piece);
        }
        FormFile::arrived(&boundary(), all.into())
    } else {
        FormFile::arriving(&boundary(), body.len() as u64, head.file_offset, head.rest)
    };
    let file = file.map_err(|error| error.to_string())?;
    let length = file.length();
    let plan = PayloadPlan::for_form(file, &HeaderMap::new()).map_err(|error| error.to_string())?;
    let mut reader = plan.into_reader();
    let mut payload = Vec::new();
    loop {
        while let Some(piece) = reader.next().map_err(|error| error.to_string())? {
            payload.extend_from_slice(&piece);
        }
        match next() {
            Some(piece) => reader.push(Bytes::copy_from_slice(piece)),
            None => break,
        }
    }
    let verified = reader.finish().map_err(|error| error.to_string())?;
    assert_eq!((verified.length(), payload.len() as u64), (length, length));
    Ok((fields, head.file_name, payload))
}

fn same_in_pieces(body: &[u8], splits: u16) -> [Read; 2] {
    [false, true].map(|whole_first| {
        within(256 * 1024 + 16 * body.len(), || {
            let whole = read(body, whole_first, || usize::MAX);
            let single = read(body, whole_first, || 1);
            assert_eq!(whole, single, "the verdict depends on how the body is cut");
            let mut sequence = Sequence(u64::from(splits));
            let random = read(body, whole_first, || 1 + sequence.below(90));
            assert_eq!(whole, random, "the verdict depends on how the body is cut");
            if let Ok((fields, _, file)) = &whole {
                assert_eq!(&by_splitting(body), &Some((fields.clone(), file.clone())), "another reader differs");
            }
            whole
        })
    })
}

/// A second reader: splits the whole body at its delimiters.
fn by_splitting(body: &[u8]) -> Option<(Vec<(String, String)>, Vec<u8>)> {
    let delimiter = format!("\r\n--{BOUNDARY}");
    let body = [b"\r\n", body].concat();
    let mut fields = Vec::new();
    let mut rest = &body[find(&body, delimiter.as_bytes())? + delimiter.len()..];
    loop {
        let content = find(rest, b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&rest[..content]).ok()?.to_ascii_lowercase();
        let end = content + find(&rest[content..], delimiter.as_bytes())?;
        let value = rest[content..end].to_vec();
        let name = fields_name(&head)?;
        if name == "file" {
            return Some((fields, value));
        }
        fields.push((name, String::from_utf8(value).ok()?));
        rest = &rest[end + delimiter.len()..];
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    (0..=text.len().checked_sub(needle.len())?).find(|at| text[*at..].starts_with(needle))
}

/// The parameter `name`, wherever it stands among the others.
fn fields_name(head: &str) -> Option<String> {
    let line = head.split("\r\n").find(|line| line.starts_with("content-disposition:"))?;
    let (mut parameters, mut quoted, mut current) = (Vec::new(), false, String::new());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // Within quotes only a quote is escaped.
            '\\' if quoted && characters.peek() == Some(&'"') => current.extend(characters.next()),
            '"' => quoted = !quoted,
            ';' if !quoted => parameters.push(std::mem::take(&mut current)),
            // White space in quotes belongs to the value.
            ' ' | '\t' if !quoted => {}
            _ => current.push(character),
        }
    }
    parameters.push(current);
    let value = parameters.iter().find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        (name.trim() == "name").then(|| value.to_owned())
    });
    value
}

fn honest(input: &mut Input<'_>) {
    let splits = input.u16();
    let (kind, at, byte) = (input.u8(), input.u16(), input.u8());
    let mut fields: Vec<(String, String)> = Vec::new();
    for index in 0..input.below(6) {
        let value = input.text();
        if !value.contains(&format!("\r\n--{BOUNDARY}")) {
            fields.push((format!("f{index}"), value));
        }
    }
    let mut file = input.bytes();
    for _ in 0..input.below(40) {
        file.extend_from_slice(b"0123456789\r\n--b-");
    }
    let mut body = Vec::new();
    for (name, value) in &fields {
        body.extend(format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    body.extend(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"n\"\r\n\r\n").bytes());
    body.extend_from_slice(&file);
    body.extend(format!("\r\n--{BOUNDARY}--\r\n").bytes());
    let is_honest = find(&[&file[..], b"\r\n--"].concat(), format!("\r\n--{BOUNDARY}").as_bytes()).is_none();
    let at = usize::from(at) % body.len();
    let is_altered = match kind % 5 {
        1 => byte != 0 && { body[at] ^= byte; true },
        2 => { body.remove(at); true }
        3 => { body.insert(at, byte); true }
        4 => { body.truncate(at); true }
        _ => false,
    };
    let verdicts = same_in_pieces(&body, splits);
    if is_honest && !is_altered {
        let expected = Ok((fields, "n".to_owned(), file));
        assert!(verdicts.iter().all(|verdict| *verdict == expected), "an honest form is not read as it was written");
    }
    if kind % 5 == 4 && at + 4 < body.len() {
        assert!(verdicts[0].is_err(), "a body that was cut short is whole");
    }
}

fn policy(input: &mut Input<'_>) {
    let mut fields = vec![Field { name: "key".to_owned(), value: input.text() }];
    for _ in 0..input.below(5) {
        let name = ["acl", "content-type", "x-amz-meta-a", "success_action_redirect", "x-ignore-a", "policy"][input.below(6)];
        if fields.iter().all(|field| field.name != name) {
            fields.push(Field { name: name.to_owned(), value: input.text() });
        }
    }
    let head = FormHead { fields: fields.clone(), file_name: "n".to_owned(), file_offset: 0, rest: Bytes::new() };
    let rest = input.take(usize::MAX);
    let Ok(form) = PostForm::from_head(head, "bkt") else {
        return;
    };
    if let Ok(headers) = form.headers() {
        assert!(headers.values().all(|value| !value.as_bytes().contains(&b'\n')));
        assert!(!headers.contains_key("x-amz-copy-source"));
    }
    let conditions = String::from_utf8_lossy(rest).into_owned();
    let document = format!("{{\"expiration\":\"2030-01-01T00:00:00Z\",\"conditions\":[{conditions}]}}");
    let parsed = within(1024 * 1024 + 64 * document.len(), || Policy::parse(&BASE64.encode(document.as_bytes())));
    let Ok(policy) = parsed else {
        return;
    };
    assert!(policy.check(&form, 1_893_456_001).is_err(), "a policy outlives its time");
    let Ok(range) = policy.check(&form, 0) else {
        return;
    };
    assert!(range.check(range.max).is_ok() || range.min > range.max);
    let document: Value = serde_json::from_str(&document).unwrap();
    let conditions = document["conditions"].as_array().unwrap();
    for Field { name, .. } in fields.iter().filter(|field| field.name != "policy" && !field.name.starts_with("x-ignore-")) {
        let value = form.get(name).unwrap();
        let mut spoken = 0;
        for condition in conditions {
            let (operator, own, wanted) = match condition {
                Value::Object(pairs) => {
                    for (own, wanted) in pairs.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)) {
                        spoken += 1;
                        assert_eq!(wanted.as_str(), Some(value), "{own}");
                    }
                    continue;
                }
                Value::Array(items) => (&items[0], &items[1], &items[2]),
                _ => panic!("a condition of no form was accepted"),
            };
            let is_own = own.as_str().is_some_and(|own| own[1..].eq_ignore_ascii_case(name));
            if !is_own || operator.as_str().unwrap().eq_ignore_ascii_case("content-length-range") {
                continue;
            }
            spoken += 1;
            let wanted = wanted.as_str().unwrap();
            if operator.as_str().unwrap().eq_ignore_ascii_case("eq") {
                assert_eq!(wanted, value);
            } else {
                assert!(value.trim_start().starts_with(wanted) || value.starts_with(wanted));
            }
        }
        assert!(spoken > 0, "the policy does not speak of {name}");
    }
}
