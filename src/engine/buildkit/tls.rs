//! TLS to a builder, with the certificates of the client's own authority.

use super::address::Speaks;
use super::connection::Connection;
use crate::image::docker_client::Tls;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(super) async fn wrap(stream: TcpStream, host: &str, tls: &Tls, speaks: Speaks) -> io::Result<Connection> {
    let config = config(tls, speaks)?;
    let name = tls.server.clone().unwrap_or_else(|| {
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    });
    let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    // Whether the client's certificate is taken is known with the first word of the server, and a BuildKit has that.
    if speaks == Speaks::BuildKit
        && let Ok(Err(error)) = tokio::time::timeout(FIRST_WORD, stream.fill_buf()).await
    {
        let alert = error.get_ref().and_then(|it| it.downcast_ref::<rustls::Error>());
        return Err(match alert {
            Some(rustls::Error::AlertReceived(_)) => {
                io::Error::other(format!("this client's certificate is not taken: {error}"))
            }
            _ => error,
        });
    }
    Ok(Connection::new(stream))
}

/// As long as a server may take to begin, before it is spoken to.
const FIRST_WORD: Duration = Duration::from_millis(500);

fn config(tls: &Tls, speaks: Speaks) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let builder = match &tls.ca {
        _ if tls.unverified => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider))),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| at(path, error))?;
            }
            builder.with_root_certificates(roots)
        }
        None => {
            let message = "no authority's certificate is given: ca.pem beside the client's, or DOCKER_CERT_PATH";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    };
    let mut config = match &tls.identity {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(io::Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    // A Docker Engine is asked to upgrade, so it must not begin with HTTP/2; a BuildKit speaks nothing else.
    if speaks == Speaks::BuildKit {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(config)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| at(path, error))?;
    all.collect::<Result<_, _>>().map_err(|error| at(path, error))
}

fn at(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}

/// Takes any certificate, as the user asked (`SkipTLSVerify`); signatures are checked all the same.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
