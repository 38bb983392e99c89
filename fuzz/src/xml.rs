//! Every XML reader, writer and rewriter, on every document.

use sceau_s3wire::checksum::{Algorithm, ChecksumType, Hasher};
use sceau_s3wire::xml::*;

use crate::memory::within;

/// Most bytes held at once for one byte of a document: an empty element of a dozen bytes becomes a
/// value of a few hundred in a vector that grows by doubling.
const BYTES_PER_BYTE: usize = 64;

pub fn run(data: &[u8]) {
    let limit = 64 * 1024 + BYTES_PER_BYTE * data.len();
    within(limit, || requests(data));
    within(limit, || answers(data));
    within(limit, || listings(data));
    within(limit, || attributes(data));
    within(limit, || passed(data));
}

/// What a writer makes of a text that is not a key: characters that XML cannot carry are replaced.
fn shown(text: &str) -> String {
    text.chars().map(|character| if write::is_xml_char(character) { character } else { '\u{fffd}' }).collect()
}

fn requests(data: &[u8]) {
    if let Ok(request) = DeleteRequest::parse(data) {
        assert!((1..=DELETE_KEYS_MAX).contains(&request.objects.len()));
        assert!(request.objects.iter().all(|entry| (1..=1024).contains(&entry.key.len())));
        let again = DeleteRequest::parse(&request.to_store_xml()).expect("what is written is read");
        let keys = |request: &DeleteRequest| -> Vec<String> {
            request.objects.iter().map(|entry| entry.key.clone()).collect()
        };
        assert_eq!((keys(&again), again.quiet), (keys(&request), request.quiet));
    }
    if let Ok(parts) = parse_completed_parts(data) {
        assert!((1..=PARTS_MAX).contains(&parts.len()));
        assert!(parts.windows(2).all(|pair| pair[0].number < pair[1].number));
        let written = write_completed_parts(parts.iter().map(|part| (part.number, part.etag.as_str())));
        let again = parse_completed_parts(&written).expect("what is written is read");
        assert!(again.iter().zip(&parts).all(|(again, part)| again.number == part.number));
        assert_eq!(again.len(), parts.len());
    }
    if let Ok(Some(location)) = parse_bucket_configuration(data) {
        let written = write_location(Some(&location));
        assert_eq!(parse_location(&written), Ok(Some(shown(&location)).filter(|location| !location.is_empty())));
    }
    let _ = parse_location(data);
}

fn answers(data: &[u8]) {
    let _ = parse_error(data);
    if let Ok(StoreAnswer::Done(upload)) = InitiatedUpload::parse(data) {
        let bucket = shown(&upload.bucket);
        let again = InitiatedUpload { bucket, upload_id: shown(&upload.upload_id), ..upload.clone() };
        assert_eq!(InitiatedUpload::parse(&upload.to_xml()), Ok(StoreAnswer::Done(again)));
    }
    if let Ok(StoreAnswer::Done(copy)) = CopyOutcome::parse(data) {
        assert!(CopyOutcome::parse(&copy.to_object_xml()).is_ok());
        assert!(CopyOutcome::parse(&copy.to_part_xml()).is_ok());
    }
    if let Ok(StoreAnswer::Done(done)) = CompletedUpload::parse(data) {
        assert!(CompletedUpload::parse(&done.to_xml()).is_ok());
    }
    if let Ok(list) = PartList::parse(data) {
        let again = PartList::parse(&list.to_xml()).expect("what is written is read");
        assert_eq!(again.parts.len(), list.parts.len());
        assert_eq!((again.key, again.upload_id), (list.key, shown(&list.upload_id)));
    }
    if let Ok(list) = BucketList::parse(data) {
        let again = BucketList::parse(&list.to_xml()).expect("what is written is read");
        let names = |list: &BucketList| list.buckets.iter().map(|bucket| shown(&bucket.name)).collect::<Vec<_>>();
        assert_eq!(names(&again), names(&list));
    }
    if let Ok(outcome) = DeleteOutcome::parse(data) {
        let again = DeleteOutcome::parse(&outcome.to_xml()).expect("what is written is read");
        let keys = |outcome: &DeleteOutcome| -> Vec<String> {
            let errors = outcome.errors.iter().map(|entry| entry.key.clone());
            outcome.deleted.iter().map(|entry| entry.key.clone()).chain(errors).collect()
        };
        assert_eq!(keys(&again), keys(&outcome));
    }
}

fn listings(data: &[u8]) {
    let page = ListPage::parse(data);
    let rewritten = rewrite_listing(data, |stored| stored.checked_sub(352));
    if let Ok(rewritten) = &rewritten {
        assert!(rewritten.unsized_keys.len() <= UNSIZED_KEYS_REPORTED_MAX.min(rewritten.unsized_count));
        let again = rewrite_listing(&rewritten.xml, Some).expect("a rewritten listing is one");
        assert_eq!(again.xml, rewrite_listing(&again.xml, Some).unwrap().xml);
        // A page that can be read is the same page, with other sizes and tags.
        if let (Ok(page), Ok(after)) = (&page, ListPage::parse(&rewritten.xml)) {
            let keys = |page: &ListPage| -> Vec<String> {
                page.objects.iter().map(|object| object.key.clone()).collect()
            };
            assert_eq!(keys(&after), keys(page));
            assert_eq!(
                (&after.common_prefixes, after.is_truncated, &after.next_continuation_token),
                (&page.common_prefixes, page.is_truncated, &page.next_continuation_token)
            );
        }
    }
    let uploads = UploadPage::parse(data);
    if let Ok(rewritten) = rewrite_upload_listing(data) {
        if let (Ok(uploads), Ok(after)) = (uploads, UploadPage::parse(&rewritten)) {
            assert_eq!(after, uploads);
        }
    }
    if let Ok(all) = filter_buckets(data, |_| true) {
        if let (Ok(before), Ok(after)) = (BucketList::parse(data), BucketList::parse(&all)) {
            assert!(after.buckets.len() <= before.buckets.len());
        }
        let none = filter_buckets(data, |_| false).unwrap();
        if let Ok(none) = BucketList::parse(&none) {
            assert_eq!(none.buckets, []);
        }
    }
}

/// What GetObjectAttributes writes is XML, whatever the store's texts are.
fn attributes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (etag, class) = text.split_once('\n').unwrap_or((&text, ""));
    let number = data.len() as u64;
    let parts: Vec<(u16, u64)> = data.iter().take(64).map(|byte| (u16::from(*byte), number)).collect();
    let written = ObjectAttributes {
        etag: Some(etag.to_owned()),
        checksum: Some((Hasher::of(Algorithm::Crc32, data), ChecksumType::FullObject)),
        parts: Some(AttributeParts { total: parts.len(), marker: 0, parts_max: 64, is_truncated: true, parts }),
        storage_class: Some(class.to_owned()),
        size: Some(number),
    }
    .to_xml();
    assert_eq!(root_name(&written), Ok("GetObjectAttributesResponse"));
    // Read to its end: well-formed, one root.
    assert!(mentions(&written, &number.to_string()).is_ok());
}

/// Documents that go through as they are: what is looked for in them is found.
fn passed(data: &[u8]) {
    if mentions(data, "a-word-that-is-not-there").is_ok() {
        assert!(root_name(data).is_ok_and(|name| !name.is_empty()));
    }
    let word = "sceau-control";
    let mut xml = write::XmlWriter::document();
    xml.open_root("Policy");
    xml.element("Resource", &format!("{}:{word}/x", String::from_utf8_lossy(data)));
    xml.close("Policy");
    assert_eq!(mentions(&xml.finish(), word), Ok(true));
}
