//! The embedded store keeps what it is given, whole or not at all, and only for its own credential.
//!
//! How: a signing HTTP client against a server on loopback, in memory and in a folder that is
//! opened again.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sceau_devstore::{Credentials, DataLocation, DevStore, ServerHandle};
use sceau_s3wire::sigv4::{self, PayloadHash, SecretAccessKey, SignInput};
use sceau_s3wire::target::{RawQuery, encode_path};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// S3's smallest part that may be followed by another.
const PART_BYTES: usize = 5 * 1024 * 1024;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// The text of the first element of this name.
    fn element(&self, name: &str) -> String {
        let text = self.text();
        let (_, rest) = text
            .split_once(&format!("<{name}>"))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        rest.split('<').next().unwrap().replace("&quot;", "\"")
    }
}

struct Client {
    address: SocketAddr,
    secret: &'static str,
    _server: ServerHandle,
}

impl Client {
    async fn on(location: DataLocation) -> Client {
        let credentials = Credentials {
            access_key: "AK".into(),
            secret_key: "secret".into(),
        };
        let (address, server) = DevStore::open(location)
            .unwrap()
            .spawn(credentials)
            .await
            .unwrap();
        Client {
            address,
            secret: "secret",
            _server: server,
        }
    }

    fn signed(&self, method: &Method, target: &str, headers: &[(&str, &str)]) -> (String, HeaderMap) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = encode_path(path);
        let mut map = HeaderMap::new();
        map.insert("host", self.address.to_string().parse().unwrap());
        for (name, value) in headers {
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        let secret = SecretAccessKey::new(self.secret.to_owned());
        let pairs = RawQuery::parse(query.as_bytes()).unwrap();
        let input = SignInput {
            method,
            path: &path,
            query: pairs.pairs(),
            headers: &mut map,
            payload: PayloadHash::Unsigned,
            credentials: sigv4::Credentials {
                access_key: "AK",
                secret: &secret,
                session_token: None,
                cache: None,
            },
            region: "us-east-1",
            service: "s3",
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        };
        sigv4::sign(input).unwrap();
        (
            if query.is_empty() {
                path
            } else {
                format!("{path}?{query}")
            },
            map,
        )
    }

    async fn call(&self, method: Method, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        // An empty body would go without a length, which S3 refuses.
        let length = body.len().to_string();
        let headers = [headers, &[("content-length", length.as_str())]].concat();
        let (target, headers) = self.signed(&method, target, &headers);
        let mut request = Request::builder().method(method).uri(target);
        *request.headers_mut().unwrap() = headers;
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn put(&self, target: &str, body: &[u8]) -> Answer {
        self.call(Method::PUT, target, &[], body).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.call(Method::GET, target, &[], b"").await
    }

    async fn delete(&self, target: &str) -> Answer {
        self.call(Method::DELETE, target, &[], b"").await
    }

    async fn post(&self, target: &str, body: &str) -> Answer {
        self.call(Method::POST, target, &[], body.as_bytes()).await
    }

    /// Uploads a part and returns its line of the Complete document.
    async fn part(&self, upload: &str, number: u32, body: &[u8]) -> String {
        let answer = self
            .put(&format!("/bkt/big?partNumber={number}&uploadId={upload}"), body)
            .await
            .expect(200);
        format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
            answer.header("etag")
        )
    }

    async fn complete(&self, upload: &str, parts: &[String]) -> Answer {
        let document = format!(
            "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
            parts.concat()
        );
        self.post(&format!("/bkt/big?uploadId={upload}"), &document).await
    }
}

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sceau-devstore-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn location(&self) -> DataLocation {
        DataLocation::Directory(self.0.clone())
    }

    fn data_files(&self) -> usize {
        std::fs::read_dir(self.0.join("data")).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8 ^ seed).collect()
}

#[tokio::test]
async fn objects_survive_a_restart_with_their_metadata() {
    let folder = Folder::new("restart");
    let names = ["a", "a/b", "../up", "//x//", "\u{fc} +%&", "."];
    {
        let client = Client::on(folder.location()).await;
        client.put("/bkt", b"").await.expect(200);
        for (index, name) in names.iter().enumerate() {
            let headers = [("x-amz-meta-n", "1"), ("content-type", "text/x")];
            let body = bytes(index * 1000, 7);
            client
                .call(Method::PUT, &format!("/bkt/{name}"), &headers, &body)
                .await
                .expect(200);
        }
    }
    let client = Client::on(folder.location()).await;
    for (index, name) in names.iter().enumerate() {
        let answer = client.get(&format!("/bkt/{name}")).await.expect(200);
        assert_eq!(answer.body, bytes(index * 1000, 7), "{name}");
        assert_eq!(
            (answer.header("x-amz-meta-n"), answer.header("content-type")),
            ("1".into(), "text/x".into())
        );
    }
    assert_eq!(folder.data_files(), names.len() - 1);
}

#[tokio::test]
async fn replaced_and_removed_objects_leave_no_bytes_behind() {
    let folder = Folder::new("leftovers");
    let client = Client::on(folder.location()).await;
    client.put("/bkt", b"").await.expect(200);
    for seed in 0..3 {
        client.put("/bkt/k", &bytes(1000, seed)).await.expect(200);
    }
    let copy = [("x-amz-copy-source", "/bkt/k")];
    client
        .call(Method::PUT, "/bkt/copy", &copy, b"")
        .await
        .expect(200);
    client.delete("/bkt/k").await.expect(204);
    assert_eq!(client.get("/bkt/copy").await.expect(200).body, bytes(1000, 2));
    assert_eq!(folder.data_files(), 1);
    client.delete("/bkt/copy").await.expect(204);
    assert_eq!(folder.data_files(), 0);
    client.delete("/bkt/copy").await.expect(204);
}

#[tokio::test]
async fn a_short_body_makes_no_object() {
    let folder = Folder::new("short");
    let client = Client::on(folder.location()).await;
    client.put("/bkt", b"").await.expect(200);
    let (target, headers) = client.signed(&Method::PUT, "/bkt/k", &[("content-length", "1000")]);
    let mut stream = tokio::net::TcpStream::connect(client.address).await.unwrap();
    let mut request = format!("PUT {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        request.extend_from_slice(format!("{name}: {}\r\n", value.to_str().unwrap()).as_bytes());
    }
    request.extend_from_slice(b"\r\nonly these bytes");
    stream.write_all(&request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    client.get("/bkt/k").await.expect(404);
    assert_eq!(folder.data_files(), 0);
}

#[tokio::test]
async fn a_wrong_digest_makes_no_object() {
    let client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    let md5 = [("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")];
    let refused = client.call(Method::PUT, "/bkt/k", &md5, b"x").await.expect(400);
    assert_eq!(refused.element("Code"), "BadDigest");
    client.get("/bkt/k").await.expect(404);
}

#[tokio::test]
async fn only_the_one_credential_is_accepted() {
    let mut client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    client.secret = "another";
    assert_eq!(
        client.put("/bkt/k", b"x").await.expect(403).element("Code"),
        "SignatureDoesNotMatch"
    );
    client.secret = "secret";
    client.get("/bkt/k").await.expect(404);
}

#[tokio::test]
async fn uploads_survive_a_restart_and_complete_in_order() {
    let folder = Folder::new("uploads");
    let (upload, second) = {
        let client = Client::on(folder.location()).await;
        client.put("/bkt", b"").await.expect(200);
        let started = client
            .call(Method::POST, "/bkt/big?uploads", &[("x-amz-meta-m", "1")], b"")
            .await;
        let upload = started.expect(200).element("UploadId");
        client.part(&upload, 2, b"wrong").await;
        let second = client.part(&upload, 2, b"tail").await;
        (upload, second)
    };
    let client = Client::on(folder.location()).await;
    let first = client.part(&upload, 1, &bytes(PART_BYTES, 1)).await;
    let listed = client
        .get(&format!("/bkt/big?uploadId={upload}"))
        .await
        .expect(200)
        .text();
    assert!(listed.contains("<Size>5242880</Size>") && listed.contains("<Size>4</Size>"));
    assert!(
        client
            .get("/bkt?uploads")
            .await
            .expect(200)
            .text()
            .contains(&upload)
    );
    client.get("/bkt/big").await.expect(404);
    let disorder = client
        .complete(&upload, &[second.clone(), first.clone()])
        .await
        .expect(400);
    assert_eq!(disorder.element("Code"), "InvalidPartOrder");
    let done = client.complete(&upload, &[first, second]).await.expect(200);
    assert!(done.element("ETag").ends_with("-2\""));
    let answer = client.get("/bkt/big").await.expect(200);
    assert_eq!(answer.body, [bytes(PART_BYTES, 1), b"tail".to_vec()].concat());
    assert_eq!(answer.header("x-amz-meta-m"), "1");
    assert_eq!(folder.data_files(), 2);
    let range = [("range", "bytes=5242878-5242881")];
    let part = client
        .call(Method::GET, "/bkt/big", &range, b"")
        .await
        .expect(206);
    assert_eq!(part.header("content-range"), "bytes 5242878-5242881/5242884");
    assert_eq!(
        part.body,
        [&bytes(PART_BYTES, 1)[PART_BYTES - 2..], b"ta"].concat()
    );
}

#[tokio::test]
async fn an_upload_cut_off_after_its_object_appeared_is_gone_after_a_restart() {
    let (folder, crashed) = (Folder::new("cut"), Folder::new("cut-crashed"));
    let upload = {
        let client = Client::on(folder.location()).await;
        client.put("/bkt", b"").await.expect(200);
        let upload = client
            .post("/bkt/big?uploads", "")
            .await
            .expect(200)
            .element("UploadId");
        let part = client.part(&upload, 1, b"one").await;
        copy_folder(&folder.0.join("uploads"), &crashed.0.join("uploads"));
        client.complete(&upload, &[part]).await.expect(200);
        upload
    };
    // The folder as it is when the process ends between the two steps of Complete.
    copy_folder(&crashed.0.join("uploads"), &folder.0.join("uploads"));
    {
        let client = Client::on(folder.location()).await;
        client
            .delete(&format!("/bkt/big?uploadId={upload}"))
            .await
            .expect(404);
        assert_eq!(client.get("/bkt/big").await.expect(200).body, b"one".as_slice());
    }
    let client = Client::on(folder.location()).await;
    assert_eq!(client.get("/bkt/big").await.expect(200).body, b"one".as_slice());
}

#[tokio::test]
async fn small_parts_and_wrong_tags_are_refused_at_complete() {
    let client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    let upload = client
        .post("/bkt/big?uploads", "")
        .await
        .expect(200)
        .element("UploadId");
    let (one, two) = (
        client.part(&upload, 1, b"small").await,
        client.part(&upload, 2, b"x").await,
    );
    let refused = client.complete(&upload, &[one.clone(), two]).await.expect(400);
    assert_eq!(refused.element("Code"), "EntityTooSmall");
    let wrong = one.replace("<PartNumber>1", "<PartNumber>2");
    assert_eq!(
        client
            .complete(&upload, &[wrong])
            .await
            .expect(400)
            .element("Code"),
        "InvalidPart"
    );
    client.complete(&upload, &[one]).await.expect(200);
    assert_eq!(client.get("/bkt/big").await.expect(200).body, b"small".as_slice());
}

#[tokio::test]
async fn conditional_writes_see_the_object_in_place() {
    let client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    let absent = [("if-none-match", "*")];
    let etag = client
        .call(Method::PUT, "/bkt/k", &absent, b"1")
        .await
        .expect(200)
        .header("etag");
    client
        .call(Method::PUT, "/bkt/k", &absent, b"2")
        .await
        .expect(412);
    client
        .call(Method::PUT, "/bkt/k", &[("if-match", "\"other\"")], b"2")
        .await
        .expect(412);
    client
        .call(Method::PUT, "/bkt/none", &[("if-match", "*")], b"2")
        .await
        .expect(404);
    client
        .call(Method::PUT, "/bkt/k", &[("if-match", &etag)], b"2")
        .await
        .expect(200);
    assert_eq!(client.get("/bkt/k").await.expect(200).body, b"2".as_slice());
}

#[tokio::test]
async fn memory_is_given_back() {
    let client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    let body = bytes(64 * 1024 * 1024, 3);
    // Twenty times 64 MiB is more than the store may hold at once.
    for _ in 0..20 {
        client.put("/bkt/k", &body).await.expect(200);
    }
    assert_eq!(client.get("/bkt/k").await.expect(200).body.len(), body.len());
}

#[tokio::test]
async fn unknown_requests_are_not_taken_for_known_ones() {
    let client = Client::on(DataLocation::Memory).await;
    client.put("/bkt", b"").await.expect(200);
    client.put("/bkt/k", b"x").await.expect(200);
    for target in [
        "/bkt/k?acl",
        "/bkt/k?tagging&versionId=1",
        "/bkt/k?versionId=1",
        "/bkt?policy",
        "/bkt?versions",
    ] {
        client.get(target).await.expect(501);
        client.put(target, b"").await.expect(501);
    }
    client.delete("/bkt").await.expect(409);
}

#[tokio::test]
async fn tags_are_kept_counted_and_copied() {
    let folder = Folder::new("tags");
    let client = Client::on(folder.location()).await;
    client.put("/bkt", b"").await.expect(200);
    let put = client
        .call(
            Method::PUT,
            "/bkt/k",
            &[("x-amz-tagging", "b=2&a=%C3%A9+1")],
            b"x",
        )
        .await;
    let etag = put.expect(200).header("etag");
    let set = |tags: &str| format!("<TagSet>{tags}</TagSet>");
    let two = set("<Tag><Key>a</Key><Value>\u{e9} 1</Value></Tag><Tag><Key>b</Key><Value>2</Value></Tag>");
    assert!(
        client
            .get("/bkt/k?tagging")
            .await
            .expect(200)
            .text()
            .contains(&two)
    );
    assert_eq!(
        client
            .get("/bkt/k")
            .await
            .expect(200)
            .header("x-amz-tagging-count"),
        "2"
    );
    for (headers, expected) in [
        (vec![("x-amz-copy-source", "/bkt/k")], two.clone()),
        (
            vec![
                ("x-amz-copy-source", "/bkt/k"),
                ("x-amz-tagging-directive", "REPLACE"),
            ],
            set(""),
        ),
    ] {
        client
            .call(Method::PUT, "/bkt/copy", &headers, b"")
            .await
            .expect(200);
        let found = client.get("/bkt/copy?tagging").await.expect(200).text();
        assert!(found.contains(&expected), "{found}");
    }
    let created = client
        .call(Method::POST, "/bkt/m?uploads", &[("x-amz-tagging", "c=3")], b"")
        .await;
    let upload = created.expect(200).element("UploadId");
    let part = client
        .put(&format!("/bkt/m?partNumber=1&uploadId={upload}"), b"x")
        .await
        .expect(200);
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag")
    );
    let complete = format!("/bkt/m?uploadId={upload}");
    client
        .call(Method::POST, &complete, &[], parts.as_bytes())
        .await
        .expect(200);
    assert_eq!(
        client
            .get("/bkt/m")
            .await
            .expect(200)
            .header("x-amz-tagging-count"),
        "1"
    );
    let one = b"<Tagging><TagSet><Tag><Key>z</Key><Value/></Tag></TagSet></Tagging>";
    client.put("/bkt/k?tagging", one).await.expect(200);
    client.put("/bkt/none?tagging", one).await.expect(404);
    client.put("/bkt/k?tagging", b"<Tagging/>").await.expect(400);
    drop(client);
    // After a restart.
    let client = Client::on(folder.location()).await;
    let found = client.get("/bkt/k?tagging").await.expect(200).text();
    assert!(
        found.contains(&set("<Tag><Key>z</Key><Value></Value></Tag>")),
        "{found}"
    );
    let head = client.get("/bkt/k").await.expect(200);
    assert_eq!(
        (head.header("etag"), head.header("x-amz-tagging-count")),
        (etag, "1".into())
    );
    client.delete("/bkt/k?tagging").await.expect(204);
    assert_eq!(
        client
            .get("/bkt/k")
            .await
            .expect(200)
            .header("x-amz-tagging-count"),
        ""
    );
    client.get("/bkt/none?tagging").await.expect(404);
    client.delete("/bkt/none?tagging").await.expect(404);
}
