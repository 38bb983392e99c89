//! Which requests become which operation, and which become 501.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests may panic, and one test prints its count"
)]

use http::{HeaderMap, HeaderName, HeaderValue};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::op::{ALIASES, Action, Class, Document, Operation, REFUSED, Row, Scope, Subject, class_of};
use sceau_s3wire::router::{QUERY_PARAMETERS_MAX, RouteError, part_number, route};
use sceau_s3wire::target::{QueryPair, RawQuery};

/// Routes `METHOD /path?query`, with a copy source when the line ends in ` +copy`.
fn try_route(line: &str) -> Result<Operation, ErrorCode> {
    let (line, copies) = line
        .strip_suffix(" +copy")
        .map_or((line, false), |line| (line, true));
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (bucket, key) = path
        .trim_start_matches('/')
        .split_once('/')
        .unwrap_or((&path[1..], ""));
    let query = RawQuery::parse(query.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    if copies {
        headers.insert("x-amz-copy-source", HeaderValue::from_static("/bkt/key"));
    }
    route(
        method,
        !bucket.is_empty(),
        !key.is_empty(),
        query.pairs(),
        &headers,
    )
    .map_err(|error| error.code)
}

#[test]
fn each_operation_is_found() {
    use Operation::*;
    use sceau_s3wire::op::Document::*;
    let rows = [
        ("GET /", ListBuckets),
        ("GET /?x-id=ListBuckets", ListBuckets),
        (
            "GET /?max-buckets=10&continuation-token=t&prefix=p&bucket-region=r",
            ListBuckets,
        ),
        ("PUT /b", CreateBucket),
        ("PUT /b/", CreateBucket),
        ("HEAD /b", HeadBucket),
        ("DELETE /b", DeleteBucket),
        ("GET /b?location", GetBucketLocation),
        ("GET /b?location=", GetBucketLocation),
        ("GET /b", ListObjects),
        (
            "GET /b?prefix=&delimiter=/&max-keys=1&marker=m&encoding-type=url",
            ListObjects,
        ),
        ("GET /b?list-type=2", ListObjectsV2),
        (
            "GET /b/?list-type=2&prefix=a&start-after=b&continuation-token=c&fetch-owner=true",
            ListObjectsV2,
        ),
        ("GET /b?uploads", ListMultipartUploads),
        (
            "GET /b?uploads&prefix=p&key-marker=k&upload-id-marker=u&max-uploads=1",
            ListMultipartUploads,
        ),
        ("POST /b?delete", DeleteObjects),
        ("POST /b?delete=&x-id=DeleteObjects", DeleteObjects),
        ("GET /b/k", GetObject),
        ("GET /b/k?x-id=GetObject", GetObject),
        ("GET /b/k?tagging", GetObjectTagging),
        ("GET /b/k?tagging=&versionId=v", GetObjectTagging),
        ("PUT /b/k?tagging", PutObjectTagging),
        ("PUT /b/k?tagging&versionId=v", PutObjectTagging),
        ("DELETE /b/k?tagging", DeleteObjectTagging),
        ("DELETE /b/k?tagging&versionId=v", DeleteObjectTagging),
        ("GET /b?tagging", Document(GetBucketTagging)),
        ("GET /b/k?x-id=DeleteObject", GetObject),
        ("GET /b/k?response-content-type=a&response-expires=b", GetObject),
        (
            "GET /b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=s&X-Amz-Security-Token=t&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-checksum-mode=ENABLED",
            GetObject,
        ),
        ("HEAD /b/k", HeadObject),
        ("HEAD /b/k?response-cache-control=x", HeadObject),
        ("GET /b/k?partNumber=1", GetObject),
        ("HEAD /b/k?partNumber=1&versionId=v", HeadObject),
        ("GET /b/k?attributes", GetObjectAttributes),
        ("GET /b/k?attributes&versionId=v", GetObjectAttributes),
        ("PUT /b/k", PutObject),
        ("PUT /b/k/", PutObject),
        ("PUT /b/k?x-id=PutObject", PutObject),
        ("POST /b", PostObject),
        ("PUT /b/k +copy", CopyObject),
        ("DELETE /b/k", DeleteObject),
        ("GET /b/k?versionId=v", GetObject),
        ("GET /b/k?versionId", GetObject),
        ("HEAD /b/k?versionId=v&response-expires=b", HeadObject),
        ("DELETE /b/k?versionId=v", DeleteObject),
        (
            "GET /b?versions&prefix=p&delimiter=/&key-marker=k&version-id-marker=v&max-keys=1&encoding-type=url",
            ListObjectVersions,
        ),
        ("GET /b?acl", Operation::Document(GetBucketAcl)),
        ("PUT /b?acl=", Operation::Document(PutBucketAcl)),
        ("GET /b/k?acl&versionId=v", Operation::Document(GetObjectAcl)),
        (
            "GET /b?inventory",
            Operation::Document(ListBucketInventoryConfigurations),
        ),
        (
            "GET /b?inventory&continuation-token=t",
            Operation::Document(ListBucketInventoryConfigurations),
        ),
        (
            "GET /b?inventory&id=i",
            Operation::Document(GetBucketInventoryConfiguration),
        ),
        (
            "DELETE /b?publicAccessBlock",
            Operation::Document(DeletePublicAccessBlock),
        ),
        ("POST /b/k?uploads", CreateMultipartUpload),
        ("PUT /b/k?partNumber=1&uploadId=u", UploadPart),
        ("PUT /b/k?uploadId=u&partNumber=1 +copy", UploadPartCopy),
        ("POST /b/k?uploadId=u", CompleteMultipartUpload),
        ("DELETE /b/k?uploadId=u", AbortMultipartUpload),
        ("GET /b/k?uploadId=u&max-parts=2&part-number-marker=1", ListParts),
    ];
    for (line, operation) in rows {
        assert_eq!(try_route(line), Ok(operation), "{line}");
    }
    // Those on documents are tried one by one with the requests of the AWS model.
    for operation in Operation::all().filter(|operation| !matches!(operation, Operation::Document(_))) {
        assert!(
            rows.iter().any(|(_, found)| *found == operation),
            "{operation:?} has no row in this test"
        );
    }
}

#[test]
fn what_no_row_names_is_not_implemented() {
    let subresources = [
        "annotation",
        "append",
        "metadataConfiguration",
        "metadataTable",
        "renameObject",
        "restore",
        "select",
        "session",
        "torrent",
        "versionid=1",
        "acl=x",
        "ACL",
        "policy=x",
        "versions=1",
        "id=1",
        "somethingNew",
        "x-amz-acl=public-read",
        "x-amz-meta-a=b",
        "x-amz-checksum-crc32=AAAAAA==",
        "Uploads",
        "UPLOADID=u",
        "%00",
        "list-type=1",
        "list-type",
        "events=s3",
        "nosuch=%26",
    ];
    for subresource in subresources {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            for path in ["/", "/b", "/b/k"] {
                let line = format!("{method} {path}?{subresource}");
                assert_eq!(try_route(&line), Err(ErrorCode::NotImplemented), "{line}");
            }
        }
    }
    for line in [
        "POST /",
        "PUT /",
        "DELETE /",
        "HEAD /",
        "POST /b/k",
        "PATCH /b/k",
        "OPTIONS /b/k",
        "OPTIONS /b",
        "CONNECT /b",
        "TRACE /b/k",
        "get /b/k",
        "GET /b?delete",
        "POST /b/k?tagging",
        "HEAD /b/k?tagging",
        "PUT /b/k?tagging&acl",
        // Documents of the other kind of resource, or by the wrong method.
        "GET /b/k?policy",
        "GET /b/k?versioning",
        "GET /b?retention",
        "GET /b?legal-hold",
        "DELETE /b?acl",
        "DELETE /b?versioning",
        "POST /b?acl",
        "HEAD /b?acl",
        "GET /?acl",
        "PUT /b?policyStatus",
        "GET /b/k?encryption",
        // Two at once, and parameters of another.
        "GET /b?acl&policy",
        "PUT /b?acl&versionId=v",
        "PUT /b?inventory",
        "PUT /b?lifecycle&id=x",
        "GET /b?versionId=v",
        "PUT /b/k?versionId=v",
        "GET /b/k?versions",
        "GET /b?versions&list-type=2",
        "GET /b/k?uploadId=u&versionId=v",
        "DELETE /b?delete",
        "PUT /b?uploads",
        "GET /b/k?uploads",
        "POST /b?uploads",
        "GET /b?uploads=x",
        "GET /b?uploadId=u",
        "PUT /b/k?uploadId=u",
        "PUT /b/k?partNumber=1",
        "PUT /b/k?attributes",
        "HEAD /b/k?attributes",
        "GET /b?attributes",
        "GET /b?partNumber=1",
        "DELETE /b/k?partNumber=1",
        "PUT /b/k?partNumber=1&uploadId=",
        "DELETE /b/k?uploadId",
        "HEAD /b/k?uploadId=u",
        "POST /b/k?uploadId=u&uploads",
        "GET /b/k?uploadId=u&response-expires=x",
        "PUT /b/k?response-content-type=x",
        "GET /b?response-content-type=x",
        "GET /b?list-type=2&marker=m",
        "GET /b?start-after=x",
        "GET /b?location&prefix=a",
        "GET /b/k?list-type=2",
        "GET /b/k?prefix=a",
        "PUT /b/k?partNumber=1&uploadId=u&append",
        "POST /b?delete&uploads",
        "GET /b?uploads&versions",
        "GET /b/k +copy",
        "PUT /b +copy",
        "POST /b/k?uploads +copy",
        "POST /b/k?uploadId=u +copy",
        "DELETE /b/k +copy",
    ] {
        assert_eq!(try_route(line), Err(ErrorCode::NotImplemented), "{line}");
    }
}

#[test]
fn repeated_parameters_are_refused_even_with_equal_values() {
    for line in [
        "GET /b?prefix=a&prefix=b",
        "GET /b?list-type=2&list-type=2",
        "PUT /b/k?partNumber=1&partNumber=2&uploadId=u",
        "GET /b/k?uploadId=u&uploadId=u",
        "POST /b?delete&delete",
        "GET /b/k?acl&acl",
        "GET /b?pre%66ix=a&prefix=b",
    ] {
        assert_eq!(try_route(line), Err(ErrorCode::InvalidArgument), "{line}");
    }
}

#[test]
fn too_many_parameters_are_refused() {
    let pairs: Vec<QueryPair> = (0..=QUERY_PARAMETERS_MAX)
        .map(|number| QueryPair {
            name: format!("p{number}"),
            value: String::new(),
        })
        .collect();
    let error = route("GET", true, true, &pairs, &HeaderMap::new()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}

#[test]
fn a_refusal_names_what_stood_in_the_way_without_control_characters() {
    let query = RawQuery::parse(b"a%0d%0ab&x=1").unwrap();
    let error = route("GET", true, true, query.pairs(), &HeaderMap::new()).unwrap_err();
    assert_eq!(
        error.message,
        "The query parameter 'ab' is not supported with this request."
    );
}

#[test]
fn part_numbers_are_plain_decimals_in_range() {
    for (text, number) in [("1", 1), ("9999", 9999), ("0007", 7)] {
        assert_eq!(part_number(text), Ok(number), "{text}");
    }
    for text in [
        "",
        "0",
        "10000",
        "10001",
        "-1",
        "+1",
        "1.0",
        "1 ",
        "99999999999",
        "١",
        "0x1",
    ] {
        assert_eq!(
            part_number(text).unwrap_err().code,
            ErrorCode::InvalidArgument,
            "{text}"
        );
    }
}

#[test]
fn the_table_is_complete_and_no_two_rows_can_match_one_request() {
    let rows: Vec<&Row> = Operation::all().map(Operation::row).collect();
    for row in &rows {
        let variant = format!("{:?}", row.operation);
        let variant = variant
            .strip_prefix("Document(")
            .map_or(&*variant, |own| own.trim_end_matches(')'));
        assert_eq!((row.operation.name(), row.name), (row.name, variant));
        assert_ne!(row.class, Class::Refuse);
        // The smallest request of a row, alone and with everything it allows, leads back to it.
        for allowed in [&[][..], row.allowed] {
            let value = |selector: &sceau_s3wire::op::Selector| {
                ["", "2", "v"]
                    .into_iter()
                    .find(|value| selector.accepts(value))
                    .unwrap()
                    .to_owned()
            };
            let mut pairs: Vec<QueryPair> = row
                .selectors
                .iter()
                .map(|selector| QueryPair {
                    name: selector.key().to_owned(),
                    value: value(selector),
                })
                .collect();
            pairs.extend(allowed.iter().map(|key| QueryPair {
                name: (*key).to_owned(),
                value: "v".to_owned(),
            }));
            let mut headers = HeaderMap::new();
            if row.copy_source {
                headers.insert("x-amz-copy-source", HeaderValue::from_static("/b/k"));
            }
            let (bucket, key) = (row.scope != Scope::Service, row.scope == Scope::Object);
            assert_eq!(
                route(row.method, bucket, key, &pairs, &headers),
                Ok(row.operation)
            );
        }
    }
    for (index, one) in rows.iter().enumerate() {
        for other in rows.iter().skip(index + 1) {
            let same_shape = one.scope == other.scope
                && one.method == other.method
                && one.copy_source == other.copy_source;
            let names = |row: &sceau_s3wire::op::Row, key: &str| {
                row.allowed.contains(&key) || row.selectors.iter().any(|selector| selector.key() == key)
            };
            let excluded = one.selectors.iter().any(|selector| !names(other, selector.key()))
                || other.selectors.iter().any(|selector| !names(one, selector.key()));
            assert!(!same_shape || excluded, "{} and {}", one.name, other.name);
        }
    }
}

#[test]
fn documents_need_the_right_to_configure_or_to_read_the_configuration() {
    for document in Document::ALL {
        let row = document.row();
        let action = if row.method == "GET" {
            Action::ReadConfiguration
        } else {
            Action::Configure
        };
        let subject = if row.scope == Scope::Object {
            Subject::Key
        } else {
            Subject::Bucket
        };
        assert_eq!(
            (row.class, row.action, row.subject),
            (Class::Pass, action, subject),
            "{}",
            row.name
        );
    }
}

/// Requests of the AWS model that have the very shape of another operation: they differ in the host only.
const SAME_SHAPE: &[(&str, Operation)] = &[("ListDirectoryBuckets", Operation::ListBuckets)];

#[test]
fn every_operation_of_the_aws_model_has_a_class() {
    let vectors = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/vectors/botocore_requests.json"
    );
    let text = std::fs::read_to_string(vectors).unwrap();
    let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
    let requests = vectors["requests"].as_array().unwrap();
    assert!(requests.len() > 110);
    let mut names = Vec::new();
    let mut by_class = [0; 4];
    for request in requests {
        let name = request["operation"].as_str().unwrap();
        let found = route_vector(request);
        let class = class_of(name).unwrap_or_else(|| panic!("{name} has no class"));
        by_class[class as usize] += 1;
        names.push(name);
        let known = |list: &[(&str, Operation)]| {
            list.iter()
                .find(|(other, _)| *other == name)
                .map(|(_, operation)| *operation)
        };
        let own = Operation::all().find(|operation| operation.name() == name);
        match own.or_else(|| known(ALIASES)).or_else(|| known(SAME_SHAPE)) {
            Some(operation) => assert_eq!(found.as_ref(), Ok(&operation), "{name}"),
            None => {
                assert_eq!(class, Class::Refuse, "{name}");
                let error = found.unwrap_err();
                assert_eq!(
                    (error.code, error.message),
                    (
                        ErrorCode::NotImplemented,
                        format!("The operation {name} is not supported.")
                    )
                );
            }
        }
    }
    names.dedup();
    println!(
        "{} of {} operations of the botocore model have a class: {} transform, {} pass, {} pass with rewriting, {} refused",
        by_class.iter().sum::<usize>(),
        names.len(),
        by_class[0],
        by_class[1],
        by_class[2],
        by_class[3]
    );
    assert_eq!(by_class.iter().sum::<usize>(), names.len());
    // Nothing in the table is invented, and every name is in the page for users.
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/clients.md");
    let page = std::fs::read_to_string(page).unwrap();
    let refused = REFUSED.iter().map(|refused| refused.name);
    for name in Operation::all().map(Operation::name).chain(refused) {
        // A browser's form is no request of an SDK, so the model does not have it.
        assert!(
            names.contains(&name) || name == "PostObject",
            "{name} is not in the AWS model"
        );
        assert!(page.contains(name), "{name} is not in docs/clients.md");
    }
}

/// Routes a request as botocore serialised it.
fn route_vector(request: &serde_json::Value) -> Result<Operation, RouteError> {
    let pairs =
        |field: &str| -> Vec<(String, String)> { serde_json::from_value(request[field].clone()).unwrap() };
    let query: Vec<QueryPair> = pairs("query")
        .into_iter()
        .map(|(name, value)| QueryPair { name, value })
        .collect();
    let headers: HeaderMap = pairs("headers")
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            )
        })
        .collect();
    let has = |field: &str| !request[field].as_str().unwrap().is_empty();
    route(
        request["method"].as_str().unwrap(),
        has("bucket"),
        has("key"),
        &query,
        &headers,
    )
}
