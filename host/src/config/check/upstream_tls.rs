//! `[upstream.NAME.tls]`: whom to believe, and who we are.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use toml::Spanned;

use super::Checker;
use crate::config::address::TargetAddress;
use crate::config::entry::{Entry, Place};
use crate::config::file::{UpstreamFile, UpstreamTlsFile};
use crate::config::resolved::Endpoint;
use crate::config::tls::{UpstreamTls, provider};

impl Checker<'_> {
    /// The TLS of an upstream that has `https://` targets, or may have.
    pub(super) fn upstream_tls(&mut self, table: &Entry<'_, UpstreamFile>) -> Option<UpstreamTls> {
        let Entry { file, place, .. } = table;
        if !is_secure(file) {
            if let Some(tls) = file
                .tls
                .as_ref()
                .filter(|_| !place.is_lost(&place.here(), "targets"))
            {
                let help = match file.discovery {
                    Some(_) => "write `scheme = \"https\"` in its `discovery` table",
                    None => "write `targets = [\"https://...\"]`",
                };
                let message = "no target is spoken to over TLS";
                self.report.at(&place.at(tls), message, Some(help.into()));
            }
            return None;
        }
        let none = UpstreamTlsFile::default();
        let file = file.tls.as_ref().map_or(&none, |tls| tls.get_ref());
        self.together(
            place,
            (&file.client_cert, "client-cert"),
            (&file.client_key, "client-key"),
        );
        self.together(
            place,
            (&file.client_key, "client-key"),
            (&file.client_cert, "client-cert"),
        );
        let mut digest = blake3::Hasher::new();
        let verifier = self.verifier(table, file, &mut digest)?;
        let builder = client(verifier);
        let client = match (&file.client_cert, &file.client_key) {
            (Some(cert), Some(key)) => {
                let chain = self.chain(place, cert, key)?;
                digest.update(chain.digest.finalize().as_bytes());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(chain.key)))
            }
            _ => builder.with_no_client_auth(),
        };
        let server_name = file
            .server_name
            .as_ref()
            .map(|name| name.get_ref().0.clone());
        Some(UpstreamTls {
            client: Arc::new(client),
            server_name,
            digest: digest.finalize(),
        })
    }

    fn verifier(
        &mut self,
        table: &Entry<'_, UpstreamFile>,
        file: &UpstreamTlsFile,
        digest: &mut blake3::Hasher,
    ) -> Option<Arc<dyn ServerCertVerifier>> {
        if file.verify == Some(false) {
            tracing::warn!(
                upstream = %table.name,
                "`verify = false`: whoever answers at the address of a target is believed to be it"
            );
            digest.update(b"anybody");
            return Some(Arc::new(Anybody(provider())));
        }
        self.authority(&table.place, file.ca.as_ref(), digest)
    }

    /// The TLS of a server that we ask, and whose certificate comes from `ca`, or else from an authority of this machine.
    pub(super) fn tls_of_server(
        &mut self,
        place: &Place<'_>,
        ca: Option<&Spanned<String>>,
    ) -> Option<UpstreamTls> {
        let mut digest = blake3::Hasher::new();
        let verifier = self.authority(place, ca, &mut digest)?;
        Some(UpstreamTls {
            client: Arc::new(client(verifier).with_no_client_auth()),
            server_name: None,
            digest: digest.finalize(),
        })
    }

    fn authority(
        &mut self,
        place: &Place<'_>,
        ca: Option<&Spanned<String>>,
        digest: &mut blake3::Hasher,
    ) -> Option<Arc<dyn ServerCertVerifier>> {
        let roots = match ca {
            Some(ca) => {
                let (roots, read) = self.authorities(place, ca)?;
                digest.update(&read.bytes);
                roots
            }
            None => self.system_roots(place)?,
        };
        let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            provider(),
        );
        match builder.build() {
            Ok(verifier) => Some(verifier),
            Err(error) => {
                self.report.at(&place.here(), error.to_string(), None);
                None
            }
        }
    }

    /// The authorities that this machine believes.
    fn system_roots(&mut self, place: &Place<'_>) -> Option<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let message = "this machine has no certificates of authorities";
            let help =
                "install them (Debian: ca-certificates), or name your own: `ca = \"ca.pem\"`";
            self.report.at(&place.here(), message, Some(help.into()));
            return None;
        }
        Some(roots)
    }

    /// Where a target is, with what it needs to be spoken to.
    pub(super) fn endpoint(
        &mut self,
        place: &Place<'_>,
        target: &TargetAddress,
        settings: Option<&UpstreamTls>,
    ) -> Endpoint {
        let TargetAddress { host, port, secure } = target.clone();
        let tls = settings.filter(|_| secure).and_then(|settings| {
            let tls = settings.of_target(&host);
            if tls.is_none() {
                let message = format!("no certificate can be for {host:?}");
                let help = "name the host: `server-name = \"orders.example\"` in its `tls` table";
                self.report.at(&place.here(), message, Some(help.into()));
            }
            tls
        });
        Endpoint { host, port, tls }
    }
}

/// Whether some target is spoken to over TLS, or may be: a watched file says so later.
fn is_secure(file: &UpstreamFile) -> bool {
    let entries = file.targets.iter().flat_map(|list| list.get_ref());
    let mut listed = entries.filter_map(|entry| entry.get_ref().address());
    let discovery = file.discovery.as_ref().map(Spanned::get_ref);
    let found = discovery.is_some_and(|discovery| match &discovery.scheme {
        Some(scheme) => scheme.get_ref().0,
        None => file.tls.is_some() && discovery.path.is_some(),
    });
    found || listed.any(|address| address.secure)
}

fn client(verifier: Arc<dyn ServerCertVerifier>) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

/// Believes every certificate: an operator asked for it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
