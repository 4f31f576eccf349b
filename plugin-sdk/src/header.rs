//! Header fields, and finding them in the short lists that heads carry.

use crate::Header;

/// The headers that belong to the gateway: a verdict that edits one is refused. In lower case.
pub const FRAMING_HEADERS: [&str; 12] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Header {
    /// A header field.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Header {
            name: name.into(),
            value: value.into(),
        }
    }

    /// The value as text; none if it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

/// All values of a name, compared without case.
pub(crate) fn values<'a>(headers: &'a [Header], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.as_slice())
}

/// The first value of a name, if it is text.
pub(crate) fn first<'a>(headers: &'a [Header], name: &'a str) -> Option<&'a str> {
    values(headers, name)
        .next()
        .and_then(|value| std::str::from_utf8(value).ok())
}

/// Checks a header name of a configuration that the plugin will edit: letters, digits and the signs of a token (RFC 9110,
/// 5.6.2), and not the gateway's own. Returns it in lower case, or says what is wrong; put the field's path in front.
pub fn editable_name(name: &str) -> Result<String, String> {
    if !is_token(name) {
        return Err(format!(
            "{name:?} is no header name: expected letters, digits and -"
        ));
    }
    let name = name.to_ascii_lowercase();
    if FRAMING_HEADERS.contains(&name.as_str()) {
        return Err(format!(
            "{name:?} belongs to the gateway and cannot be edited"
        ));
    }
    Ok(name)
}

/// Whether a text is a token (RFC 9110, 5.6.2): a header name, or a method.
pub fn is_token(text: &str) -> bool {
    let sign = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || sign(byte))
}

/// Whether a byte may stand in a header value (RFC 9110, 5.5): anything but control characters, tab excepted.
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_edited() {
        assert_eq!(
            editable_name("X-Request_ID"),
            Ok(String::from("x-request_id"))
        );
        for bad in [
            "",
            "x y",
            "x:y",
            "ä",
            "Host",
            "Transfer-Encoding",
            "Proxy-Authorization",
        ] {
            assert!(editable_name(bad).is_err(), "{bad:?}");
        }
    }
}
