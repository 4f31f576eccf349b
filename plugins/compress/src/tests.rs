use std::io::Read;

use postern_plugin::testing::{Host, configure, stream};
use postern_plugin::{BodyStream, ResponseEdits, StreamVerdict};

use super::{Compress, Compressed};
use crate::config::Level;
use crate::encoder::Encoder;
use crate::negotiate::Coding;

fn plugin() -> Compress {
    configure(r#"{"min-size": "10B"}"#).expect("the config is right")
}

type Verdict = StreamVerdict<ResponseEdits, Compressed>;

/// The verdict on an answer of this type, for a client that takes gzip.
fn verdict(method: &str, status: u16, headers: &[(&str, &str)]) -> Verdict {
    let host = Host::new();
    host.request(method, "/")
        .request_header("accept-encoding", "gzip");
    let plugin = plugin();
    host.on_request(&plugin);
    host.on_response_stream(&plugin, status, headers)
}

fn edits(verdict: &Verdict) -> Vec<String> {
    let edits = verdict.edits().map(|edits| edits.headers.as_slice());
    let text = |edit: &postern_plugin::HeaderEdit| match edit {
        postern_plugin::HeaderEdit::Set(header) => {
            format!("{}={}", header.name, header.text().unwrap_or("?"))
        }
        postern_plugin::HeaderEdit::Include(header) => {
            format!("{}~{}", header.name, header.text().unwrap_or("?"))
        }
        postern_plugin::HeaderEdit::Remove(name) => format!("-{name}"),
        other => format!("{other:?}"),
    };
    edits.unwrap_or_default().iter().map(text).collect()
}

fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut decoded),
        Coding::Zstd => {
            structured_zstd::decoding::StreamingDecoder::new(bytes).read_to_end(&mut decoded)
        }
    }
    .expect("it can be decoded");
    decoded
}

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

#[test]
fn what_is_compressed_says_so() {
    let head = [
        ("content-type", "text/html; charset=utf-8"),
        ("etag", "\"1\""),
    ];
    let taken = verdict("GET", 200, &head);
    assert!(matches!(taken, StreamVerdict::Take(..)));
    let expected = [
        "vary~Accept-Encoding",
        "content-encoding=gzip",
        "-accept-ranges",
        "-content-digest",
        "-content-md5",
        "-digest",
        "-repr-digest",
        "etag=W/\"1\"",
    ];
    assert_eq!(edits(&taken), expected);
    assert_eq!(
        edits(&verdict("HEAD", 200, &head)),
        expected,
        "HEAD answers as GET does"
    );
    assert_eq!(edits(&verdict("GET", 404, &head)), expected);
}

#[test]
fn what_must_not_be_compressed_stays_as_it_is() {
    let html = ("content-type", "text/html");
    for (why, status, headers) in [
        ("no type", 200, vec![]),
        ("an image", 200, vec![("content-type", "image/png")]),
        (
            "compressed already",
            200,
            vec![html, ("content-encoding", "br")],
        ),
        ("small", 200, vec![html, ("content-length", "9")]),
        ("a part", 206, vec![html]),
        (
            "a part of another status",
            416,
            vec![html, ("content-range", "bytes */5")],
        ),
        (
            "forbidden",
            200,
            vec![html, ("cache-control", "public, No-Transform")],
        ),
        ("no content", 204, vec![html]),
    ] {
        assert!(
            matches!(verdict("GET", status, &headers), StreamVerdict::Next),
            "{why}"
        );
    }
    let taken = verdict(
        "GET",
        200,
        &[
            html,
            ("content-encoding", "identity"),
            ("content-length", "10"),
        ],
    );
    assert!(matches!(taken, StreamVerdict::Take(..)));
}

#[test]
fn a_client_that_takes_none_still_learns_that_there_is_a_choice() {
    let host = Host::new();
    let plugin = plugin();
    let html = [("content-type", "text/html")];
    for accept in [None, Some("identity"), Some("gzip;q=0")] {
        if let Some(accept) = accept {
            host.request_header("accept-encoding", accept);
        }
        host.on_request(&plugin);
        let verdict = host.on_response_stream(&plugin, 200, &html);
        assert!(matches!(verdict, StreamVerdict::Edit(_)), "{accept:?}");
        assert_eq!(edits(&verdict), ["vary~Accept-Encoding"]);
    }
    Host::new()
        .request_header("accept-encoding", "gzip")
        .request_header("cache-control", "no-transform");
    host.on_request(&plugin);
    assert!(matches!(
        host.on_response_stream(&plugin, 200, &html),
        StreamVerdict::Edit(_)
    ));
}

#[test]
fn a_304_has_the_tag_that_the_compressed_answer_had() {
    let plugin = plugin();
    let tag = [("etag", "\"1\"")];
    let host = Host::new();
    host.request_header("if-none-match", "\"0\", W/\"1\"");
    let verdict = host.on_response_stream(&plugin, 304, &tag);
    assert_eq!(edits(&verdict), ["etag=W/\"1\"", "vary~Accept-Encoding"]);
    Host::new().request_header("if-none-match", "\"1\"");
    let verdict = host.on_response_stream(&plugin, 304, &tag);
    assert!(
        matches!(verdict, StreamVerdict::Next),
        "it holds the content as it was"
    );
}

#[test]
fn every_coding_can_be_decoded_wherever_the_body_is_cut() {
    let text: Vec<u8> = (0..60_000_u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    for coding in CODINGS {
        for level in [Level::Fast, Level::Balanced, Level::Small] {
            for (bytes, size) in [(&text[..], 16 << 10), (&text[..5_000], 1), (&[][..], 1)] {
                let body = Compressed {
                    encoder: Encoder::new(coding, level),
                    flush: false,
                };
                let made = stream(body, bytes.chunks(size)).expect("it is compressed");
                assert_eq!(decode(coding, &made), bytes, "{coding:?} {level:?} {size}");
                assert!(
                    bytes.is_empty() || made.len() < bytes.len() / 2,
                    "{coding:?}"
                );
            }
        }
    }
}

#[test]
fn an_event_can_be_read_before_the_next_one() {
    let taken = verdict("GET", 200, &[("content-type", "text/event-stream")]);
    assert!(taken.into_body().is_some_and(|body| body.flush));
    for coding in CODINGS {
        let mut body = Compressed {
            encoder: Encoder::new(coding, Level::Balanced),
            flush: true,
        };
        let mut sent = Vec::new();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            sent.extend(body.on_chunk(event.into()).expect("it is compressed"));
            let mut decoded = vec![0; 9];
            let mut reader: Box<dyn Read + '_> = match coding {
                Coding::Gzip => Box::new(flate2::read::GzDecoder::new(&sent[..])),
                Coding::Brotli => Box::new(brotli::Decompressor::new(&sent[..], 4096)),
                Coding::Zstd => {
                    let decoder = structured_zstd::decoding::StreamingDecoder::new(&sent[..]);
                    Box::new(decoder)
                }
            };
            for _ in 0..=usize::from(event.contains('2')) {
                reader
                    .read_exact(&mut decoded)
                    .unwrap_or_else(|error| panic!("{coding:?}: {error}"));
            }
            assert_eq!(decoded, event.as_bytes(), "{coding:?}");
        }
    }
}
