//! One key, ready to verify.
//!
//! Parsing happens here, once, when the configuration is loaded; a call is only the signature check. This uses
//! aws-lc-rs itself rather than jsonwebtoken, whose verifiers parse the key again for every signature and cannot be
//! shared between threads.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use crate::config::Algorithm;

/// RFC 7518, 3.3: "A key of size 2048 bits or larger MUST be used".
const MIN_RSA_BITS: usize = 2048;

/// A key bound to its algorithm.
pub(super) enum Verifier {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    /// Parses `key`, a shared secret or a PEM public key. The error is a sentence.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, String> {
        match parameters(algorithm) {
            Parameters::Secret(parameters) => secret(algorithm, parameters, key),
            Parameters::Public(_) => Self::public(algorithm, &public_key(algorithm, key)?),
        }
    }

    /// Parses a public key: a `SubjectPublicKeyInfo` or, of an elliptic curve, a point. The error is a sentence.
    pub(super) fn public(algorithm: Algorithm, key: &[u8]) -> Result<Self, String> {
        let Parameters::Public(parameters) = parameters(algorithm) else {
            return Err(format!("{algorithm:?} needs a shared secret"));
        };
        ParsedPublicKey::new(parameters, key)
            .map(Self::Public)
            .map_err(|_| "the key is damaged".into())
    }

    /// Parses an RSA public key: modulus and exponent, big-endian. The error is a sentence.
    pub(super) fn rsa(
        algorithm: Algorithm,
        modulus: &[u8],
        exponent: &[u8],
    ) -> Result<Self, String> {
        long_enough(modulus)?;
        let components = signature::RsaPublicKeyComponents {
            n: significant(modulus),
            e: significant(exponent),
        };
        let der = components.as_der().map_err(|_| "the key is damaged")?;
        Self::public(algorithm, der.as_ref())
    }

    /// Whether `signature` is that of `message`. Compares shared-secret signatures in constant time.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// What an algorithm computes with.
enum Parameters {
    Secret(hmac::Algorithm),
    Public(&'static dyn VerificationAlgorithm),
}

fn parameters(algorithm: Algorithm) -> Parameters {
    Parameters::Public(match algorithm {
        Algorithm::HS256 => return Parameters::Secret(hmac::HMAC_SHA256),
        Algorithm::HS384 => return Parameters::Secret(hmac::HMAC_SHA384),
        Algorithm::HS512 => return Parameters::Secret(hmac::HMAC_SHA512),
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::ES512 => &signature::ECDSA_P521_SHA512_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
    })
}

/// The bytes that a shared secret must have at least (RFC 7518, 3.2), zero for public keys.
pub(super) fn min_secret_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::ES512
        | Algorithm::EdDSA => 0,
    }
}

fn secret(
    algorithm: Algorithm,
    parameters: hmac::Algorithm,
    key: &[u8],
) -> Result<Verifier, String> {
    if key.is_empty() {
        return Err("the secret is empty".into());
    }
    // Whoever knows the public key could sign with it.
    if key.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Err(format!(
            "{algorithm:?} needs a shared secret, this is a PEM key"
        ));
    }
    Ok(Verifier::Secret(Box::new(hmac::Key::new(parameters, key))))
}

/// What is inside the PEM, once it is known to be a key for the algorithm.
fn public_key(algorithm: Algorithm, key: &[u8]) -> Result<Vec<u8>, String> {
    let expected = expected_kind(algorithm);
    let document = pem::parse(key)
        .map_err(|_| format!("{algorithm:?} needs a PEM public key of kind {expected}"))?;
    match document.tag() {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            return Err(
                "this is a certificate; extract its public key (openssl x509 -pubkey)".into(),
            );
        }
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err(
                "this is a private key; only the public key is needed (openssl pkey -pubout)"
                    .into(),
            );
        }
        tag => {
            return Err(format!(
                "expected a PEM block \"PUBLIC KEY\", found \"{tag}\""
            ));
        }
    }
    let kind = if document.tag() == "RSA PUBLIC KEY" {
        "RSA"
    } else {
        kind(document.contents())
    };
    if kind != expected {
        return Err(format!(
            "{algorithm:?} needs a key of kind {expected}, this is {kind}"
        ));
    }
    if kind == "RSA" {
        let key =
            rsa::PublicKey::from_der(document.contents()).map_err(|_| "the key is damaged")?;
        long_enough(key.modulus().big_endian_without_leading_zero())?;
    }
    Ok(document.into_contents())
}

fn long_enough(modulus: &[u8]) -> Result<(), String> {
    let modulus = significant(modulus);
    let spare = modulus
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - spare;
    if bits < MIN_RSA_BITS {
        return Err(format!(
            "the RSA key has {bits} bits, at least {MIN_RSA_BITS} are needed"
        ));
    }
    Ok(())
}

/// A number without zeros in front.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

fn expected_kind(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => "RSA",
        Algorithm::ES256 => "EC P-256",
        Algorithm::ES384 => "EC P-384",
        Algorithm::ES512 => "EC P-521",
        Algorithm::EdDSA => "Ed25519",
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "shared secret",
    }
}

/// The kind of a `SubjectPublicKeyInfo`, by the object identifiers at its beginning (RFC 5280, 4.1.2.7). It only
/// words the error: the parser that follows is the judge.
fn kind(der: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 6] = [
        (
            &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
            "RSA",
        ),
        (
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            "EC P-256",
        ),
        (&[0x2b, 0x81, 0x04, 0x00, 0x22], "EC P-384"),
        (&[0x2b, 0x81, 0x04, 0x00, 0x23], "EC P-521"),
        (&[0x2b, 0x65, 0x70], "Ed25519"),
        (&[0x2b, 0x65, 0x71], "Ed448"),
    ];
    // Longer than the head of every kind, shorter than any head and key: an identifier is not found by chance.
    let head = der.get(..27).unwrap_or(der);
    let holds = |identifier: &[u8]| {
        head.windows(identifier.len())
            .any(|window| window == identifier)
    };
    KINDS
        .iter()
        .find(|(identifier, _)| holds(identifier))
        .map_or("unknown", |(_, kind)| kind)
}
