//! Guards: a TLS store is spoken to only under a trusted certificate for its name, post-quantum first.
//! How: a rustls server on loopback with certificates from the openssl tool; skipped without the tool.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A certificate for localhost made with the openssl tool; `None` when the tool is missing.
fn certificate(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    std::fs::create_dir_all(folder).ok()?;
    let (key, cert) = (folder.join("key.pem"), folder.join("cert.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .ok()?;
    made.status.success().then_some((key, cert))
}

/// Accepts one TLS connection and answers one request.
async fn tls_server(key: &Path, cert: &Path) -> std::net::SocketAddr {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(cert).unwrap()],
            PrivateKeyDer::from_pem_file(key).unwrap(),
        )
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.clone()));
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let group = stream
                .get_ref()
                .1
                .negotiated_key_exchange_group()
                .map(|group| group.name());
            let _ = stream.read(&mut [0; 4096]).await;
            let text = answer("200 OK", "", &format!("{group:?}"));
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn a_tls_store_is_trusted_by_its_certificate_only() {
    let folder = std::env::temp_dir().join(format!("sceau-upstream-tls-{}", std::process::id()));
    let Some((key, cert)) = certificate(&folder) else {
        writeln!(std::io::stderr(), "skipped: no openssl tool").unwrap();
        return;
    };
    let address = tls_server(&key, &cert).await;
    let server = TestServer::start(vec![]).await;
    let send = async |host: &str, ca_file: Option<&Path>| {
        let mut config = config(&server);
        config.endpoint = format!("https://{host}:{}", address.port()).parse().unwrap();
        config.ca_file = ca_file.map(Path::to_path_buf);
        Store::new(config).unwrap().send(get("a")).await
    };
    let (_, body) = send("localhost", Some(&cert))
        .await
        .unwrap()
        .collect(100)
        .await
        .unwrap();
    assert_eq!(body, "Some(X25519MLKEM768)");
    let wrong_name = send("127.0.0.1", Some(&cert)).await;
    assert!(matches!(wrong_name, Err(StoreError::Connect(ConnectFault::Tls))));
    let _ = certificate(&folder.join("other"));
    let untrusted = send("localhost", Some(&folder.join("other/cert.pem"))).await;
    assert!(matches!(untrusted, Err(StoreError::Connect(ConnectFault::Tls))));
    std::fs::remove_dir_all(folder).unwrap();
}
