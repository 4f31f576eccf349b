//! Headers that no proxy would send.

use super::{Endpoints, Extent, HeaderError, MAX_HEADER, MAX_LINE, SIGNATURE, measure, parse};
use crate::fuzz::Fuzz;

const LINES: [&str; 5] = [
    "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\nGET / HTTP/1.1\r\n\r\n",
    "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 4711 443\r\n",
    "PROXY UNKNOWN\r\n",
    "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    "GET / HTTP/1.1\r\n\r\n",
];
const WORDS: [&[u8]; 16] = [
    SIGNATURE,
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN ",
    b"\r\n",
    b" ",
    b"0",
    b"65536",
    b"255.255.255.255",
    b"::",
    b"\x20",
    b"\x21\x11",
    b"\x21\x21",
    b"\0\x0c",
    b"\xff\xff",
];

/// A header of version 2 for a family, with so many bytes after its length.
fn binary(family: u8, length: u8) -> Vec<u8> {
    let content = (0..length).collect::<Vec<_>>();
    [SIGNATURE, &[0x21, family, 0, length], &content].concat()
}

/// The bytes as they come in: each time as many as are asked for.
fn grown(bytes: &[u8]) -> Option<Result<usize, HeaderError>> {
    let mut wanted = 1;
    while let Some(seen) = bytes.get(..wanted) {
        match measure(seen) {
            Ok(Extent::Whole(length)) => return Some(Ok(length)),
            Ok(Extent::AtLeast(length)) => {
                assert!(length > wanted, "it asks for what it has");
                wanted = length;
            }
            Err(error) => return Some(Err(error)),
        }
    }
    None
}

/// What must be written there for these endpoints. None where there is more than one way to write it.
fn written(
    Endpoints {
        source,
        destination,
    }: Endpoints,
) -> Option<(String, Vec<u8>)> {
    let (std::net::IpAddr::V4(from), std::net::IpAddr::V4(to)) = (source.ip(), destination.ip())
    else {
        return None;
    };
    let (from_port, to_port) = (source.port(), destination.port());
    let line = format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n");
    let ports = [from_port.to_be_bytes(), to_port.to_be_bytes()].concat();
    let binary = [from.octets().as_slice(), &to.octets(), &ports].concat();
    Some((line, binary))
}

/// A header ends at the same byte however it comes, within its limits; what follows does not change it, and the addresses are
/// those that are written there.
#[test]
fn fuzz_proxy_protocol() {
    let families = [(0x00, 0), (0x11, 12), (0x12, 20), (0x21, 36), (0x31, 216)];
    let corpus = LINES
        .into_iter()
        .map(|line| line.as_bytes().to_vec())
        .chain(families.map(|(family, length)| binary(family, length)));
    Fuzz::new(corpus, WORDS).run(|input| {
        let grown = grown(input);
        let length = match measure(input) {
            Ok(Extent::Whole(length)) => length,
            Ok(Extent::AtLeast(length)) => {
                assert!(length > input.len() && grown.is_none(), "{grown:?}");
                return;
            }
            Err(error) => {
                let error = error.to_string();
                let grown = grown.map(|grown| grown.map_err(|error| error.to_string()));
                assert_eq!(grown, Some(Err(error)));
                return;
            }
        };
        assert!(
            matches!(grown, Some(Ok(same)) if same == length),
            "{grown:?}"
        );
        let header = &input[..length];
        let is_binary = header.starts_with(SIGNATURE);
        assert!(length <= if is_binary { MAX_HEADER } else { MAX_LINE });
        let Ok(Some(endpoints)) = parse(header) else {
            return;
        };
        let Some((line, octets)) = written(endpoints) else {
            return;
        };
        match is_binary {
            true => assert!(header[super::FIXED..].starts_with(&octets)),
            false => assert_eq!(header, line.as_bytes()),
        }
    });
}
