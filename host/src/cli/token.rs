//! `postern token`: a token as a consumer's issuer would make it, for development.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::{Map, Value};

use crate::app;
use crate::config::{Algorithm, Config, JwtCredentialConfig};

/// What `postern token` is told.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The consumer: the NAME of a `[consumer.NAME]` table with a `jwt` credential.
    consumer: String,
    /// Which of its issuers; the first with a secret, if this is not said.
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// For how long the token is good.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    lifetime: humantime::Duration,
    /// A claim more: `sub=alice`, or JSON as in `roles=["admin"]`. Can be repeated, and replaces those that are made.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
}

pub(super) fn token(request: &Request) -> ExitCode {
    let config = match app::load(&request.config) {
        Ok(config) => config,
        Err(error) => return super::refuse(&error),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match credential(&config, request).and_then(|credential| {
        let claims = claims(request, &credential.issuer, now.unwrap_or_default())?;
        sign(credential, &claims)
    }) {
        Ok(token) => {
            print(&token);
            ExitCode::SUCCESS
        }
        Err(reason) => super::fail(super::EXIT_CONFIG, reason),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to the command")]
fn print(token: &str) {
    println!("{token}");
}

/// The credential that is meant. Only those with a secret can sign: of the others, the gateway has the public half.
fn credential<'c>(
    config: &'c Config,
    request: &Request,
) -> Result<&'c JwtCredentialConfig, String> {
    let name = &request.consumer;
    let consumer = config
        .consumers
        .iter()
        .find(|consumer| *consumer.name == **name)
        .ok_or_else(|| format!("there is no consumer {name:?}; `postern consumers` lists them"))?;
    let wanted = |jwt: &&JwtCredentialConfig| {
        request
            .issuer
            .as_ref()
            .is_none_or(|issuer| *jwt.issuer == **issuer)
    };
    consumer
        .jwt
        .iter()
        .filter(wanted)
        .find(|jwt| mac(jwt.algorithm).is_some())
        .ok_or_else(|| {
            format!(
                "consumer {name:?} has no such credential with a secret (HS256, HS384, HS512): \
                 only its issuer can sign"
            )
        })
}

fn claims(request: &Request, issuer: &str, now: Duration) -> Result<Map<String, Value>, String> {
    let expires = now.saturating_add(request.lifetime.into()).as_secs();
    let mut claims = Map::new();
    claims.insert("iss".into(), issuer.into());
    claims.insert("sub".into(), request.consumer.as_str().into());
    claims.insert("iat".into(), now.as_secs().into());
    claims.insert("exp".into(), expires.into());
    for claim in &request.claims {
        let (name, value) = claim
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("--claim: expected NAME=VALUE, found {claim:?}"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        claims.insert(name.into(), value);
    }
    Ok(claims)
}

/// JWS in compact form (RFC 7515, 7.1).
fn sign(credential: &JwtCredentialConfig, claims: &Map<String, Value>) -> Result<String, String> {
    let algorithm = mac(credential.algorithm).ok_or("the credential has no secret")?;
    let mut header = Map::new();
    header.insert("alg".into(), format!("{:?}", credential.algorithm).into());
    header.insert("typ".into(), "JWT".into());
    if let Some(id) = &credential.id {
        header.insert("kid".into(), (**id).into());
    }
    let part = |map: &Map<String, Value>| {
        serde_json::to_string(map)
            .map(|json| URL_SAFE_NO_PAD.encode(json))
            .map_err(|error| error.to_string())
    };
    let message = format!("{}.{}", part(&header)?, part(claims)?);
    let key = hmac::Key::new(algorithm, credential.key.reveal());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    Ok(format!("{message}.{signature}"))
}

fn mac(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}
