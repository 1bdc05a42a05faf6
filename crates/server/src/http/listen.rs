//! Sockets: TCP, with TLS if there is a certificate, and sockets in the file system.
//!
//! Every connection is a task that ends when the client goes, when it says nothing for too long, or
//! when the server ends. The head of a request is bounded in bytes and in time before anything of
//! it is looked at.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use super::routes;
use crate::app::App;
use crate::settings::{Error, Limits, Listen, Tls};

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// After an error that is not ours (too many open files), before the next try.
const PAUSE: Duration = Duration::from_millis(100);

/// Who asks, and on which socket.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Both ends; `None` on a socket in the file system.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// A socket that is open.
pub struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A socket's file, which goes when nobody listens to it any more, however that came.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Left behind, it is replaced next time.
        let _ = fs::remove_file(&self.0);
    }
}

/// What makes TLS of a certificate and its key.
///
/// # Errors
/// They cannot be read, or do not belong together.
pub fn acceptor(tls: Option<&Tls>) -> Result<Option<TlsAcceptor>, Error> {
    let Some(Tls { certificates, key }) = tls else { return Ok(None) };
    let wrong = |what: &str, error: String| Error::Tls(format!("{what}: {error}"));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong("certificate", error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("key", error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("versions", error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong("certificate and key", error.to_string()))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

impl Listener {
    /// Opens a socket. One in the file system that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// It is in use, or not ours to open.
    pub fn bind(place: &Listen, tls: Option<TlsAcceptor>) -> Result<Listener, Error> {
        let failed = |source| Error::Listen { place: place.to_string(), source };
        match place {
            Listen::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address).map_err(failed)?;
                socket.set_nonblocking(true).map_err(failed)?;
                let socket = TcpListener::from_std(socket).map_err(failed)?;
                Ok(Listener { socket: Socket::Tcp(socket), tls })
            }
            Listen::Unix(path) => {
                let is_socket =
                    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
                if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
                    fs::remove_file(path).map_err(failed)?;
                }
                let socket = UnixListener::bind(path).map_err(failed)?;
                Ok(Listener { socket: Socket::Unix(socket, SocketFile(path.clone())), tls: None })
            }
        }
    }

    /// Where it listens, with the port that it was given.
    pub fn place(&self) -> Listen {
        match &self.socket {
            Socket::Tcp(socket) => {
                let any = SocketAddr::from(([127, 0, 0, 1], 0));
                Listen::Tcp(socket.local_addr().unwrap_or(any))
            }
            Socket::Unix(_, file) => Listen::Unix(file.0.clone()),
        }
    }

    /// Takes connections until the server ends.
    pub async fn run(self, app: Arc<App>, mut ended: watch::Receiver<bool>) {
        let router = routes::router(app.clone());
        let places = Arc::new(Semaphore::new(app.settings.limits.connections));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = over(&mut ended) => break,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (router, app, ended) = (router.clone(), app.clone(), ended.clone());
            let tls = self.tls.clone();
            tokio::spawn(async move {
                let (_place, _open) = (place, app.connect());
                let limits = app.settings.limits;
                match (stream, tls) {
                    (Stream::Tcp(stream), None) => {
                        connection(stream, peer, router, limits, ended).await
                    }
                    (Stream::Unix(stream), _) => {
                        connection(stream, peer, router, limits, ended).await
                    }
                    (Stream::Tcp(stream), Some(tls)) => {
                        let shaken = tokio::time::timeout(limits.head, tls.accept(stream)).await;
                        if let Ok(Ok(stream)) = shaken {
                            connection(stream, peer, router, limits, ended).await;
                        }
                    }
                }
            });
        }
    }

    async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, theirs) = socket.accept().await?;
                // Tokens are small and must not wait for each other.
                let _ = stream.set_nodelay(true);
                let addresses = Some((theirs, stream.local_addr()?));
                let peer = Peer { addresses };
                Ok((Stream::Tcp(stream), peer))
            }
            Socket::Unix(socket, _) => {
                let (stream, _) = socket.accept().await?;
                Ok((Stream::Unix(stream), Peer { addresses: None }))
            }
        }
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// One connection, request after request. A client that takes nothing for too long is cut, and with
/// that its answer ends.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.reading));
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = over(&mut ended) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Waits until the server ends.
async fn over(ended: &mut watch::Receiver<bool>) {
    let _ = ended.wait_for(|ended| *ended).await;
}
