//! `[listen.NAME.tls]`: certificates, their keys, and the authorities of clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use toml::Spanned;

use super::Checker;
use super::quantity::TIMEOUT;
use crate::certificate::Certificate;
use crate::config::defaults as default;
use crate::config::entry::Place;
use crate::config::file::{CertificateFile, Field, ListenTlsFile};
use crate::config::reference::{SecretReference, read_file};
use crate::config::resolved::Position;
use crate::config::tls::{
    CertificateConfig, ClientAuth, ClientCa, ListenTlsConfig, TlsVersion, provider,
};
use crate::config::values::ClientAuthKind;

/// More than any chain or bundle of authorities; less than what would hurt if the path is a mistake.
const MAX_CERTIFICATE_BYTES: u64 = 4 << 20;

/// A file that was read, and where it is named.
pub(super) struct Read {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) position: Position,
}

/// A chain that fits its key.
pub(super) struct Chain {
    pub(super) key: CertifiedKey,
    pub(super) file: PathBuf,
    pub(super) digest: blake3::Hasher,
    position: Position,
}

impl Checker<'_> {
    /// Nothing when it could not be understood; there is a problem then.
    pub(super) fn listen_tls(
        &mut self,
        place: &Place<'_>,
        table: &Spanned<ListenTlsFile>,
    ) -> Option<ListenTlsConfig> {
        let (file, here) = (table.get_ref(), place.at(table));
        let certificates = self.required(
            place,
            &here,
            &file.certificates,
            "certificates",
            "[{ cert = \"shop.pem\", key = \"file:shop.key\" }]",
        );
        if let Some(list) = certificates.filter(|list| list.get_ref().is_empty()) {
            self.report
                .at(&place.at(list), "expected at least one certificate", None);
        }
        let client_auth = self.client_auth(place, file, &here);
        let timeout = default::DEFAULT_TLS_HANDSHAKE_TIMEOUT;
        let most = default::DEFAULT_TLS_MAX_HANDSHAKES;
        let tls = ListenTlsConfig {
            certificates: certificates
                .iter()
                .flat_map(|list| list.get_ref())
                .filter_map(|certificate| self.certificate(place, certificate))
                .collect(),
            min_version: file
                .min_version
                .as_ref()
                .map_or(TlsVersion::Tls12, |word| word.get_ref().0),
            client_auth: client_auth?,
            session_tickets: file
                .session_tickets
                .unwrap_or(default::DEFAULT_TLS_SESSION_TICKETS),
            handshake_timeout: self.duration(place, &file.handshake_timeout, timeout, TIMEOUT),
            max_handshakes: self.count(place, &file.max_handshakes, most, 1..=1_000_000),
        };
        (!tls.certificates.is_empty()).then_some(tls)
    }

    fn certificate(
        &mut self,
        place: &Place<'_>,
        table: &Spanned<CertificateFile>,
    ) -> Option<CertificateConfig> {
        let here = place.at(table);
        let CertificateFile { cert, key, ocsp } = table.get_ref();
        let cert = self.required(place, &here, cert, "cert", "\"shop.pem\"");
        let key = self.required(place, &here, key, "key", "\"file:shop.key\"");
        let ocsp = ocsp.as_ref().and_then(|ocsp| self.ocsp(place, ocsp));
        let mut chain = self.chain(place, cert?, key?)?;
        let leaf = chain
            .key
            .cert
            .first()
            .and_then(|leaf| Certificate::read(leaf));
        let Some(leaf) = leaf else {
            self.report.at(
                &chain.position,
                "the first certificate cannot be read",
                None,
            );
            return None;
        };
        let (hosts, not_after) = (leaf.host_names(), leaf.not_after());
        if let Some(ocsp) = ocsp {
            chain.digest.update(&ocsp);
            chain.key.ocsp = Some(ocsp);
        }
        Some(CertificateConfig {
            file: chain.file,
            key: Arc::new(chain.key),
            hosts,
            not_after,
            digest: chain.digest.finalize(),
        })
    }

    /// A certificate chain with the key of its first certificate.
    pub(super) fn chain(
        &mut self,
        place: &Place<'_>,
        cert: &Spanned<String>,
        key: &Spanned<SecretReference>,
    ) -> Option<Chain> {
        let secret = self.read(place, key);
        let read = self.read_path(place, cert)?;
        let certificates = self.certificates(&read)?;
        let (key_position, secret) = secret?;
        let Ok(key) = PrivateKeyDer::from_pem_slice(secret.reveal()) else {
            let message = "expected a private key in PEM form";
            let help = "it begins with \"-----BEGIN PRIVATE KEY-----\", and is not encrypted";
            self.report.at(&key_position, message, Some(help.into()));
            return None;
        };
        let mut digest = blake3::Hasher::new();
        digest.update(&read.bytes).update(secret.reveal());
        match CertifiedKey::from_der(certificates, key, &provider()) {
            Ok(key) => Some(Chain {
                key,
                file: read.path,
                digest,
                position: read.position,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = format!(
                    "the key is not that of the first certificate in \"{}\"",
                    read.path.display()
                );
                self.report.at(&key_position, message, None);
                None
            }
            Err(error) => {
                self.report.at(
                    &key_position,
                    format!("the key cannot be used: {error}"),
                    None,
                );
                None
            }
        }
    }

    fn client_auth(
        &mut self,
        place: &Place<'_>,
        file: &ListenTlsFile,
        here: &Position,
    ) -> Option<ClientAuth> {
        let kind = file
            .client_auth
            .as_ref()
            .map_or(ClientAuthKind::Off, |word| word.get_ref().0);
        if kind == ClientAuthKind::Off {
            if let Some(ca) = &file.client_ca {
                let help = "write `client-auth = \"required\"` or \"optional\"";
                self.report.at(
                    &place.at(ca),
                    "nobody is asked for a certificate",
                    Some(help.into()),
                );
            }
            return Some(ClientAuth::Off);
        }
        let ca = self.required(place, here, &file.client_ca, "client-ca", "\"clients.pem\"")?;
        let (roots, read) = self.authorities(place, ca)?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match kind {
            ClientAuthKind::Optional => builder.allow_unauthenticated(),
            ClientAuthKind::Off | ClientAuthKind::Required => builder,
        };
        let verifier = builder
            .build()
            .inspect_err(|error| self.report.at(&read.position, error.to_string(), None))
            .ok()?;
        let ca = ClientCa {
            verifier,
            digest: blake3::hash(&read.bytes),
        };
        Some(match kind {
            ClientAuthKind::Optional => ClientAuth::Optional(ca),
            ClientAuthKind::Off | ClientAuthKind::Required => ClientAuth::Required(ca),
        })
    }

    /// The certificates of authorities, each of which can be one.
    pub(super) fn authorities(
        &mut self,
        place: &Place<'_>,
        path: &Spanned<String>,
    ) -> Option<(RootCertStore, Read)> {
        let read = self.read_path(place, path)?;
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(&read)? {
            if let Err(error) = roots.add(certificate) {
                let message = format!(
                    "a certificate in \"{}\" cannot be used: {error}",
                    read.path.display()
                );
                self.report.at(&read.position, message, None);
                return None;
            }
        }
        Some((roots, read))
    }

    /// The certificates of a file, at least one.
    fn certificates(&mut self, read: &Read) -> Option<Vec<CertificateDer<'static>>> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read.bytes).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Some(certificates),
            Ok(_) | Err(_) => {
                let message = format!(
                    "expected certificates in PEM form in \"{}\"",
                    read.path.display()
                );
                let help = "each begins with \"-----BEGIN CERTIFICATE-----\"";
                self.report.at(&read.position, message, Some(help.into()));
                None
            }
        }
    }

    /// A successful OCSP response (RFC 6960, 4.2.1). Whether it is fresh is for clients to judge.
    fn ocsp(&mut self, place: &Place<'_>, path: &Spanned<String>) -> Option<Vec<u8>> {
        let read = self.read_path(place, path)?;
        if !is_successful_ocsp(&read.bytes) {
            let message = format!(
                "expected an OCSP response in DER form in \"{}\"",
                read.path.display()
            );
            let help = "`openssl ocsp -respout FILE` writes one";
            self.report.at(&read.position, message, Some(help.into()));
            return None;
        }
        Some(read.bytes)
    }

    fn read_path(&mut self, place: &Place<'_>, path: &Spanned<String>) -> Option<Read> {
        self.read_bytes(place, path, MAX_CERTIFICATE_BYTES)
    }

    /// Reads a file that is no secret. It is watched from then on.
    pub(super) fn read_bytes(
        &mut self,
        place: &Place<'_>,
        path: &Spanned<String>,
        most: u64,
    ) -> Option<Read> {
        let position = place.at(path);
        let path = place.directory().join(path.get_ref());
        self.sources.push(path.clone());
        match read_file(&path, most) {
            Ok(bytes) => Some(Read {
                path,
                bytes,
                position,
            }),
            Err(refusal) => {
                let (message, help) = refusal.into_parts();
                self.report.at(&position, message, help);
                None
            }
        }
    }

    /// A key that makes sense only together with another.
    pub(super) fn together<A, B>(
        &mut self,
        place: &Place<'_>,
        (one, name): (&Field<A>, &str),
        (other, needed): (&Field<B>, &str),
    ) {
        if let (Some(one), None) = (one, other) {
            let message = format!("`{name}` needs `{needed}`");
            self.report.at(&place.at(one), message, None);
        }
    }
}

/// `OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED { successful (0), ... }, ... }`
fn is_successful_ocsp(der: &[u8]) -> bool {
    let skipped = match der {
        [0x30, length, ..] if *length < 0x80 => 2,
        [0x30, length, ..] => 2 + usize::from(length & 0x7f),
        _ => return false,
    };
    der.get(skipped..)
        .is_some_and(|rest| rest.starts_with(&[0x0a, 1, 0]))
}
