//! What is wrong with a value of a config, in words for the operator.

use std::fmt;

use serde::de::{Expected, Unexpected};

#[derive(Debug)]
pub(super) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error(message.to_string())
    }

    // The defaults of these two format floats, and bring 20 KiB of code for it.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(true) => "true",
            Unexpected::Bool(false) => "false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Str(_) | Unexpected::Char(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "something else",
        };
        Error(format!("expected {}, found {found}", describe(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = describe(expected);
        Error(match found {
            Unexpected::Unsigned(number) => format!("expected {expected}, found {number}"),
            Unexpected::Signed(number) => format!("expected {expected}, found {number}"),
            Unexpected::Str(text) => format!("expected {expected}, found {text:?}"),
            _ => format!("expected {expected}"),
        })
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
