//! What a certificate says: whom it names, and until when (RFC 5280).

use std::fmt::Write;
use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The attribute types that have a short name (RFC 4514, 3).
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// A certificate that was read.
pub struct Certificate<'d>(X509Certificate<'d>);

impl<'d> Certificate<'d> {
    /// Reads DER; nothing when it is no certificate.
    #[must_use]
    pub fn read(der: &'d [u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self(certificate))
    }

    /// When it ends, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.0.validity().not_after.timestamp()
    }

    /// Its subject as text (RFC 4514): `CN=orders,O=Example`.
    #[must_use]
    pub fn subject(&self) -> String {
        distinguished_name(self.0.subject())
    }

    /// The host names that it is for, lower case, wildcards included.
    #[must_use]
    pub fn host_names(&self) -> Vec<String> {
        let names = self.alternative_names();
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        names.iter().filter_map(name).collect()
    }

    /// Its alternative names, one a line: `DNS:orders.example`, `URI:spiffe://example/orders`, `IP:10.0.0.1`, `email:a@b`.
    /// Names of other kinds, and names with control characters, are left out.
    #[must_use]
    pub fn alternative_names_text(&self) -> String {
        let line = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
            GeneralName::URI(uri) => Some(format!("URI:{uri}")),
            GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
            GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| format!("IP:{ip}")),
            _ => None,
        };
        let names = self.alternative_names();
        let lines = names.iter().filter_map(line);
        let lines: Vec<String> = lines
            .filter(|line| !line.contains(char::is_control))
            .collect();
        lines.join("\n")
    }

    fn alternative_names(&self) -> Vec<GeneralName<'d>> {
        match self.0.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.clone(),
            Ok(None) | Err(_) => Vec::new(),
        }
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// RFC 4514, 2: the last relative name first.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut relative: Vec<String> = name
        .iter_rdn()
        .map(|name| name.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    relative.reverse();
    relative.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(id, _)| *id == kind);
    match (short, attribute.as_str()) {
        (Some((_, short)), Ok(value)) => format!("{short}={}", escaped(value)),
        _ => format!("{kind}=#{}", hexadecimal(attribute)),
    }
}

/// RFC 4514, 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', character]),
            '#' | ' ' if index == 0 => text.extend(['\\', character]),
            ' ' if index == last => text.push_str("\\ "),
            character if character.is_control() => {
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            character => text.push(character),
        }
    }
    text
}

/// The BER encoding of a value, for attributes without a text form.
fn hexadecimal(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = attribute.attr_value();
    let mut bytes = vec![u8::try_from(value.tag().0).unwrap_or_default()];
    match u8::try_from(value.data.len()) {
        Ok(length) if length < 0x80 => bytes.push(length),
        _ => {
            let length = u32::try_from(value.data.len()).unwrap_or(u32::MAX);
            bytes.push(0x84);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(value.data);
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    #[test]
    fn subjects_are_written_as_rfc_4514_says() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "Sue, Grabbit + Runn");
        name.push(DnType::CommonName, " #1 \"x\"\n ");
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::read(der.der()).unwrap();
        assert_eq!(
            certificate.subject(),
            "CN=\\ #1 \\\"x\\\"\\0A\\ ,O=Sue\\, Grabbit \\+ Runn"
        );
    }

    #[test]
    fn alternative_names_cannot_be_forged_with_line_breaks() {
        let mut params = CertificateParams::new(vec!["Orders.example".into()]).unwrap();
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        params.subject_alt_names.extend([
            uri("spiffe://example/orders"),
            uri("x:y\nDNS:admin.example"),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ]);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::read(der.der()).unwrap();
        assert_eq!(
            certificate.alternative_names_text(),
            "DNS:Orders.example\nURI:spiffe://example/orders\nIP:10.0.0.1"
        );
        assert_eq!(certificate.host_names(), ["orders.example"]);
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        assert!(Certificate::read(b"hello").is_none());
    }
}
