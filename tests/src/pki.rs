//! Certificates for tests, from an authority of the test's own.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: String,
}

/// A certificate with its key, in PEM form.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The certificate as it is shown in a handshake.
    pub der: Vec<u8>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new("Authority of a test")
    }
}

impl Authority {
    /// An authority of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("there are no names");
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.self_signed(&key).expect("keys can sign").pem();
        Self {
            certificate,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its own certificate, in PEM form.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.certificate
    }

    /// Its key, in PEM form.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A certificate for these hosts, as servers and clients show them. Its subject names the first.
    #[must_use]
    pub fn issue(&self, hosts: &[&str]) -> Identity {
        let names: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("they are names");
        params.distinguished_name = common_name(hosts.first().copied().unwrap_or_default());
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("keys can be made");
        let made = params.signed_by(&key, &self.issuer).expect("keys can sign");
        Identity {
            certificate: made.pem(),
            key: key.serialize_pem(),
            der: made.der().to_vec(),
        }
    }
}

impl Identity {
    /// Certificate and key in one text, so that one rename replaces both.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
