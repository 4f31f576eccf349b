//! The guard alone: in whatever pieces the bytes come, it decides the same, and what it lets through is a request.

use super::guard::{Guard, Limits, Scanned};
use crate::fuzz::{Fuzz, pieces};
use crate::proxy::Refusal;

const LIMITS: Limits = Limits {
    head: 1_000,
    target: 100,
    fields: 10,
};

/// What hyper gets of these bytes when they come in pieces, and how it ends.
fn passed(pieces: &[&[u8]]) -> (Vec<u8>, Option<Refusal>, bool) {
    let mut guard = Guard::new(LIMITS);
    let mut out = Vec::new();
    for piece in pieces {
        match guard.scan(piece) {
            Scanned::Clean => out.extend_from_slice(piece),
            Scanned::Upgrade { keep } => {
                out.extend_from_slice(&piece[..keep]);
                return (out, None, false);
            }
            Scanned::Broken { keep } => {
                out.extend_from_slice(&piece[..keep]);
                return (out, None, true);
            }
            Scanned::Refused {
                keep,
                refusal,
                ending,
            } => {
                out.extend_from_slice(&piece[..keep]);
                out.extend_from_slice(&ending);
                return (out, Some(refusal), false);
            }
        }
    }
    (out, None, false)
}

const GOOD: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    5;x=y\r\nhello\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n\
    \r\nPUT /b HTTP/1.0\r\nContent-Length: 4\r\n\r\nbodyGET /c HTTP/1.1\r\nHost: c\r\n\r\n";

#[test]
fn what_is_well_formed_passes_in_any_two_pieces() {
    for cut in 0..GOOD.len() {
        let (first, second) = GOOD.split_at(cut);
        assert_eq!(passed(&[first, second]), (GOOD.to_vec(), None, false));
    }
    let single: Vec<&[u8]> = GOOD.chunks(1).collect();
    assert_eq!(passed(&single), (GOOD.to_vec(), None, false));
}

/// Heads that are refused, each for a reason of its own.
const BAD: [&[u8]; 14] = [
    b"GET /a HTTP/1.1\nHost: a\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\n\n",
    b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a HTTP/1.2\r\nHost: a\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    b"GET /a HTTP/1.1\r\nX: a\rb\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
];

#[test]
fn what_is_refused_is_refused_in_any_two_pieces_and_ends_with_a_head() {
    for bad in BAD {
        let (_, whole, _) = passed(&[bad]);
        let refusal = whole.unwrap_or_else(|| panic!("{} passes", bad.escape_ascii()));
        for cut in 0..bad.len() {
            let (first, second) = bad.split_at(cut);
            let (out, refused, _) = passed(&[first, second]);
            assert_eq!(
                refused,
                Some(refusal),
                "{} | {}",
                first.escape_ascii(),
                second.escape_ascii()
            );
            assert!(out.ends_with(b"\r\n\r\n"), "{}", out.escape_ascii());
            // Empty lines before a request are no head: hyper overreads them.
            let out = out.trim_ascii_start();
            assert_eq!(out.windows(4).filter(|end| *end == b"\r\n\r\n").count(), 1);
        }
    }
}

#[test]
fn a_line_that_is_wrong_is_not_passed_on_when_it_comes_whole() {
    let (out, _, _) = passed(&[BAD[10]]);
    assert_eq!(
        out,
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"
    );
    let (out, _, _) = passed(&[BAD[0]]);
    assert_eq!(out, b"- / HTTP/1.1\r\n\r\n");
}

#[test]
fn a_head_is_refused_as_soon_as_it_is_too_large() {
    let target = [b"GET /".as_slice(), &[b'a'; 2_000]].concat();
    assert_eq!(passed(&[&target]).1, Some(Refusal::TargetTooLong));
    let pieces: Vec<&[u8]> = target.chunks(7).collect();
    let (out, refusal, _) = passed(&pieces);
    assert_eq!(refusal, Some(Refusal::TargetTooLong));
    assert!(
        out.len() <= LIMITS.head + 32,
        "{} bytes were passed on",
        out.len()
    );
    // In one piece the space is there, in small ones it is not.
    let method = [&[b'A'; 1_100], b" / HTTP/1.1\r\n".as_slice()].concat();
    let pieces: Vec<&[u8]> = method.chunks(7).collect();
    for pieces in [pieces, vec![&method]] {
        assert_eq!(passed(&pieces).1, Some(Refusal::HeadTooLarge));
    }
    let value = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 2_000]].concat();
    assert_eq!(passed(&[&value]).1, Some(Refusal::HeadTooLarge));
    let lines = format!("GET / HTTP/1.1\r\n{}", "X: a\r\n".repeat(9));
    assert_eq!(passed(&[lines.as_bytes()]).1, None);
    let longer = lines.replace('a', &"a".repeat(200));
    assert_eq!(passed(&[longer.as_bytes()]).1, Some(Refusal::HeadTooLarge));
    let more = lines + "X: a\r\nX: a\r\n";
    assert_eq!(passed(&[more.as_bytes()]).1, Some(Refusal::HeadTooLarge));
}

#[test]
fn a_body_is_broken_off_at_the_byte_that_is_wrong() {
    let head = b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (good, bad) in [
        ("0", "x5\r\nhello\r\n0\r\n\r\n"),
        ("5", " \r\nhello\r\n0\r\n\r\n"),
        ("5", "\nhello\r\n0\r\n\r\n"),
        ("5\r\nhello", "0\r\n\r\n"),
        ("5\r\nhello\r\n0\r\n", "Host: b\r\n\r\n"),
        ("1;", "\x01\r\na"),
        ("7fffffffffffffff", "f\r\na"),
        ("0000000000000000", "1\r\na"),
    ] {
        let body = [good, bad].concat();
        let all = [head, body.as_bytes()].concat();
        let wanted = [head, good.as_bytes()].concat();
        assert_eq!(passed(&[&all]), (wanted, None, true), "{body:?}");
        let single: Vec<&[u8]> = all.chunks(1).collect();
        assert!(passed(&single).2, "{body:?}");
    }
}

#[test]
fn what_follows_a_request_for_an_upgrade_is_held_back() {
    let head = b"GET /a HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi";
    let all = [head.as_slice(), b"\x81\x05hello"].concat();
    assert_eq!(passed(&[&all]), (head.to_vec(), None, false));
}

const WORDS: [&[u8]; 14] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Upgrade: x\r\n",
    b": ",
    b" HTTP/1.1",
    b"GET / HTTP/1.1\r\n",
    b";",
    b"\0",
    b"\xff",
];

/// Bytes that come at once and in pieces are the same to the guard, and what it refuses ends with one whole head.
#[test]
fn fuzz_http1() {
    let mut fuzz = Fuzz::new([GOOD].into_iter().chain(BAD), WORDS);
    while let Some(input) = fuzz.next() {
        let whole = passed(&[&input]);
        let pieces = pieces(&mut fuzz, &input);
        let cut = passed(&pieces);
        let same = (whole.1, whole.2) == (cut.1, cut.2);
        // A line that came in pieces was passed on before it was known to be wrong; nothing else differs.
        let prefix = match cut {
            (_, Some(_), _) => true,
            (ref out, None, true) => out.starts_with(&whole.0),
            (ref out, None, false) => *out == whole.0,
        };
        if !(same && prefix && (whole.1.is_none() || whole.0.ends_with(b"\r\n\r\n"))) {
            fuzz.found(&input);
            panic!("{whole:?} at once, {cut:?} in pieces");
        }
    }
}
