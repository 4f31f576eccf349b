//! A token taken apart (JWS in compact form, RFC 7515, 7.1), with nothing of it verified.
//!
//! Of the header only `alg`, `kid`, `crit` and `typ` are read. Keys that a token brings or points to (`jwk`, `jku`, `x5c`, `x5u`) are never
//! looked at.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postern_plugin::keys::Algorithm;

use crate::json;
use crate::refusal::Refusal;

/// More than headers of 8 KiB, the usual limit of servers, can carry.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

const ALG: usize = 0;
const KID: usize = 1;
const CRIT: usize = 2;
const TYP: usize = 3;
const HEADER_MEMBERS: [Cow<'static, str>; 4] = [
    Cow::Borrowed("alg"),
    Cow::Borrowed("kid"),
    Cow::Borrowed("crit"),
    Cow::Borrowed("typ"),
];

/// A token, its parts decoded.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    /// What the signature is over: header and payload as they were sent.
    pub(crate) signing_input: &'t [u8],
    pub(crate) signature: Vec<u8>,
    /// JSON, or so the sender says.
    pub(crate) payload: String,
    header: String,
}

/// What of a token's header counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header<'t> {
    pub(crate) algorithm: Algorithm,
    /// Which key of a key set.
    pub(crate) key_id: Option<Cow<'t, str>>,
    /// What the token says that it is.
    pub(crate) kind: Option<Cow<'t, str>>,
}

impl Header<'_> {
    /// Whether the token is of a type (RFC 7515, 4.1.9; RFC 8725, 3.11): case does not matter, and `application/` may be left out.
    pub(crate) fn is_of_type(&self, wanted: &str) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        short(kind).eq_ignore_ascii_case(short(wanted))
    }
}

fn short(media_type: &str) -> &str {
    const APPLICATION: &str = "application/";
    match media_type.split_at_checked(APPLICATION.len()) {
        Some((before, rest)) if before.eq_ignore_ascii_case(APPLICATION) => rest,
        _ => media_type,
    }
}

impl<'t> Token<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, Refusal> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Malformed);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Refusal::Malformed)?;
        // A further dot is in the payload, and no sign of base64.
        Ok(Token {
            signing_input: signing_input.as_bytes(),
            signature: decode(signature)?,
            payload: decode_text(payload)?,
            header: decode_text(header)?,
        })
    }

    pub(crate) fn header(&self) -> Result<Header<'_>, Refusal> {
        let members = json::members(&self.header, &HEADER_MEMBERS).ok_or(Refusal::Malformed)?;
        // Extensions that must be understood (RFC 7515, 4.1.11): there is none that is.
        if members[CRIT].is_some() {
            return Err(Refusal::Malformed);
        }
        let alg = members[ALG]
            .and_then(json::string)
            .ok_or(Refusal::Malformed)?;
        let key_id = match members[KID] {
            Some(kid) => Some(json::string(kid).ok_or(Refusal::Malformed)?),
            None => None,
        };
        // `none` is no algorithm. The same answer as for one that does not belong to the key.
        let algorithm = Algorithm::from_jose(&alg).ok_or(Refusal::Invalid)?;
        let kind = members[TYP].and_then(json::string);
        Ok(Header {
            algorithm,
            key_id,
            kind,
        })
    }
}

/// Base64url without padding, and without spare bits that are not zero: there is one way to write a token.
fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

fn decode_text(part: &str) -> Result<String, Refusal> {
    String::from_utf8(decode(part)?).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    /// What becomes of a token with this header.
    fn header(json: &str) -> Result<(Algorithm, Option<String>), Refusal> {
        let text = format!("{}.{}.c2ln", encode(json), encode("{}"));
        let token = Token::parse(&text).expect("has the form of a token");
        token
            .header()
            .map(|header| (header.algorithm, header.key_id.map(Cow::into_owned)))
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        // RFC 7515, A.1.
        let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly\
                    9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let token = Token::parse(text).expect("is a token");
        assert_eq!(
            token.header().expect("is known").algorithm,
            Algorithm::Hs256
        );
        assert_eq!(
            token.payload,
            "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
        );
        assert_eq!(token.signature[..4], [116, 24, 223, 180]);
        assert_eq!(token.signature.len(), 32);
        assert_eq!(token.signing_input, &text.as_bytes()[..text.len() - 44]);
    }

    #[test]
    fn what_has_not_the_form_of_a_token_is_malformed() {
        let (head, body) = (encode(r#"{"alg":"HS256"}"#), encode("{}"));
        let huge = encode(&" ".repeat(6 * 1024));
        let not_utf8 = URL_SAFE_NO_PAD.encode([b'"', 0xff, b'"']);
        let bad = [
            String::new(),
            String::from("."),
            String::from("token"),
            format!("{head}.{body}"),
            format!("{head}.{body}.c2ln.c2ln"),
            format!("{head}.{body}.c2ln."),
            format!(".{head}.{body}.c2ln"),
            format!(" {head}.{body}.c2ln"),
            format!("{head}.{body}.c2ln "),
            format!("{head}. {body}.c2ln"),
            format!("{head}.{body}.c2ln\n"),
            format!("{head}.{body}.c2k="),
            format!("{head}=.{body}.c2ln"),
            // Padding bits that are not zero.
            format!("{head}.{body}.c2l"),
            format!("{head}.{body}.c"),
            // The alphabet of ordinary base64.
            format!("{head}.{body}.c2l+"),
            format!("{head}.{body}.c2l/"),
            format!("{head}.{body}.\u{fffd}"),
            format!("{head}.{not_utf8}.c2ln"),
            format!("{not_utf8}.{body}.c2ln"),
            format!("{head}.{huge}.c2ln"),
            // An encrypted token.
            format!("{head}.{body}.c2ln.c2ln.c2ln"),
        ];
        for text in bad {
            assert_eq!(
                Token::parse(&text).map(|_| ()),
                Err(Refusal::Malformed),
                "{text:?}"
            );
        }
        assert!(
            Token::parse(&format!("{head}.{body}.")).is_ok(),
            "the host refuses an empty signature"
        );
    }

    #[test]
    fn only_algorithms_of_the_standard_are_known() {
        for alg in [
            "none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS1", "RS1", "ES256K", "A128KW",
        ] {
            assert_eq!(
                header(&format!(r#"{{"alg":"{alg}"}}"#)),
                Err(Refusal::Invalid),
                "{alg}"
            );
        }
        assert_eq!(
            header(r#"{"alg":"RS256","kid":"k\u0031"}"#),
            Ok((Algorithm::Rs256, Some("k1".into())))
        );
        assert_eq!(
            header(r#"{"alg":"EdDSA","kid":null}"#),
            Ok((Algorithm::Eddsa, None))
        );
    }

    #[test]
    fn headers_that_are_not_understood_are_malformed() {
        let bad = [
            "",
            "null",
            "[]",
            "\"alg\"",
            "{",
            "{}",
            "{}{}",
            r#"{"alg":"HS256"} x"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":256}"#,
            r#"{"alg":null}"#,
            r#"{"ALG":"HS256"}"#,
            r#"{"alg":"HS256","kid":1}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"none","\u0061lg":"HS256"}"#,
            r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
            r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"HS256","crit":[]}"#,
            r#"{"alg":"HS256","crit":1}"#,
            r#"{"alg":"HS256",}"#,
            "{'alg':'HS256'}",
        ];
        for json in bad {
            assert_eq!(header(json), Err(Refusal::Malformed), "{json}");
        }
    }

    #[test]
    fn types_are_compared_without_case_and_prefix() {
        let is_of_type = |json: &str, wanted| {
            let text = format!("{}.{}.c2ln", encode(json), encode("{}"));
            let token = Token::parse(&text).expect("has the form of a token");
            token.header().expect("is understood").is_of_type(wanted)
        };
        for (json, wanted, expected) in [
            (r#"{"alg":"HS256","typ":"at+jwt"}"#, "at+jwt", true),
            (
                r#"{"alg":"HS256","typ":"AT+JWT"}"#,
                "application/at+jwt",
                true,
            ),
            (
                r#"{"alg":"HS256","typ":"application/at+jwt"}"#,
                "at+jwt",
                true,
            ),
            (r#"{"alg":"HS256","typ":"JWT"}"#, "at+jwt", false),
            (r#"{"alg":"HS256","typ":7}"#, "at+jwt", false),
            (r#"{"alg":"HS256"}"#, "at+jwt", false),
        ] {
            assert_eq!(is_of_type(json, wanted), expected, "{json} {wanted}");
        }
    }

    #[test]
    fn keys_in_the_header_are_ignored() {
        let json = r#"{"jwk":{"kty":"oct","k":"AA"},"jku":"https://evil.test","x5c":["AA"],"alg":"HS256","typ":"JWT"}"#;
        assert_eq!(header(json), Ok((Algorithm::Hs256, None)));
    }
}
