//! Writes first inputs from the golden vectors and from honest documents into `corpus/<target>/`.
//!
//! `cargo run --release --bin seeds` in this folder. What it writes is always the same, so that a
//! seed changes only when a vector or a target's input format does.

use std::fs;
use std::path::Path;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let vectors = root.join("../gateway/envelope/tests/vectors");
    let put = |target: &str, name: &str, data: &[u8]| {
        let folder = root.join("corpus").join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), data).unwrap();
    };
    stored_format(&vectors, &put);
    documents(&put);
    requests(&put);
    identities(&put);
    bodies(&put);
    kmip(&put);
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(" = ")?.to_owned()))
}

fn hex(text: &str, name: &str) -> Vec<u8> {
    HEXLOWER.decode(field(text, name).unwrap_or_else(|| panic!("no field {name}")).as_bytes()).unwrap()
}

fn stored_format(vectors: &Path, put: &impl Fn(&str, &str, &[u8])) {
    let read = |name: &str| fs::read_to_string(vectors.join(name)).unwrap();
    for name in ["header-empty", "header-metadata", "header-multi"] {
        let text = read(&format!("{name}.txt"));
        let value = field(&text, "header").or_else(|| field(&text, "value")).unwrap();
        put("header", name, &[b"\0", value.as_bytes()].concat());
    }
    let metadata = hex(&read("state.txt"), "metadata");
    put("metadata", "rich", &metadata);
    put("metadata", "padded", &[&metadata[..], &[0; 9]].concat());
    let payload = |length: u64| {
        let fields = [&[0x40; 32][..], &[0x50; 16], &length.to_be_bytes(), &1_700_000_000_000_u64.to_be_bytes()];
        [fields.concat(), b"writer-1".to_vec(), 7_u64.to_be_bytes().to_vec(), vec![3; 32]].concat()
    };
    put("header", "forged-empty", &[&b"\x01\0\0"[..], &payload(5)].concat());
    put("header", "forged-metadata", &[&b"\x01\0\x02"[..], &payload(5), &metadata].concat());
    put("state", "golden", &[&b"\0"[..], &hex(&read("state.txt"), "state")].concat());
    let length = (metadata.len() as u32).to_be_bytes();
    let state = [&b"\x01"[..], &[0x40; 32], &[0x50; 16], &[0; 8], &length, &metadata].concat();
    put("state", "forged", &state);
    let ticket = read("ticket.txt");
    put("ticket", "golden", &[b"\0\0\x0c", field(&ticket, "client-etag").unwrap().as_bytes()].concat());
    let fields = BASE64URL_NOPAD.decode(field(&ticket, "ticket").unwrap().as_bytes()).unwrap();
    put("ticket", "forged", &[b"\x01\0\x0c", &fields[..45], b"9a0364b9e99bb480dd25e1f0284c8555"].concat());
    let set = [&[2, 0, 1][..], b"a", &[0, 0, 0, 2], b"bc", &[0, 3], b"xyz"].concat();
    for mode in 1..4_u8 {
        put("tags", &format!("forged-{mode}"), &[&[mode][..], &set].concat());
    }
    let full = [&[1, 0, 1][..], b"k", &[1, 0x2c], &[b'v'; 300]].concat();
    put("tags", "forged-full", &[&[1][..], &full].concat());
    put("tags", "raw", &[&[0, 2][..], &[8], b"sceaut1a", &[3], b"abc", &[8], b"sceaut1b", &[3], b"def"].concat());
    put("record", "golden", &hex(&read("key-record.txt"), "record"));
    let keyring = read("keyring.txt");
    let document = keyring.split_once("----\n").unwrap().1;
    put("keyring", "golden", &[b"\0", document.as_bytes()].concat());
    put("keyring", "content", &(0..=255_u8).map(|byte| byte.wrapping_mul(37) | 1).collect::<Vec<u8>>());
    let trailer = hex(&read("trailer-multi.txt"), "manifest-and-footer");
    put("trailer", "golden", &[&b"\x04"[..], &trailer].concat());
    put("trailer", "forged-footer", &[&b"\x05"[..], &trailer[trailer.len() - 64..trailer.len() - 32], &[0; 100]].concat());
    put("trailer", "consistent-multi", &[&b"\x06\x02"[..], &[1; 40]].concat());
    put("trailer", "consistent-single", &[&b"\x02\0\0\0\x05\0\0\0\x05\x01"[..], &[0; 8]].concat());
}

fn documents(put: &impl Fn(&str, &str, &[u8])) {
    let documents = [
        ("delete", "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a&amp;b&#13;</Key></Object><Object><Key>c</Key><ETag>\"9e107d9d372bb6826bd81d3542a419d6-0\"</ETag></Object><Quiet>true</Quiet></Delete>"),
        ("delete-result", "<?xml version=\"1.0\" encoding=\"UTF-8\"?><DeleteResult><Deleted><Key>k</Key><VersionId>v</VersionId><DeleteMarker>true</DeleteMarker></Deleted><Error><Key>k2</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"),
        ("complete", "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"abc\"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><ETag>d</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>"),
        ("parts", "<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><Initiator><ID>i</ID></Initiator><Owner><ID>o</ID><DisplayName>d</DisplayName></Owner><PartNumberMarker>0</PartNumberMarker><NextPartNumberMarker>1</NextPartNumberMarker><MaxParts>1000</MaxParts><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"x\"</ETag><Size>65568</Size></Part></ListPartsResult>"),
        ("buckets", "<ListAllMyBucketsResult><Owner><ID>o</ID></Owner><Buckets><Bucket><Name>one</Name><CreationDate>2026-01-01T00:00:00Z</CreationDate></Bucket><Bucket><Name>two</Name></Bucket></Buckets><Prefix>p</Prefix></ListAllMyBucketsResult>"),
        ("listing", "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><EncodingType>url</EncodingType><Contents><Key>a%2Fb</Key><ETag>&quot;9e107d9d372bb6826bd81d3542a419d6&quot;</ETag><Size>357</Size><ChecksumAlgorithm>CRC32</ChecksumAlgorithm></Contents><Contents><Key><![CDATA[x<y]]></Key><Size>3</Size></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"),
        ("uploads", "<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId><ChecksumType>FULL_OBJECT</ChecksumType></Upload><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"),
        ("initiated", "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"),
        ("copied", "<CopyObjectResult><ETag>\"e\"</ETag><LastModified>2026-01-01T00:00:00Z</LastModified></CopyObjectResult>"),
        ("completed", "<CompleteMultipartUploadResult><Location>http://h/b/k</Location><Bucket>b</Bucket><Key>k</Key><ETag>\"e-2\"</ETag></CompleteMultipartUploadResult>"),
        ("error", "<Error><Code>NoSuchKey</Code><Message>m</Message><Region>r</Region><Endpoint>e</Endpoint><RequestId>1</RequestId></Error>"),
        ("configuration", "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>"),
        ("location", "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">eu-central-1</LocationConstraint>"),
    ];
    for (name, text) in documents {
        put("xml", name, text.as_bytes());
    }
}

fn requests(put: &impl Fn(&str, &str, &[u8])) {
    let targets = [
        ("get", "GET\n/bkt/a//b/../%C3%A9+%2F?response-content-type=text%2Fplain\nlocalhost:9000"),
        ("list", "GET\n/bkt?list-type=2&prefix=a&delimiter=/&encoding-type=url\n127.0.0.1"),
        ("virtual", "PUT\n/key?partNumber=1&uploadId=u\nbkt.s3.example.com:443"),
        ("uploads", "POST\n/bkt/key?uploads\n[::1]:80"),
        ("delete", "POST\n/bkt?delete=\nexample.com"),
        ("buckets", "GET\n/?x-id=ListBuckets\ns3.example.com"),
        ("tagging", "GET\n/bkt/key?tagging\ns3.example.com"),
        ("abort", "DELETE\n/bkt/key?uploadId=u\ns3.example.com"),
        ("head", "HEAD\n/bkt/key\ns3.example.com"),
    ];
    for (name, text) in targets {
        put("router", name, text.as_bytes());
    }
    put("head", "signed", b"/bkt/key\nhost:s3.example.com\nx-amz-date:20130524T000000Z\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nauthorization:AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\nrange:bytes=0-9");
    put("head", "presigned", b"/bkt/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404\nhost:s3.example.com");
    put("head", "metadata", b"/bkt/key\nhost:h\ncontent-type:text/plain\ncache-control:no-cache\nx-amz-meta-one:1\nx-amz-meta-two:=?UTF-8?B?w6k=?=\nexpires:Sat, 21 Nov 2026 10:00:00 GMT\nx-amz-storage-class:STANDARD\ncontent-encoding:aws-chunked,gzip");
    let values = [
        "bytes=0-9", "bytes=5-", "bytes=-7", "bytes=0-1,3-4", "*", "\"9e107d9d372bb6826bd81d3542a419d6-0\"",
        "W/\"9e107d9d372bb6826bd81d3542a419d6\", \"a,b\"", "9e107d9d372bb6826bd81d3542a419d6-7",
        "/bkt/a%20b+c%2Bd?versionId=3%2FL4", "bkt/key", "arn:aws:s3:eu-west-1:1:accesspoint/ap/object/k",
        "Sat, 21 Nov 2026 10:00:00 GMT", "Saturday, 21-Nov-26 10:00:00 GMT", "Sat Nov 21 10:00:00 2026",
    ];
    for (index, value) in values.iter().enumerate() {
        let data = [&[index as u8][..], &1000_u64.to_be_bytes(), value.as_bytes()].concat();
        put("conditions", &format!("value-{index}"), &data);
    }
}

fn identities(put: &impl Fn(&str, &str, &[u8])) {
    let header = br#"{"alg":"EdDSA","kid":"k"}"#;
    let claims = br#"{"iss":"https://i","sub":"s","aud":["b","a"],"exp":1700000100,"iat":1700000000.5,"nbf":1,"groups":["g",1,true]}"#;
    put("identity", "signed", &[&[1, header.len() as u8][..], header, claims].concat());
    put("identity", "critical", &[&[1, 30][..], br#"{"alg":"EdDSA","crit":["exp"]}"#, claims].concat());
    put("identity", "raw", b"\0eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJzIn0.AAAA");
    let keys = br#"{"keys":[{"kty":"RSA","kid":"a","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#;
    put("identity", "key-set", &[&[2][..], keys].concat());
}

fn bodies(put: &impl Fn(&str, &str, &[u8])) {
    for mode in 0..5_u8 {
        // mode, shape, algorithm, chunk, splits, alteration (kind, place, byte), length
        let plain = [mode, 0, mode, 30, 0, 9, 0, 0, 0, 0, 0, 0];
        put("payload", &format!("honest-{mode}"), &[&plain[..], &[b'x'; 100]].concat());
        let altered = [mode, 0, 0, 30, 0, 9, 1, 0, 20, 1, 0, 0];
        put("payload", &format!("altered-{mode}"), &[&altered[..], &[b'x'; 100]].concat());
    }
    let raw = [2, 1, 1, 0, 0, 3, 0, 0, 0, 0, 0, 5];
    put("payload", "raw", &[&raw[..], b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"].concat());
    let file = "Content-Disposition: form-data; name=\"file\"; filename=\"C:\\f\"\r\nContent-Type: a/b\r\n\r\ncontent\r\n--b-x--\r\n";
    let form = format!("--b-x\r\nContent-Disposition: form-data; name=\"Key\"\r\n\r\nk\r\n--b-x\r\n{file}");
    put("post_form", "raw", &[&[0, 1, 7][..], form.as_bytes()].concat());
    put("post_form", "honest", &[&[1, 1, 7, 0, 0, 0, 0, 2, 3][..], b"abc", &[4], b"\r\n--", &[5], b"12345", &[3]].concat());
    put("post_form", "cut", &[&[1, 1, 7, 4, 0, 90, 0, 1, 3][..], b"abc", &[5], b"12345", &[3]].concat());
    let conditions = "{\"bucket\":\"bkt\"},[\"starts-with\",\"$key\",\"u\"],{\"acl\":\"p\"},[\"content-length-range\",1,9]";
    put("post_form", "policy", &[&[2, 3][..], b"u/n", &[1, 0, 1], b"p", conditions.as_bytes()].concat());
    put("payload", "raw-extension", &[&raw[..], b"5;a=b\r\nhello\r\n0;chunk-signature=00\r\n\r\n"].concat());
}

/// A request and an answer of a KMIP server, written by hand from the standard's tables.
fn kmip(put: &impl Fn(&str, &str, &[u8])) {
    let version = "42006901000000 20 42006A02000000040000000100000000 42006B02000000040000000400000000";
    let count = "42000D02000000040000000100000000";
    let identifier = "42009407000000013700000000000000";
    let operation = "42005C0500000004 0000001F 00000000";
    let bytes = "4200C208000000060102030405060000";
    let request = format!("4200780100000080 4200770100000038 {version}{count} 42000F0100000038 {operation} 4200790100000020{identifier}{bytes}");
    let date = "42009209000000080000000047DA67F8";
    let status = "42007F05000000040000000000000000";
    let answer = format!("42007B01000000A0 42007A0100000048 {version}{date}{count} 42000F0100000048 {operation}{status} 42007C0100000020{identifier}{bytes}");
    for (name, text) in [("request", request), ("answer", answer)] {
        let digits = text.replace(' ', "").to_lowercase();
        put("kmip_ttlv", name, &HEXLOWER.decode(digits.as_bytes()).unwrap());
    }
}
