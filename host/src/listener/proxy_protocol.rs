//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): before anything else, a proxy in
//! front of us says on whose behalf it connected.
//!
//! How long a header is, is found out here: nothing behind it may be read. What it says, the parser of `ppp` finds out.

use std::net::SocketAddr;

use ppp::v2::{Addresses, PROTOCOL_PREFIX as SIGNATURE};
use ppp::{v1, v2};

use super::stream::Rewound;

/// What every line of version 1 begins with.
const LINE: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// Of version 2: signature, command, family and length.
const FIXED: usize = 16;
/// Command and length of version 2.
const COMMAND: usize = 12;
const LENGTH: usize = 14;
/// The command `LOCAL`: the proxy speaks for itself, such as for a health check, and the rest means nothing.
const LOCAL: u8 = 0x20;
/// Most bytes of a header of version 2. Addresses take 216 at most; certificates' names and the like come on top.
const MAX_HEADER: usize = 4 << 10;

/// Who connected to the proxy, and to which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
}

/// Why a connection is not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("it ended before it said anything")]
    Silent,
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    #[error("its PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
    #[error("its PROXY protocol header is malformed: {0}")]
    Malformed(String),
    #[error("it ended within the PROXY protocol header")]
    Truncated,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Reads the header. None where the proxy speaks for itself or does not know: the socket's own addresses hold then.
///
/// # Errors
/// When there is no valid header. The connection must be closed then: it is not known who speaks.
pub(super) async fn read(stream: &mut Rewound) -> Result<Option<Endpoints>, HeaderError> {
    let mut wanted = 1;
    loop {
        let bytes = stream.peek(wanted).await?;
        if bytes.len() < wanted {
            return Err(match bytes {
                [] => HeaderError::Silent,
                _ => HeaderError::Truncated,
            });
        }
        match measure(bytes)? {
            Extent::Whole(length) => {
                let header = bytes.get(..length).unwrap_or_default();
                let endpoints = parse(header)?;
                stream.skip(length);
                return Ok(endpoints);
            }
            Extent::AtLeast(length) => wanted = length,
        }
    }
}

/// How long a header is.
#[derive(Debug, PartialEq, Eq)]
enum Extent {
    /// So long, and all of it is there.
    Whole(usize),
    /// So many bytes must be there to say more; there are fewer.
    AtLeast(usize),
}

fn measure(bytes: &[u8]) -> Result<Extent, HeaderError> {
    if bytes.starts_with(SIGNATURE) {
        let Some(&[high, low]) = bytes.get(LENGTH..FIXED) else {
            return Ok(Extent::AtLeast(FIXED));
        };
        let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
        return match length {
            length if length > MAX_HEADER => Err(HeaderError::TooLong(MAX_HEADER)),
            length if length > bytes.len() => Ok(Extent::AtLeast(length)),
            length => Ok(Extent::Whole(length)),
        };
    }
    if bytes.starts_with(LINE) {
        let line = bytes.get(..MAX_LINE).unwrap_or(bytes);
        let end = line.windows(2).position(|pair| pair == b"\r\n");
        return match end {
            Some(end) => Ok(Extent::Whole(end + 2)),
            None if bytes.len() >= MAX_LINE => Err(HeaderError::TooLong(MAX_LINE)),
            None => Ok(Extent::AtLeast(bytes.len() + 1)),
        };
    }
    match SIGNATURE.starts_with(bytes) || LINE.starts_with(bytes) {
        true => Ok(Extent::AtLeast(bytes.len() + 1)),
        false => Err(HeaderError::Missing),
    }
}

fn parse(header: &[u8]) -> Result<Option<Endpoints>, HeaderError> {
    let malformed = |error: &dyn std::fmt::Display| HeaderError::Malformed(error.to_string());
    if !header.starts_with(SIGNATURE) {
        let said = v1::Header::try_from(header).map_err(|error| malformed(&error))?;
        // The parser takes `+443` for a port.
        if said.addresses != v1::Addresses::Unknown && header.contains(&b'+') {
            return Err(malformed(&"a port has a sign"));
        }
        return Ok(match said.addresses {
            v1::Addresses::Tcp4(said) => Some(Endpoints {
                source: (said.source_address, said.source_port).into(),
                destination: (said.destination_address, said.destination_port).into(),
            }),
            v1::Addresses::Tcp6(said) => Some(Endpoints {
                source: (said.source_address, said.source_port).into(),
                destination: (said.destination_address, said.destination_port).into(),
            }),
            v1::Addresses::Unknown => None,
        });
    }
    // The family of a local connection is to be ignored, whatever it is.
    if header.get(COMMAND) == Some(&LOCAL) {
        return Ok(None);
    }
    let header = v2::Header::try_from(header).map_err(|error| malformed(&error))?;
    Ok(match header.addresses {
        Addresses::IPv4(said) => Some(Endpoints {
            source: (said.source_address, said.source_port).into(),
            destination: (said.destination_address, said.destination_port).into(),
        }),
        Addresses::IPv6(said) => Some(Endpoints {
            source: (said.source_address, said.source_port).into(),
            destination: (said.destination_address, said.destination_port).into(),
        }),
        Addresses::Unix(_) | Addresses::Unspecified => None,
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::super::stream::Socket;
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("it is short");
        [
            SIGNATURE,
            &[command, family],
            &length.to_be_bytes(),
            content,
        ]
        .concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb];

    /// What is made of bytes that come `step` at a time before the peer ends, and what can be read after them.
    async fn outcome(bytes: &[u8], step: usize) -> (String, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().expect("there are sockets");
        let mut stream = Rewound::new(Socket::Right(ours));
        let sender = async {
            for part in bytes.chunks(step) {
                theirs.write_all(part).await.expect("it is read");
                tokio::task::yield_now().await;
            }
            theirs.shutdown().await.expect("it is open");
        };
        let (read, ()) = tokio::join!(read(&mut stream), sender);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("it is open");
        let said = match read {
            Ok(Some(Endpoints {
                source,
                destination,
            })) => format!("{source} {destination}"),
            Ok(None) => "itself".into(),
            Err(error) => error.to_string(),
        };
        (said, rest)
    }

    #[tokio::test]
    async fn headers_of_both_versions_are_read_to_their_end_and_no_further() {
        let v6 = [
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            [0; 16],
        ]
        .concat();
        let v6 = [v6.as_slice(), &[0, 80, 1, 0xbb]].concat();
        let tlv = [V4, &[0x04, 0, 3, 1, 2, 3], &[0xe0, 0, 0]].concat();
        let unix = [[b'/'; 216].as_slice(), &[0x04, 0, 0]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(),
                "192.0.2.1:4711 10.0.0.1:443",
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(),
                "[2001:db8::1]:4711 [::1]:443",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "itself"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "itself"),
            (binary(0x21, 0x11, V4), "192.0.2.1:4711 10.0.0.1:443"),
            (binary(0x21, 0x11, &tlv), "192.0.2.1:4711 10.0.0.1:443"),
            // A client that spoke over UDP to the proxy, such as in HTTP/3.
            (binary(0x21, 0x12, V4), "192.0.2.1:4711 10.0.0.1:443"),
            (binary(0x21, 0x21, &v6), "[2001:db8::1]:80 [::]:443"),
            (binary(0x21, 0x22, &v6), "[2001:db8::1]:80 [::]:443"),
            (binary(0x21, 0x31, &unix), "itself"),
            (binary(0x21, 0x00, b""), "itself"),
            (binary(0x21, 0x00, &[7; 100]), "itself"),
            (binary(0x20, 0x00, b""), "itself"),
            (binary(0x20, 0x11, V4), "itself"),
            (binary(0x20, 0x99, &[1; 3]), "itself"),
            (
                binary(0x21, 0x11, &[V4, &[0; MAX_HEADER - FIXED - 12]].concat()),
                "192.0.2.1:4711 10.0.0.1:443",
            ),
        ] {
            for step in [1, 7, 5_000] {
                let bytes = [header.as_slice(), b"GET /\r\n\r\n"].concat();
                let (said, rest) = outcome(&bytes, step).await;
                assert_eq!(said, expected, "{}", header.escape_ascii());
                assert_eq!(rest, b"GET /\r\n\r\n", "{}", header.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long_line = [b"PROXY UNKNOWN ".as_slice(), &[b'a'; 200]].concat();
        assert_refused(vec![
            (b"".to_vec(), "before it said"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "does not begin"),
            (b"PRI * HTTP/2.0\r\n\r\n".to_vec(), "does not begin"),
            (
                b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(),
                "does not begin",
            ),
            (
                b"PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(),
                "does not begin",
            ),
            (b"\r\n\r\n\0\r\nQUIX\n".to_vec(), "does not begin"),
            (b"PROX".to_vec(), "ended within"),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443".to_vec(),
                "ended within",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n".to_vec(),
                "ended within",
            ),
            (SIGNATURE.to_vec(), "ended within"),
            (
                binary(0x21, 0x11, V4).split_at(20).0.to_vec(),
                "ended within",
            ),
            (long_line, "longer than 107"),
            (
                [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
                "longer than 4096",
            ),
            (
                [SIGNATURE, &[0x20, 0x00, 0xff, 0xff]].concat(),
                "longer than 4096",
            ),
        ])
        .await;
    }

    #[tokio::test]
    async fn a_malformed_header_is_refused() {
        assert_refused(vec![
            (
                b"PROXY TCP5 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 65536\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 0443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 +443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 2001:db8::1 ::1 4711 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4  192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(),
                "malformed",
            ),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 5\r\n".to_vec(),
                "malformed",
            ),
            (b"PROXY \xff\xfe\r\n".to_vec(), "malformed"),
            (binary(0x31, 0x11, V4), "malformed"),
            (binary(0x22, 0x11, V4), "malformed"),
            (binary(0x21, 0x41, V4), "malformed"),
            (binary(0x21, 0x13, V4), "malformed"),
            (binary(0x21, 0x11, &V4[..11]), "malformed"),
            (binary(0x21, 0x21, V4), "malformed"),
            (binary(0x21, 0x31, V4), "malformed"),
        ])
        .await;
    }

    async fn assert_refused(cases: Vec<(Vec<u8>, &str)>) {
        for (bytes, expected) in cases {
            let (said, _) = outcome(&bytes, 3).await;
            assert!(said.contains(expected), "{}: {said}", bytes.escape_ascii());
        }
    }
}
