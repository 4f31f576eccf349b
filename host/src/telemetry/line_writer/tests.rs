//! Order, bounds, and what happens when the output fails.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

fn counter() -> IntCounter {
    IntCounter::new("dropped", "Dropped.").unwrap()
}

/// Sends what is written, and waits for permission before each write.
struct Gate {
    written: Sender<Vec<u8>>,
    permits: Option<Receiver<()>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(permits) = &self.permits {
            permits.recv().map_err(io::Error::other)?;
        }
        self.written
            .send(bytes.to_vec())
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gate(gated: bool) -> (Output, Receiver<Vec<u8>>, Sender<()>) {
    let (written, output) = channel();
    let (permit, permits) = channel();
    (
        Box::new(Gate {
            written,
            permits: gated.then_some(permits),
        }),
        output,
        permit,
    )
}

#[test]
fn lines_are_written_in_order_and_the_last_ones_when_it_is_dropped() {
    let (output, written, _permit) = gate(false);
    let writer = LineWriter::start(output, Duration::from_secs(3_600), counter()).unwrap();
    let expected: Vec<_> = (0..1_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    for line in &expected {
        writer.clone().write_line(line.as_bytes());
    }
    drop(writer);
    assert_eq!(
        written.iter().flatten().collect::<Vec<_>>(),
        expected.concat().into_bytes()
    );
}

#[test]
fn a_flush_does_not_wait_for_the_linger() {
    let (output, written, _permit) = gate(false);
    let writer = LineWriter::start(output, Duration::from_secs(3_600), counter()).unwrap();
    for line in ["a\n", "b\n", "c\n"] {
        writer.write_line(line.as_bytes());
        writer.flush();
        assert_eq!(
            written.try_iter().flatten().collect::<Vec<_>>(),
            line.as_bytes()
        );
    }
}

#[test]
fn lines_are_dropped_and_counted_when_the_output_is_too_slow() {
    let (output, written, permit) = gate(true);
    let dropped = counter();
    let writer = LineWriter::with_capacity(output, Duration::ZERO, dropped.clone(), 10).unwrap();
    for _ in 0..100 {
        writer.write_line(b"12345\n");
    }
    // At most one line is at the output, and one waits.
    let lost = dropped.get();
    assert!((98..=99).contains(&lost), "{lost}");
    for _ in 0..2 {
        permit.send(()).unwrap();
    }
    drop(writer);
    assert_eq!(written.iter().flatten().count() as u64, (100 - lost) * 6);
}

#[test]
fn lines_that_an_output_refuses_are_counted_and_later_ones_written_to_the_next() {
    let (output, written, _permit) = gate(false);
    drop(written);
    let dropped = counter();
    let writer = LineWriter::start(output, Duration::ZERO, dropped.clone()).unwrap();
    writer.write_line(b"lost\n");
    writer.flush();
    assert_eq!(dropped.get(), 1);
    let (output, written, _permit) = gate(false);
    writer.replace(output);
    writer.write_line(b"kept\n");
    writer.flush();
    assert_eq!(written.try_iter().flatten().collect::<Vec<_>>(), b"kept\n");
}

#[test]
fn many_threads_do_not_mix_their_lines() {
    let (output, written, _permit) = gate(false);
    let writer = LineWriter::start(output, Duration::ZERO, counter()).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let writer = writer.clone();
            scope.spawn(move || {
                for number in 0..500 {
                    writer.write_line(format!("{thread} {number} end\n").as_bytes());
                }
            });
        }
    });
    drop(writer);
    let text = String::from_utf8(written.iter().flatten().collect()).unwrap();
    assert_eq!(text.lines().count(), 4_000);
    assert!(
        text.lines()
            .all(|line| line.ends_with(" end") && line.split(' ').count() == 3)
    );
}
