//! Other sockets than TCP over IPv4: IPv6, TLS, and those of the file system.
//!
//! The certificate in `testdata/api/tls` is for `localhost`, signed by itself, and of use nowhere
//! else.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use server::{Listen, Loading, Settings, Tls};

use crate::support::{Got, read, settings, start};

const HELLO: &[u8] = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn greet(mut stream: impl Read + Write) -> Got {
    stream.write_all(HELLO).expect("a server that reads");
    read(&mut stream)
}

#[test]
fn sockets_of_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.sock");
    // What a server left behind that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = vec![Listen::Unix(path.clone()), settings().listen[0].clone()];
    let server = start(Settings { listen, ..settings() });
    let got = greet(UnixStream::connect(&path).unwrap());
    assert_eq!((got.status, &got.json()["status"]), (200, &"ok".into()));
    // A second server cannot take the place.
    let taken = Settings { listen: vec![Listen::Unix(path.clone())], ..settings() };
    let open = |_: &Loading| unreachable!("nothing is opened where nobody can listen");
    let error = server::serve(taken, Default::default(), open, |_| {}, || true).unwrap_err();
    assert!(error.to_string().starts_with("could not listen on unix:"), "{error}");
    drop(server);
    assert!(!path.exists(), "a server that ends takes its socket away");
}

#[test]
fn ipv6() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        println!("skipped: no IPv6 here");
        return;
    };
    drop(probe);
    let listen = vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)))];
    let server = start(Settings { listen, ..settings() });
    assert!(server.address.is_ipv6());
    assert_eq!(server.get("/v1/models").status, 200);
}

fn tls_file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/api/tls");
    std::fs::read(folder.join(name)).expect("the test certificate")
}

#[test]
fn tls() {
    let tls = Some(Tls { certificates: tls_file("cert.pem"), key: tls_file("key.pem") });
    let server = start(Settings { tls, ..settings() });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&tls_file("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = || {
        let name = ServerName::try_from("localhost").unwrap();
        let client = rustls::ClientConnection::new(config.clone(), name).unwrap();
        greet(rustls::StreamOwned::new(client, server.connect())).status
    };
    let until = Instant::now() + Duration::from_secs(30);
    while ask() != 200 {
        assert!(Instant::now() < until, "the model was never loaded");
    }
    assert_ne!(server.raw(HELLO).status, 200, "in plain text there is no answer");
    let wrong = Tls { certificates: tls_file("key.pem"), key: tls_file("cert.pem") };
    let wrong = Settings { tls: Some(wrong), ..settings() };
    let open = |_: &Loading| Err(engine::Error::EmptyPrompt);
    let error = server::serve(wrong, Default::default(), open, |_| {}, || true).unwrap_err();
    assert!(error.to_string().starts_with("TLS: "), "{error}");
}
