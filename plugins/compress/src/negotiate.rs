//! Which coding a client prefers (RFC 9110, 12.5.3).

use serde::Deserialize;

/// A content coding that this plugin can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Coding {
    Gzip,
    #[serde(rename = "br")]
    Brotli,
    Zstd,
}

impl Coding {
    /// The name in `Content-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    fn is(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
            || self == Coding::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// The coding of `offered` that the client weighs most; of those that weigh the same, the first. None where the client
/// takes none of them, or likes the content better as it is.
pub(crate) fn choose(accept_encoding: &str, offered: &[Coding]) -> Option<Coding> {
    let weight = |is: &dyn Fn(&str) -> bool| {
        elements(accept_encoding)
            .find(|(name, _)| is(name))
            .map(|(_, weight)| weight)
    };
    let any = weight(&|name| name == "*");
    // Identity is always acceptable, but what is not weighed is not preferred to anything.
    let identity = weight(&|name| name.eq_ignore_ascii_case("identity")).unwrap_or(0);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = weight(&|name| coding.is(name)).or(any).unwrap_or(0);
        if weight > best.map_or(0, |(_, most)| most) {
            best = Some((*coding, weight));
        }
    }
    best.filter(|(_, weight)| *weight >= identity)
        .map(|(coding, _)| coding)
}

/// Names and weights in thousandths; an element that is malformed weighs nothing.
fn elements(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').filter_map(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, "q=1"));
        let name = name.trim();
        let weight = parameters
            .trim()
            .strip_prefix(['q', 'Q'])
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .and_then(|value| thousandths(value.trim()))
            .unwrap_or(0);
        (!name.is_empty()).then_some((name, weight))
    })
}

/// `0`, `1`, and up to three digits between them.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, digits) = value.split_once('.').unwrap_or((value, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Gzip, Zstd};
    use super::{Coding, choose, thousandths};

    #[test]
    fn the_client_prefers_and_the_operator_breaks_ties() {
        let offered: &[Coding] = &[Zstd, Brotli, Gzip];
        for (accept, chosen) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip;q=0.9, br;q=0.8", Some(Gzip)),
            ("GZIP ; Q=0.5", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Zstd)),
            ("*;q=0.1, br;q=0.2", Some(Brotli)),
            ("zstd;q=0, *", Some(Brotli)),
            ("gzip;q=0", None),
            ("deflate", None),
            ("identity", None),
            ("", None),
            ("gzip;q=0.5, identity", None),
            ("gzip, identity", Some(Gzip)),
            ("gzip;q=0.5, identity;q=0.1", Some(Gzip)),
            ("identity;q=0, *;q=0", None),
            ("gzip;q=2", None),
            ("gzip;level=9", None),
            (",,gzip,", Some(Gzip)),
        ] {
            assert_eq!(choose(accept, offered), chosen, "{accept:?}");
        }
        assert_eq!(choose("br, gzip", &[Gzip]), Some(Gzip));
    }

    #[test]
    fn weights_have_at_most_three_digits() {
        for (text, weight) in [
            ("1", Some(1_000)),
            ("1.000", Some(1_000)),
            ("0.25", Some(250)),
            ("0.", Some(0)),
            ("0", Some(0)),
            ("1.001", None),
            ("0.1234", None),
            ("-0", None),
            ("", None),
        ] {
            assert_eq!(thousandths(text), weight, "{text:?}");
        }
    }
}
