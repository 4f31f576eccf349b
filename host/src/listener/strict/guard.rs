//! Follows the requests of a connection through its bytes, in whatever pieces they come.

use super::chunks::{Chunks, Progress};
use super::head::{Body, Framing, Head};
use crate::proxy::Refusal;

/// What a head may measure.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) struct Limits {
    /// Bytes of the whole head.
    pub(in crate::listener) head: usize,
    /// Bytes of the request target.
    pub(in crate::listener) target: usize,
    /// Fields.
    pub(in crate::listener) fields: usize,
}

/// Knows where in which request a connection is.
#[derive(Debug)]
pub(super) struct Guard {
    limits: Limits,
    stage: Stage,
    /// The beginning of an unfinished line. hyper has it already.
    line: Vec<u8>,
    /// Whether the request under way asks for an upgrade.
    upgrade: bool,
    /// Heads that have come to their end.
    heads: u32,
}

#[derive(Debug)]
enum Stage {
    Head(Head),
    Length(u64),
    Chunked(Chunks),
}

/// What may be passed on of the bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    /// All of them.
    Clean,
    /// Those of a request that asks for an upgrade; the others are not HTTP if it is granted.
    Upgrade { keep: usize },
    /// Those before a line that is refused; with `ending` they make a head.
    Refused {
        keep: usize,
        refusal: Refusal,
        ending: Vec<u8>,
    },
    /// Those before the byte that is wrong in a body.
    Broken { keep: usize },
}

enum Step {
    Used(usize),
    Stop(Scanned),
}

impl Guard {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::Head(Head::default()),
            line: Vec::new(),
            upgrade: false,
            heads: 0,
        }
    }

    /// How many requests have come to the end of their head.
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Whether what comes next belongs to the body of a request.
    pub(super) fn in_body(&self) -> bool {
        !matches!(self.stage, Stage::Head(_))
    }

    /// Looks at the next bytes. Must not be called again after it has refused or broken off.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Scanned {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.stage {
                Stage::Head(_) => self.head(at, rest),
                Stage::Length(left) => {
                    let used = (rest.len() as u64).min(*left);
                    *left -= used;
                    if *left == 0 {
                        self.next();
                    }
                    Step::Used(usize::try_from(used).unwrap_or(usize::MAX))
                }
                Stage::Chunked(chunks) => {
                    match chunks.advance(rest, &mut self.line, &self.limits) {
                        Progress::More => Step::Used(rest.len()),
                        Progress::Ended(used) => {
                            self.next();
                            Step::Used(used)
                        }
                        Progress::Broken(used) => Step::Stop(Scanned::Broken { keep: at + used }),
                    }
                }
            };
            match step {
                Step::Used(used) => at += used,
                Step::Stop(scanned) => return scanned,
            }
            if self.upgrade && matches!(self.stage, Stage::Head(_)) {
                self.upgrade = false;
                return Scanned::Upgrade { keep: at };
            }
        }
        Scanned::Clean
    }

    /// The next line of a head, or a part of it.
    fn head(&mut self, at: usize, rest: &[u8]) -> Step {
        let Stage::Head(head) = &mut self.stage else {
            return Step::Used(0);
        };
        let delivered = self.line.len();
        let end = memchr::memchr(b'\n', rest);
        let here = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let line = match delivered {
            0 => here,
            _ => {
                self.line.extend_from_slice(here);
                &self.line
            }
        };
        let looked = match end {
            Some(_) => head.line(line, &self.limits),
            None if head.size + line.len() > self.limits.head => Err(head.too_large(line)),
            None => {
                if delivered == 0 {
                    self.line.extend_from_slice(here);
                }
                return Step::Used(rest.len());
            }
        };
        match looked {
            Ok(framing) => {
                self.line = Vec::new();
                if let Some(framing) = framing {
                    self.body(framing);
                }
                Step::Used(here.len() + 1)
            }
            Err(refusal) => {
                self.line.truncate(delivered);
                Step::Stop(Scanned::Refused {
                    keep: at,
                    refusal,
                    ending: ending(head.begun, &self.line),
                })
            }
        }
    }

    fn body(&mut self, framing: Framing) {
        self.heads = self.heads.wrapping_add(1);
        self.upgrade = framing.upgrade;
        match framing.body {
            Body::Length(0) => self.next(),
            Body::Length(length) => self.stage = Stage::Length(length),
            Body::Chunked => self.stage = Stage::Chunked(Chunks::new()),
        }
    }

    fn next(&mut self) {
        self.stage = Stage::Head(Head::default());
    }
}

/// What makes a head of what hyper has already, when the rest of a line is withheld. Where that is not possible hyper
/// refuses the head itself.
fn ending(begun: bool, line: &[u8]) -> Vec<u8> {
    const VERSION: &[u8] = b"HTTP/1.1";
    let spaces = line.iter().filter(|byte| **byte == b' ').count();
    let (end, line_end): (&[u8], &[u8]) = match line {
        [.., b'\r'] => (b"", b"\n"),
        _ if begun && (line.is_empty() || line.contains(&b':')) => (b"", b"\r\n"),
        _ if begun => (b":", b"\r\n"),
        // A method that nobody sends: the log shows that the request line is not the client's.
        [] => (b"- / HTTP/1.1", b"\r\n"),
        _ if spaces == 0 => (b" / HTTP/1.1", b"\r\n"),
        [.., b' '] if spaces == 1 => (b"/ HTTP/1.1", b"\r\n"),
        _ if spaces == 1 => (b" HTTP/1.1", b"\r\n"),
        _ => {
            let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
            (VERSION.strip_prefix(version).unwrap_or_default(), b"\r\n")
        }
    };
    let mut ending = [end, line_end].concat();
    // The line that was ended may have been the empty one.
    match (begun, line) {
        (true, [] | [b'\r']) => {}
        (false, [b'\r']) => ending.extend_from_slice(b"- / HTTP/1.1\r\n\r\n"),
        _ => ending.extend_from_slice(b"\r\n"),
    }
    ending
}
