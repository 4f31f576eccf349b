//! `[upstream.NAME.tls]`: whom to believe, and who we are.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Checker;
use crate::config::address::TargetAddress;
use crate::config::entry::{Entry, Place};
use crate::config::file::{UpstreamFile, UpstreamTlsFile};
use crate::config::resolved::Endpoint;
use crate::config::tls::{TargetTls, provider};

/// What all targets of an upstream share.
pub(super) struct Settings {
    client: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    digest: blake3::Hash,
}

impl Checker<'_> {
    /// The TLS of an upstream that has `https://` targets.
    pub(super) fn upstream_tls(&mut self, table: &Entry<'_, UpstreamFile>) -> Option<Settings> {
        let Entry { file, place, .. } = table;
        let entries = file.targets.iter().flat_map(|list| list.get_ref());
        let mut addresses = entries.filter_map(|entry| entry.get_ref().address());
        if !addresses.any(|address| address.secure) {
            if let Some(tls) = file
                .tls
                .as_ref()
                .filter(|_| !place.is_lost(&place.here(), "targets"))
            {
                let help = "write `targets = [\"https://...\"]`";
                self.report.at(
                    &place.at(tls),
                    "no target is spoken to over TLS",
                    Some(help.into()),
                );
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
        let versions = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions");
        let builder = versions
            .dangerous()
            .with_custom_certificate_verifier(verifier);
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
        Some(Settings {
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
        let roots = match &file.ca {
            Some(ca) => {
                let (roots, read) = self.authorities(&table.place, ca)?;
                digest.update(&read.bytes);
                roots
            }
            None => self.system_roots(&table.place)?,
        };
        let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            provider(),
        );
        match builder.build() {
            Ok(verifier) => Some(verifier),
            Err(error) => {
                self.report.at(&table.place.here(), error.to_string(), None);
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
        settings: Option<&Settings>,
    ) -> Endpoint {
        let TargetAddress { host, port, secure } = target.clone();
        let settings = settings.filter(|_| secure);
        let tls = settings.and_then(|settings| {
            let own = || ServerName::try_from(host.to_string());
            let Ok(server_name) = settings.server_name.clone().map_or_else(own, Ok) else {
                let message = format!("no certificate can be for {host:?}");
                let help = "name the host: `server-name = \"orders.example\"` in its `tls` table";
                self.report.at(&place.here(), message, Some(help.into()));
                return None;
            };
            Some(TargetTls {
                client: Arc::clone(&settings.client),
                server_name,
                digest: settings.digest,
            })
        });
        Endpoint { host, port, tls }
    }
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
