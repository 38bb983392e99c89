//! XML documents: what clients and stores send, what is made of it, and what hostile ones cost.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "helpers of tests may panic"
)]

use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::xml::{
    BucketEntry, BucketList, CompletedPart, CompletedUpload, CopyOutcome, DELETE_KEYS_MAX, DeleteEntry,
    DeleteOutcome, DeleteRequest, InitiatedUpload, ListPage, ListedPart, Owner, PARTS_MAX, PartList,
    StoreAnswer, UploadPage, XmlError, filter_buckets, mentions, parse_bucket_configuration,
    parse_completed_parts, parse_error, parse_location, rewrite_listing, rewrite_upload_listing,
    write_completed_parts, write_location,
};

const HEX: &str = "9e107d9d372bb6826bd81d3542a419d6";
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// A stand-in for the size formula: sizes above 352 lose 352.
fn plain(size: u64) -> Option<u64> {
    size.checked_sub(352)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_listing_changes_in_sizes_tags_and_checksums_only() {
    let store = format!(
        "{DECLARATION}<ListBucketResult {NAMESPACE}><Name>b</Name><Prefix>a&amp;</Prefix><Delimiter>/</Delimiter>\
         <EncodingType>url</EncodingType><KeyCount>2</KeyCount><IsTruncated>true</IsTruncated>\
         <NextContinuationToken>1/a+b==&#x1;</NextContinuationToken>\n  <Contents><Key>a%26%0D</Key>\
         <LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>&quot;{HEX}&quot;</ETag><ChecksumAlgorithm>CRC32\
         </ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>1376</Size><StorageClass>STANDARD</StorageClass>\
         <Owner><ID>o</ID><DisplayName>d</DisplayName></Owner><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>\
         </RestoreStatus><New attr='x>y'><Size>5</Size></New></Contents><!-- c --><Contents><Key>m</Key>\
         <ETag>\"{HEX}-3\"</ETag><Size>\n352 </Size><Owner/></Contents>\
         <CommonPrefixes><Prefix>a%26/</Prefix></CommonPrefixes></ListBucketResult>\n"
    );
    let expected = store
        .replace(&format!("&quot;{HEX}&quot;"), &format!("&quot;{HEX}-0&quot;"))
        .replace(&format!("\"{HEX}-3\""), &format!("&quot;{HEX}-3&quot;"))
        .replace(
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
            "",
        )
        .replace("<Size>1376<", "<Size>1024<")
        .replace("<Size>\n352 <", "<Size>0<");
    let rewritten = rewrite_listing(store.as_bytes(), plain).unwrap();
    assert_eq!(text(&rewritten.xml), expected);
    assert_eq!((rewritten.unsized_count, rewritten.unsized_keys.len()), (0, 0));
}

#[test]
fn a_listing_without_a_namespace_or_with_a_prefix_is_rewritten_too() {
    for (open, close) in [
        ("<ListBucketResult>", "</ListBucketResult>"),
        (
            "<s3:ListBucketResult xmlns:s3=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
            "</s3:ListBucketResult>",
        ),
    ] {
        let prefix = if open.contains("s3:") { "s3:" } else { "" };
        let entry = |size: u64, tag: &str| {
            format!(
                "<{prefix}Contents><{prefix}Size>{size}</{prefix}Size><{prefix}ETag>{tag}</{prefix}ETag></{prefix}Contents>"
            )
        };
        let store = format!("{open}{}{close}", entry(353, HEX));
        let expected = format!("{open}{}{close}", entry(1, &format!("{HEX}-0")));
        assert_eq!(
            text(&rewrite_listing(store.as_bytes(), plain).unwrap().xml),
            expected
        );
    }
}

#[test]
fn entries_of_foreign_size_stay_and_are_reported() {
    let entries: String = (0..40)
        .map(|n| format!("<Contents><Size>{n}</Size><Key>k&lt;{n}</Key></Contents>"))
        .collect();
    let store = format!(
        "<ListBucketResult>{entries}<Contents><Key>ours</Key><Size>400</Size></Contents></ListBucketResult>"
    );
    let rewritten = rewrite_listing(store.as_bytes(), plain).unwrap();
    assert_eq!(rewritten.unsized_count, 40);
    assert_eq!(rewritten.unsized_keys.len(), 16);
    assert_eq!(rewritten.unsized_keys[1], "k<1");
    assert_eq!(text(&rewritten.xml), store.replace("<Size>400<", "<Size>48<"));
}

#[test]
fn a_listing_that_cannot_be_understood_is_refused_and_not_passed() {
    for (store, expected) in [
        ("", XmlError::Unexpected),
        ("<Error><Code>X</Code></Error>", XmlError::Unexpected),
        (
            "<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>",
            XmlError::Unexpected,
        ),
        (
            "<ListBucketResult><Contents><Size>1e3</Size></Contents></ListBucketResult>",
            XmlError::Unexpected,
        ),
        (
            "<ListBucketResult><Contents><Size/></Contents></ListBucketResult>",
            XmlError::Unexpected,
        ),
        (
            "<ListBucketResult><Contents><Size>99999999999999999999</Size></Contents></ListBucketResult>",
            XmlError::Unexpected,
        ),
        (
            "<ListBucketResult><Contents><Size><a/></Size></Contents></ListBucketResult>",
            XmlError::Unexpected,
        ),
        ("<ListBucketResult><Contents>", XmlError::NotWellFormed),
        (
            "<ListBucketResult><Contents></ListBucketResult>",
            XmlError::NotWellFormed,
        ),
        ("<ListBucketResult></ListBucketResult><x/>", XmlError::Unexpected),
        ("<ListBucketResult>text</ListBucketResult>", XmlError::Unexpected),
    ] {
        assert_eq!(
            rewrite_listing(store.as_bytes(), plain).unwrap_err(),
            expected,
            "{store}"
        );
    }
    assert_eq!(
        rewrite_listing(b"<ListBucketResult>\xff</ListBucketResult>", plain).unwrap_err(),
        XmlError::NotWellFormed
    );
}

#[test]
fn an_upload_listing_loses_checksums_only() {
    let store = format!(
        "<ListMultipartUploadsResult {NAMESPACE}><Bucket>b</Bucket><KeyMarker/><IsTruncated>false</IsTruncated><Upload><Key>k</Key>\
         <UploadId>u</UploadId><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Initiated>t</Initiated></Upload></ListMultipartUploadsResult>"
    );
    let expected = store.replace("<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>", "");
    assert_eq!(text(&rewrite_upload_listing(store.as_bytes()).unwrap()), expected);
    let page = UploadPage::parse(store.as_bytes()).unwrap();
    assert_eq!(
        (page.uploads[0].upload_id.as_str(), page.next_key_marker),
        ("u", None)
    );
}

#[test]
fn hidden_buckets_leave_no_trace() {
    let store = format!(
        "{DECLARATION}<ListAllMyBucketsResult {NAMESPACE}><Owner><ID>o</ID></Owner><Buckets>\n <Bucket><Name>a</Name>\
         <CreationDate>t</CreationDate></Bucket><Bucket><CreationDate>t</CreationDate><Name>control</Name></Bucket>\
         <Bucket><Name>c</Name></Bucket><Bucket/></Buckets></ListAllMyBucketsResult>"
    );
    let filtered = filter_buckets(store.as_bytes(), |name| name != "control").unwrap();
    let expected = store
        .replace(
            "<Bucket><CreationDate>t</CreationDate><Name>control</Name></Bucket>",
            "",
        )
        .replace("<Bucket/>", "");
    assert_eq!(text(&filtered), expected);
    let list = BucketList::parse(&filtered).unwrap();
    assert_eq!(
        list.buckets
            .iter()
            .map(|bucket| bucket.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "c"]
    );
}

#[test]
fn a_delete_request_is_read_and_written_for_the_store() {
    for open in [
        "<Delete>".to_owned(),
        format!("{DECLARATION}<Delete {NAMESPACE}>"),
        "\r\n <Delete>".to_owned(),
    ] {
        let body = format!(
            "{open}<Object><Key>a&amp;&#xD;&#10;<![CDATA[<b>]]>é</Key></Object>\n<Quiet>true</Quiet>\
             <Object><ETag>\"{HEX}-0\"</ETag><Key> k </Key><VersionId/></Object></Delete>"
        );
        let request = DeleteRequest::parse(body.as_bytes()).unwrap();
        assert!(request.quiet);
        assert_eq!(
            request.objects,
            [
                DeleteEntry {
                    key: "a&\r\n<b>é".into(),
                    version_id: None,
                    etag: None
                },
                DeleteEntry {
                    key: " k ".into(),
                    version_id: None,
                    etag: Some(format!("\"{HEX}-0\""))
                },
            ]
        );
        assert_eq!(
            text(&request.to_store_xml()),
            format!(
                "{DECLARATION}<Delete {NAMESPACE}><Object><Key>a&amp;&#xD;\n&lt;b&gt;é</Key></Object><Object><Key> k </Key>\
                 <ETag>&quot;{HEX}&quot;</ETag></Object><Quiet>true</Quiet></Delete>"
            )
        );
    }
}

#[test]
fn keys_with_control_characters_survive_the_way_to_the_store() {
    let keys = [
        "\u{1}\u{1f}\u{7f}",
        "a\r\nb\tc\n",
        "\u{fffe}\u{ffff}",
        "𝄞 é ü",
        "]]>",
        "&#x1;",
    ];
    let request = DeleteRequest {
        quiet: false,
        objects: keys
            .iter()
            .map(|key| DeleteEntry {
                key: (*key).into(),
                version_id: None,
                etag: None,
            })
            .collect(),
    };
    assert_eq!(DeleteRequest::parse(&request.to_store_xml()).unwrap(), request);
}

#[test]
fn a_version_to_destroy_reaches_the_store() {
    let body = b"<Delete><Object><Key>k</Key><VersionId>a&lt;b</VersionId></Object></Delete>";
    let request = DeleteRequest::parse(body).unwrap();
    assert_eq!(request.objects[0].version_id.as_deref(), Some("a<b"));
    assert!(text(&request.to_store_xml()).contains("<Key>k</Key><VersionId>a&lt;b</VersionId></Object>"));
}

#[test]
fn a_listing_of_versions_shows_plain_sizes_and_leaves_delete_markers_alone() {
    let store = format!(
        "{DECLARATION}<ListVersionsResult {NAMESPACE}><Name>b</Name><Version><Key>k</Key><VersionId>v</VersionId>\
         <ETag>&quot;{HEX}&quot;</ETag><ChecksumType>FULL_OBJECT</ChecksumType><Size>STORED</Size></Version>\
         <DeleteMarker><Key>k</Key><VersionId>w</VersionId></DeleteMarker></ListVersionsResult>"
    );
    let rewrite = |size: &str| {
        rewrite_listing(store.replace("STORED", size).as_bytes(), |size| {
            size.checked_sub(100)
        })
    };
    let rewritten = rewrite("105").unwrap();
    assert_eq!(rewritten.unsized_count, 0);
    assert_eq!(
        text(&rewritten.xml),
        store
            .replace("STORED", "5")
            .replace(HEX, &format!("{HEX}-0"))
            .replace("<ChecksumType>FULL_OBJECT</ChecksumType>", "")
    );
    assert_eq!(rewrite("7").unwrap().unsized_count, 1);
}

#[test]
fn a_bucket_named_in_a_document_is_found_however_it_is_written() {
    for body in [
        "<R><Bucket>control</Bucket></R>",
        "<R><Bucket> control\n</Bucket></R>",
        "<R><Bucket>arn:aws:s3:::control</Bucket></R>",
        "<R><A>arn:aws:s3:::control/x</A></R>",
        "<R><B>con&#116;rol</B></R>",
        "<R><B>con<!-- -->trol</B></R>",
        "<R><B>con<![CDATA[trol]]></B></R>",
    ] {
        assert_eq!(mentions(body.as_bytes(), "control"), Ok(true), "{body}");
    }
    for body in [
        "<R><B>control-2</B><control/></R>",
        "<R/>",
        "<R a='control'>x</R>",
    ] {
        assert_eq!(mentions(body.as_bytes(), "control"), Ok(false), "{body}");
    }
    for body in [
        "",
        "control",
        "<R>",
        "<R></S>",
        "<R/><R>control</R>",
        "<!DOCTYPE R><R/>",
        // No names, or markup within a tag: two readers may see two documents.
        "< R/>",
        "<R>< B>control</ B></R>",
        "<R><B a='<C>'>control</B></R>",
        "<R><B<C>control</B<C></R>",
        "<R><1>control</1></R>",
        "<x:>control</x:>",
    ] {
        assert!(mentions(body.as_bytes(), "control").is_err(), "{body}");
    }
}

#[test]
fn delete_requests_outside_the_interface_are_refused() {
    let object = "<Object><Key>k</Key></Object>";
    let most = format!("<Delete>{}</Delete>", object.repeat(DELETE_KEYS_MAX));
    assert_eq!(
        DeleteRequest::parse(most.as_bytes()).unwrap().objects.len(),
        DELETE_KEYS_MAX
    );
    let more = format!("<Delete>{}</Delete>", object.repeat(DELETE_KEYS_MAX + 1));
    let long = format!(
        "<Delete><Object><Key>{}</Key></Object></Delete>",
        "k".repeat(1_025)
    );
    for (body, expected) in [
        (more.as_str(), ErrorCode::MalformedXml),
        (long.as_str(), ErrorCode::KeyTooLong),
        ("", ErrorCode::MalformedXml),
        ("<Delete/>", ErrorCode::MalformedXml),
        ("<Delete><Object/></Delete>", ErrorCode::MalformedXml),
        (
            "<Delete><Object><Key></Key></Object></Delete>",
            ErrorCode::MalformedXml,
        ),
        (
            "<Delete><Object><Key>k</Key><Other>1</Other></Object></Delete>",
            ErrorCode::MalformedXml,
        ),
        (
            "<Remove><Object><Key>k</Key></Object></Remove>",
            ErrorCode::MalformedXml,
        ),
        (
            "<Delete><Object><Key>a\0b</Key></Object></Delete>",
            ErrorCode::MalformedXml,
        ),
        (
            "<Delete><Object><Key>a&#0;b</Key></Object></Delete>",
            ErrorCode::MalformedXml,
        ),
        (
            "<Delete><Object><Key>k</Key><Size>3</Size></Object></Delete>",
            ErrorCode::NotImplemented,
        ),
        (
            "<Delete><Quiet>maybe</Quiet><Object><Key>k</Key></Object></Delete>",
            ErrorCode::MalformedXml,
        ),
    ] {
        assert_eq!(
            DeleteRequest::parse(body.as_bytes()),
            Err(expected),
            "{:.80}",
            body
        );
    }
}

#[test]
fn a_delete_result_is_read_and_written_back() {
    let store = format!(
        "{DECLARATION}<DeleteResult {NAMESPACE}><Deleted><Key>a</Key><VersionId>v</VersionId><DeleteMarker>true</DeleteMarker>\
         <DeleteMarkerVersionId>m</DeleteMarkerVersionId></Deleted><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message>\
         </Error></DeleteResult>"
    );
    let outcome = DeleteOutcome::parse(store.as_bytes()).unwrap();
    assert_eq!(outcome.errors[0].code, "AccessDenied");
    assert_eq!(text(&outcome.to_xml()), store);
}

#[test]
fn completed_parts_are_read_in_order() {
    let body = format!(
        "<CompleteMultipartUpload {NAMESPACE}><Part><PartNumber>1</PartNumber><ETag>\"a-b_c\"</ETag><ChecksumCRC32>AAAAAA==\
         </ChecksumCRC32><ChecksumSHA256/></Part><Part><ETag>d</ETag><PartNumber> 9999 </PartNumber></Part></CompleteMultipartUpload>"
    );
    let parts = parse_completed_parts(body.as_bytes()).unwrap();
    assert_eq!(
        parts,
        [
            CompletedPart {
                number: 1,
                etag: "a-b_c".into(),
                checksums: vec![("CRC32".into(), "AAAAAA==".into())]
            },
            CompletedPart {
                number: 9_999,
                etag: "d".into(),
                checksums: vec![]
            },
        ]
    );
    assert_eq!(
        text(&write_completed_parts([(1, HEX), (2, "\"x\"")].into_iter())),
        format!(
            "{DECLARATION}<CompleteMultipartUpload {NAMESPACE}><Part><PartNumber>1</PartNumber><ETag>&quot;{HEX}&quot;</ETag></Part>\
             <Part><PartNumber>2</PartNumber><ETag>&quot;x&quot;</ETag></Part></CompleteMultipartUpload>"
        )
    );
}

#[test]
fn completions_outside_the_interface_are_refused() {
    let part = |number: u64| format!("<Part><PartNumber>{number}</PartNumber><ETag>e</ETag></Part>");
    let body = |parts: &str| format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    for (parts, expected) in [
        (String::new(), ErrorCode::MalformedXml),
        (part(2) + &part(1), ErrorCode::InvalidPartOrder),
        (part(1) + &part(1), ErrorCode::InvalidPartOrder),
        (part(0), ErrorCode::InvalidArgument),
        (part(10_000), ErrorCode::InvalidArgument),
        (part(65_537), ErrorCode::InvalidArgument),
        (
            "<Part><PartNumber>1</PartNumber></Part>".into(),
            ErrorCode::MalformedXml,
        ),
        ("<Part><ETag>e</ETag></Part>".into(), ErrorCode::MalformedXml),
        (
            "<Part><PartNumber>x</PartNumber><ETag>e</ETag></Part>".into(),
            ErrorCode::MalformedXml,
        ),
        (
            "<Part><PartNumber>1</PartNumber><ETag>e</ETag><X/></Part>".into(),
            ErrorCode::MalformedXml,
        ),
        ("<Other/>".into(), ErrorCode::MalformedXml),
    ] {
        assert_eq!(
            parse_completed_parts(body(&parts).as_bytes()),
            Err(expected),
            "{parts:.80}"
        );
    }
    let all: String = (1..=9_999).map(part).collect();
    assert_eq!(
        parse_completed_parts(body(&all).as_bytes()).unwrap().len(),
        PARTS_MAX - 1
    );
}

#[test]
fn an_error_inside_a_200_is_a_failure() {
    let error = "\n \r\n<?xml version=\"1.0\"?><Error><Code>InternalError</Code><Message>m</Message><RequestId>r</RequestId>\
                 <Detail><More>x</More></Detail></Error>";
    let is_failed = |code: &str| code == "InternalError";
    assert!(
        matches!(CompletedUpload::parse(error.as_bytes()), Ok(StoreAnswer::Failed(e)) if is_failed(&e.code))
    );
    assert!(matches!(CopyOutcome::parse(error.as_bytes()), Ok(StoreAnswer::Failed(e)) if is_failed(&e.code)));
    assert!(
        matches!(InitiatedUpload::parse(error.as_bytes()), Ok(StoreAnswer::Failed(e)) if is_failed(&e.code))
    );
    assert_eq!(parse_error(b"<Error/>"), Err(XmlError::Unexpected));
    let redirect =
        parse_error(b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region></Error>")
            .unwrap();
    assert_eq!(redirect.region.as_deref(), Some("eu-west-3"));
    for incomplete in [
        "<CompleteMultipartUploadResult/>",
        "<CompleteMultipartUploadResult><ETag>\"x\"</ETag>",
        "<CopyObjectResult><ETag/></CopyObjectResult>",
        "   ",
        "<html/>",
    ] {
        assert!(
            CompletedUpload::parse(incomplete.as_bytes()).is_err(),
            "{incomplete}"
        );
        assert!(CopyOutcome::parse(incomplete.as_bytes()).is_err(), "{incomplete}");
    }
}

#[test]
fn small_answers_are_written_as_s3_writes_them_and_read_back() {
    let started = InitiatedUpload {
        bucket: "b".into(),
        key: "k\r&".into(),
        upload_id: "u".into(),
    };
    assert_eq!(
        text(&started.to_xml()),
        format!(
            "{DECLARATION}<InitiateMultipartUploadResult {NAMESPACE}><Bucket>b</Bucket><Key>k&#xD;&amp;</Key><UploadId>u</UploadId>\
             </InitiateMultipartUploadResult>"
        )
    );
    assert_eq!(
        InitiatedUpload::parse(&started.to_xml()),
        Ok(StoreAnswer::Done(started))
    );
    let copy = CopyOutcome {
        etag: format!("{HEX}-0"),
        last_modified: "t".into(),
    };
    assert_eq!(
        text(&copy.to_part_xml()),
        format!(
            "{DECLARATION}<CopyPartResult {NAMESPACE}><LastModified>t</LastModified><ETag>&quot;{HEX}-0&quot;</ETag></CopyPartResult>"
        )
    );
    assert_eq!(
        CopyOutcome::parse(&copy.to_object_xml()),
        Ok(StoreAnswer::Done(copy))
    );
    let done = CompletedUpload {
        location: "http://h/b/k".into(),
        bucket: "b".into(),
        key: "k".into(),
        etag: "e-2".into(),
        checksum: None,
    };
    let without_tag = CompletedUpload {
        etag: String::new(),
        ..done.clone()
    };
    for done in [done, without_tag] {
        assert_eq!(
            CompletedUpload::parse(&done.to_xml()),
            Ok(StoreAnswer::Done(done))
        );
    }
}

#[test]
fn part_lists_and_bucket_lists_are_read_back() {
    let parts = PartList {
        bucket: "b".into(),
        key: "k".into(),
        upload_id: "u".into(),
        initiator: Some(Owner {
            id: "i".into(),
            display_name: None,
        }),
        owner: Some(Owner {
            id: "o".into(),
            display_name: Some("O".into()),
        }),
        storage_class: Some("STANDARD".into()),
        part_number_marker: 0,
        next_part_number_marker: Some(2),
        max_parts: 1_000,
        is_truncated: false,
        parts: vec![ListedPart {
            number: 2,
            last_modified: "t".into(),
            etag: "e-u".into(),
            size: 5_242_880,
        }],
    };
    assert_eq!(PartList::parse(&parts.to_xml()).unwrap(), parts);
    assert_eq!(
        PartList::parse(b"<ListPartsResult><PartNumberMarker/><NextPartNumberMarker/></ListPartsResult>")
            .unwrap(),
        PartList::default()
    );
    let buckets = BucketList {
        owner: Owner {
            id: "o".into(),
            display_name: None,
        },
        buckets: vec![BucketEntry {
            name: "b".into(),
            creation_date: "t".into(),
            region: Some("r".into()),
        }],
        continuation_token: Some("c".into()),
        prefix: None,
    };
    assert_eq!(BucketList::parse(&buckets.to_xml()).unwrap(), buckets);
}

#[test]
fn locations_are_read_and_written() {
    assert_eq!(
        text(&write_location(None)),
        format!("{DECLARATION}<LocationConstraint {NAMESPACE}></LocationConstraint>")
    );
    assert_eq!(
        parse_location(&write_location(Some("eu-west-3"))),
        Ok(Some("eu-west-3".into()))
    );
    assert_eq!(parse_location(b"<LocationConstraint xmlns='x'/>"), Ok(None));
    let create = |inside: &str| {
        parse_bucket_configuration(
            format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>").as_bytes(),
        )
    };
    assert_eq!(parse_bucket_configuration(b" \n"), Ok(None));
    assert_eq!(create(""), Ok(None));
    assert_eq!(
        create("<LocationConstraint> eu </LocationConstraint>"),
        Ok(Some("eu".into()))
    );
    assert_eq!(
        create("<Bucket><Type>Directory</Type></Bucket>"),
        Err(ErrorCode::NotImplemented)
    );
    assert_eq!(
        create("<LocationConstraint><a/></LocationConstraint>"),
        Err(ErrorCode::MalformedXml)
    );
}

#[test]
fn a_page_of_objects_is_read() {
    let page = ListPage::parse(
        b"<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t\
          </NextContinuationToken><Contents><Key>a%20b</Key><Size>352</Size><ETag>\"e\"</ETag></Contents>\
          <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>",
    )
    .unwrap();
    assert!(page.is_truncated && page.is_url_encoded);
    assert_eq!(
        (
            page.objects[0].key.as_str(),
            page.objects[0].size,
            page.objects[0].etag.as_str()
        ),
        ("a%20b", 352, "e")
    );
    assert_eq!(page.common_prefixes, ["p/"]);
}
