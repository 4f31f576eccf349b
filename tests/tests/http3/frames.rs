//! Frames of HTTP/3 written by hand.

use h3::error::Code;
use postern_tests::Upstream;
use postern_tests::eventually::within;
use postern_tests::pki::Authority;

use super::client::{HOST, dial};
use super::gateway;

/// A frame, its length in four bytes (RFC 9114, 7.1).
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap() | 2 << 30;
    [&[kind], &length.to_be_bytes()[..], payload].concat()
}

/// The fields of `POST https://a.example/` (RFC 9204, 4.5 and A), and more.
fn post(more: &[u8]) -> Vec<u8> {
    let fields = [&[0, 0, 0xd4, 0xd7, 0xc1, 0x50, 9], HOST.as_bytes(), more];
    frame(1, &fields.concat())
}

/// What became of bytes on a stream of their own: what came back, or the code with which it was reset.
async fn by_hand(connection: &quinn::Connection, bytes: &[u8]) -> Result<Vec<u8>, u64> {
    let (mut sending, mut receiving) = connection.open_bi().await.unwrap();
    // It may be stopped before it has taken all.
    let _ = sending.write_all(bytes).await;
    let _ = sending.finish();
    match within("an answer", receiving.read_to_end(1 << 20)).await {
        Ok(answer) => Ok(answer),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Err(code.into_inner()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn frames_are_read_as_the_rfc_says() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let (_endpoint, connection) = dial(gateway.address(), &authority, None).await.unwrap();
    // Data without bytes is not the end, and unknown frames mean nothing.
    let parts = [
        post(&[]),
        frame(0, b"ab"),
        frame(0, b""),
        frame(0x21, &[9; 100_000]),
        frame(0, b"cd"),
    ];
    let answer = by_hand(&connection, &parts.concat()).await.unwrap();
    assert!(answer.ends_with(b"served"), "{answer:?}");
    assert_eq!(upstream.last().body, b"abcd");
    assert!(upstream.last().complete);

    // A frame that is cut off is not a body that has ended.
    let mut cut = [post(&[]), frame(0, b"abcdef")].concat();
    cut.truncate(cut.len() - 3);
    let answer = by_hand(&connection, &cut).await;
    assert!(
        answer.as_ref().map_or(true, |it| !it.ends_with(b"served")),
        "{answer:?}"
    );
    assert!(!upstream.last().complete || upstream.last().body == b"abcd");

    // A field name in capitals (RFC 9114, 4.2).
    let capital = post(&[0x23, b'X', b'-', b'A', 1, b'1']);
    let code = by_hand(&connection, &capital).await.unwrap_err();
    assert_eq!(code, Code::H3_MESSAGE_ERROR.value());
    // Nothing of a request at all.
    let code = by_hand(&connection, &[]).await.unwrap_err();
    assert_eq!(code, Code::H3_REQUEST_INCOMPLETE.value());
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn a_head_that_says_it_is_huge_is_not_waited_for() {
    let (upstream, authority) = (Upstream::says("served"), Authority::default());
    let gateway = gateway(&upstream, &authority).await;
    let (_endpoint, connection) = dial(gateway.address(), &authority, None).await.unwrap();
    let (mut sending, _receiving) = connection.open_bi().await.unwrap();
    // A gibibyte of fields is announced.
    sending
        .write_all(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    let code = within("a refusal", sending.stopped()).await.unwrap();
    assert_eq!(code.unwrap().into_inner(), Code::H3_EXCESSIVE_LOAD.value());
}
