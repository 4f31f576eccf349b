//! What is wrong with a config, and where.

use std::fmt;

use serde::de::{Expected, Unexpected};

/// What a JSON value is, in the words of TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Boolean,
    Integer,
    Float,
    String,
    List,
    Table,
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Kind::Nothing => "nothing",
            Kind::Boolean => "true or false",
            Kind::Integer => "a whole number",
            Kind::Float => "a number with a fraction",
            Kind::String => "a string",
            Kind::List => "a list",
            Kind::Table => "a table",
        }
    }
}

#[derive(Debug)]
pub(super) struct Error {
    /// The innermost step comes first: it is known first.
    steps: Vec<Step>,
    message: String,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Error {
    pub(super) fn new(message: String) -> Self {
        Error {
            steps: Vec::new(),
            message,
        }
    }

    pub(super) fn unexpected(found: Kind, expected: &dyn Expected) -> Self {
        Error::new(format!(
            "expected {}, found {}",
            describe(expected),
            found.describe()
        ))
    }

    /// The error is in the value of this key.
    pub(super) fn within(mut self, key: &str) -> Self {
        self.steps.push(Step::Key(key.to_owned()));
        self
    }

    /// The error is in this item of a list.
    pub(super) fn at(mut self, index: usize) -> Self {
        self.steps.push(Step::Index(index));
        self
    }
}

/// Names of Rust types mean nothing to an operator.
fn describe(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a map" => String::from("a table"),
        "a sequence" => String::from("a list"),
        "a boolean" => String::from("true or false"),
        "u8" | "u16" | "u32" | "u64" | "usize" => format!("a whole number from 0 ({text})"),
        "i8" | "i16" | "i32" | "i64" | "isize" => format!("a whole number ({text})"),
        other if other.starts_with("struct ") => String::from("a table"),
        _ => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.steps.iter().rev().enumerate() {
            match step {
                Step::Key(key) if position == 0 => write!(formatter, "{key}")?,
                Step::Key(key) => write!(formatter, ".{key}")?,
                Step::Index(index) => write!(formatter, "[{index}]")?,
            }
        }
        let separator = if self.steps.is_empty() { "" } else { ": " };
        write!(formatter, "{separator}{}", self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }

    // The defaults of these two format floats, and bring 20 KiB of code for it.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(true) => "true",
            Unexpected::Bool(false) => "false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => Kind::Integer.describe(),
            Unexpected::Float(_) => Kind::Float.describe(),
            Unexpected::Str(_) | Unexpected::Char(_) => Kind::String.describe(),
            Unexpected::Seq => Kind::List.describe(),
            Unexpected::Map => Kind::Table.describe(),
            _ => "something else",
        };
        Error::new(format!("expected {}, found {found}", describe(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = describe(expected);
        Error::new(match found {
            Unexpected::Unsigned(number) => format!("expected {expected}, found {number}"),
            Unexpected::Signed(number) => format!("expected {expected}, found {number}"),
            Unexpected::Str(text) => format!("expected {expected}, found {text:?}"),
            _ => format!("expected {expected}"),
        })
    }
}
