//! The frames of a stream on the way in (RFC 9114, 7.1), handed to the library one at a time.
//!
//! The library keeps what it reads until a frame is whole, however long its sender says that it is, and reads on before it
//! has looked at what it has. So the borders are found here: it gets the head of a frame and then its payload, a frame that
//! it would have to keep is short, and one that means nothing to it is left out. The head of a request is looked at as well.

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use super::section;

/// A stream of one direction that carries frames (RFC 9114, 6.2.1).
const CONTROL_STREAM: u64 = 0;
const DATA: u64 = 0;
const HEADERS: u64 = 1;
/// Above this, no frame has a meaning to us.
const LAST_KNOWN: u64 = 0x0d;

/// Why a stream is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A frame is longer than it may be.
    TooLong,
    /// The head of a request is malformed.
    Malformed,
}

/// Where a stream is among its frames.
pub(super) struct Frames {
    state: State,
    /// Longest frame but data, whose payload need not be kept.
    max_length: u64,
    /// Whether the head of a request is yet to come.
    awaits_head: bool,
}

enum State {
    /// In the number that says what a stream of one direction is for.
    Purpose(Start),
    /// In the head of a frame.
    Head(Start),
    /// In the payload of a frame that is passed on.
    Payload(u64),
    /// In the head of a request, of which this came: it is passed on as a whole.
    Section(u64, BytesMut),
    /// In the payload of one that is not.
    Ignored(u64),
    /// In a stream that has no frames.
    Raw,
}

type Start = SmallVec<[u8; 16]>;

impl Frames {
    /// Of a stream that a request comes on.
    pub(super) fn of_request(max_length: u64) -> Self {
        Self {
            state: State::Head(Start::new()),
            max_length,
            awaits_head: true,
        }
    }

    /// Of a stream of one direction.
    pub(super) fn of_one_direction(max_length: u64) -> Self {
        Self {
            state: State::Purpose(Start::new()),
            max_length,
            awaits_head: false,
        }
    }

    /// Whether the stream may end here.
    pub(super) fn is_between(&self) -> bool {
        match &self.state {
            State::Head(start) => start.is_empty(),
            State::Payload(_) | State::Section(..) | State::Ignored(_) => false,
            State::Purpose(_) | State::Raw => true,
        }
    }

    /// What is to be passed on next of what came. Nothing when more must come first.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Refusal> {
        while !input.is_empty() {
            match &mut self.state {
                State::Raw => return Ok(Some(std::mem::take(input))),
                State::Payload(left) => {
                    let piece = take(input, left);
                    self.end_of_payload();
                    return Ok(Some(piece));
                }
                State::Section(left, came) => {
                    let piece = take(input, left);
                    let section = match (came.is_empty(), *left) {
                        // Most come in one piece.
                        (true, 0) => piece,
                        (_, left) => {
                            came.extend_from_slice(&piece);
                            if left > 0 {
                                continue;
                            }
                            came.split().freeze()
                        }
                    };
                    self.state = State::Head(Start::new());
                    return match section::check(&section) {
                        Ok(()) => Ok(Some(section)),
                        Err(section::Malformed) => Err(Refusal::Malformed),
                    };
                }
                State::Ignored(left) => {
                    take(input, left);
                    self.end_of_payload();
                }
                State::Purpose(start) => {
                    start.push(input.get_u8());
                    if let Some((purpose, _)) = number(start) {
                        let passed = Bytes::copy_from_slice(start);
                        self.state = match purpose {
                            CONTROL_STREAM => State::Head(Start::new()),
                            _ => State::Raw,
                        };
                        return Ok(Some(passed));
                    }
                }
                State::Head(start) => {
                    start.push(input.get_u8());
                    if let Some((kind, rest)) = number(start)
                        && let Some((length, _)) = number(rest)
                    {
                        let head = Bytes::copy_from_slice(start);
                        if self.begin(kind, length)? {
                            return Ok(Some(head));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// The head of a frame has come. Whether the frame is passed on.
    fn begin(&mut self, kind: u64, length: u64) -> Result<bool, Refusal> {
        // The library takes data without bytes for the end of all data.
        let passed = kind <= LAST_KNOWN && (kind != DATA || length > 0);
        if passed && kind != DATA && length > self.max_length {
            return Err(Refusal::TooLong);
        }
        let is_head = kind == HEADERS && std::mem::take(&mut self.awaits_head);
        self.state = match passed {
            true if is_head && length > 0 => State::Section(length, BytesMut::new()),
            true => State::Payload(length),
            false => State::Ignored(length),
        };
        self.end_of_payload();
        Ok(passed)
    }

    fn end_of_payload(&mut self) {
        if matches!(self.state, State::Payload(0) | State::Ignored(0)) {
            self.state = State::Head(Start::new());
        }
    }
}

/// At most `left` bytes, which are subtracted from it.
fn take(input: &mut Bytes, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).unwrap_or(usize::MAX);
    let piece = input.split_to(input.len().min(length));
    *left -= piece.len() as u64;
    piece
}

/// The number at the beginning (RFC 9000, 16), and what follows. Nothing while some of it is missing.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = 1_usize << (first >> 6);
    let (number, rest) = bytes.split_at_checked(length)?;
    let first = u64::from(first & 0b0011_1111);
    let following = number.iter().skip(1);
    let value = following.fold(first, |value, byte| value << 8 | u64::from(*byte));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of a stream that comes in parts of `size` bytes, and whether it may end there.
    fn passed(
        mut frames: Frames,
        stream: &[u8],
        size: usize,
    ) -> Result<(Vec<Bytes>, bool), Refusal> {
        let mut pieces = Vec::new();
        for part in stream.chunks(size) {
            let mut input = Bytes::copy_from_slice(part);
            while let Some(piece) = frames.next(&mut input)? {
                pieces.push(piece);
            }
        }
        Ok((pieces, frames.is_between()))
    }

    #[test]
    fn numbers_are_read_as_the_rfc_shows() {
        // The examples of RFC 9000, A.1.
        for (bytes, value) in [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            assert_eq!(number(bytes), Some((value, &[][..])), "{bytes:x?}");
            let (_, part) = bytes.split_last().unwrap();
            assert_eq!(number(part), None, "{part:x?}");
        }
    }

    #[test]
    fn heads_and_payloads_are_passed_on_apart() {
        let stream = [1, 2, 7, 8, 0, 3, 1, 2, 3];
        let (pieces, may_end) = passed(Frames::of_request(10), &stream, 100).unwrap();
        assert_eq!(pieces, [&[1, 2][..], &[7, 8], &[0, 3], &[1, 2, 3]]);
        assert!(may_end);
        // A head as a whole, however it comes, and trailers as they come.
        let stream = [1, 4, 0, 0, 0xd1, 0xc1, 1, 2, 0, 0xd1];
        for size in 1..=stream.len() {
            let (pieces, _) = passed(Frames::of_request(10), &stream, size).unwrap();
            assert_eq!(pieces[1], [0, 0, 0xd1, 0xc1][..], "{size}");
            assert_eq!(pieces.concat(), stream, "{size}");
        }
    }

    #[test]
    fn a_malformed_head_is_not_passed_on() {
        let stream = [1, 4, 0, 0, 0xc1, 0xc1, 0, 1, 9];
        for size in 1..=stream.len() {
            let refused = passed(Frames::of_request(10), &stream, size);
            assert_eq!(refused, Err(Refusal::Malformed), "{size}");
        }
    }

    #[test]
    fn what_means_nothing_is_left_out_however_it_comes() {
        // A frame of kind 0x21 with two bytes, data without bytes, and another of kind 0x21 without any.
        let stream = [1, 1, 7, 0x21, 2, 9, 9, 0, 0, 0x21, 0, 0, 1, 5];
        for size in 1..=stream.len() {
            let (pieces, may_end) = passed(Frames::of_request(10), &stream, size).unwrap();
            assert_eq!(pieces.concat(), [1, 1, 7, 0, 1, 5], "{size}");
            assert!(may_end);
        }
    }

    #[test]
    fn only_data_may_be_long() {
        let of = |stream: &[u8]| passed(Frames::of_request(10), stream, 100);
        assert_eq!(of(&[1, 11]), Err(Refusal::TooLong));
        assert_eq!(of(&[4, 0x40, 11]), Err(Refusal::TooLong));
        assert!(of(&[1, 10]).is_ok());
        assert!(of(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_ok());
        assert!(of(&[0x21, 0x7f, 0xff]).is_ok(), "it is not kept");
    }

    #[test]
    fn a_stream_may_end_between_frames_only() {
        for (stream, may_end) in [
            (&[][..], true),
            (&[1], false),
            (&[1, 1], false),
            (&[1, 1, 7], true),
            (&[0, 2, 7], false),
            (&[0x21, 1], false),
        ] {
            let (_, found) = passed(Frames::of_request(10), stream, 100).unwrap();
            assert_eq!(found, may_end, "{stream:?}");
        }
    }

    #[test]
    fn streams_of_one_direction_have_frames_if_they_control() {
        let of = |stream: &[u8]| {
            passed(Frames::of_one_direction(10), stream, 100).map(|it| it.0.concat())
        };
        assert_eq!(of(&[0, 0x21, 1, 9, 4, 0]), Ok(vec![0, 4, 0]));
        assert_eq!(of(&[0, 4, 11]), Err(Refusal::TooLong));
        assert_eq!(
            of(&[2, 0x21, 1, 9]),
            Ok(vec![2, 0x21, 1, 9]),
            "the encoder's"
        );
    }
}
