//! Reading a response head.

use crate::{ResponseHead, header};

impl ResponseHead {
    /// The first value of a header that [`crate::Interest`] asked for; none if it is absent or not UTF-8.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        header::first(&self.headers, name)
    }

    /// All values of a header that [`crate::Interest`] asked for, in the order of the message.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header::values(&self.headers, name)
    }
}
