//! Input that nobody thought of: changed at random from examples, by a seed, for a number of cases or a time.
//!
//! A stable compiler has no coverage to be guided by; what the examples and words of a target do not reach is not reached.
//! `cargo xtask fuzz TARGET --seconds N` runs a target for longer than the tests do.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Cases of a run that is one test among many.
const FEW: u64 = 2_000;
/// Inputs are not made larger than this.
const LARGEST: usize = 16 << 10;
const MOST_CHANGES: usize = 6;

/// A seeded source of inputs.
pub(crate) struct Fuzz {
    random: u64,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    seed: u64,
    cases: u64,
    begun: Instant,
    limit: Option<Duration>,
}

impl Fuzz {
    /// Inputs are made from examples, and from words that mean something to the target.
    #[must_use]
    pub(crate) fn new<E: AsRef<[u8]>, W: AsRef<[u8]>>(
        corpus: impl IntoIterator<Item = E>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let seed = number("POSTERN_FUZZ_SEED").unwrap_or(1);
        Self {
            // Zero would stay zero.
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            corpus: corpus
                .into_iter()
                .map(|text| text.as_ref().to_vec())
                .collect(),
            words: words
                .into_iter()
                .map(|text| text.as_ref().to_vec())
                .collect(),
            seed,
            cases: 0,
            begun: Instant::now(),
            limit: number("POSTERN_FUZZ_SECONDS").map(Duration::from_secs),
        }
    }

    /// Checks one input after another. A panic of the check is shown with the input that caused it.
    pub(crate) fn run(mut self, check: impl Fn(&[u8])) {
        while let Some(input) = self.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
                self.found(&input);
                resume_unwind(panic);
            }
        }
    }

    /// Says which input it was.
    pub(crate) fn found(&self, input: &[u8]) {
        eprintln!(
            "fuzz: seed {}, case {}: b\"{}\"",
            self.seed,
            self.cases,
            input.escape_ascii()
        );
    }

    /// The next input; none when it is enough.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let enough = match self.limit {
            Some(limit) => self.begun.elapsed() >= limit,
            None => self.cases >= FEW,
        };
        if enough {
            let time = self.begun.elapsed();
            eprintln!(
                "fuzz: {} cases in {time:.1?}, seed {}",
                self.cases, self.seed
            );
            return None;
        }
        self.cases += 1;
        let mut input = self.example();
        for _ in 0..self.below(MOST_CHANGES + 1) {
            self.change(&mut input);
        }
        input.truncate(LARGEST);
        Some(input)
    }

    /// A number below a limit; zero below zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // xorshift64* (Vigna, 2016)
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let number = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number)
            .unwrap_or(0)
            .checked_rem(limit)
            .unwrap_or(0)
    }

    fn example(&mut self) -> Vec<u8> {
        let number = self.below(self.corpus.len());
        self.corpus.get(number).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(8) {
            0 if at < input.len() => input[at] = u8::try_from(self.below(256)).unwrap_or(0),
            1 if at < input.len() => input[at] ^= 1 << self.below(8),
            2 if at < end => drop(input.drain(at..end)),
            3 if at < end => {
                let piece = input[at..end].to_vec();
                let times = 1 + self.below(4) * self.below(16);
                input.splice(at..at, piece.repeat(times));
            }
            4 => input.truncate(at),
            5 => {
                let other = self.example();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let number = self.below(self.words.len());
                let word = self.words.get(number).cloned().unwrap_or_default();
                input.splice(at..at, word);
            }
        }
    }
}

/// The input in pieces of random sizes.
pub(crate) fn pieces<'a>(fuzz: &mut Fuzz, mut input: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let (piece, rest) = input.split_at(1 + fuzz.below(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}
