//! What placeholders stand for, from the host.

use postern_plugin::{Header, exchange};

use crate::template::Facts;

/// Asks the host only for what was not handed over.
pub(crate) struct HostFacts<'a> {
    /// The request headers of `interest`, in the request phase.
    pub(crate) headers: Option<&'a [Header]>,
}

impl Facts for HostFacts<'_> {
    fn consumer(&self) -> Option<String> {
        exchange::attribute("consumer")
    }

    fn tier(&self) -> Option<String> {
        exchange::attribute("consumer.tier")
    }

    fn tls(&self, name: &str) -> Option<String> {
        exchange::attribute(name)
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        match self.headers {
            Some(headers) => headers
                .iter()
                .find(|header| header.name == name)
                .map(|header| header.value.clone()),
            None => exchange::header_values(name).into_iter().next(),
        }
    }

    fn path_parameter(&self, name: &str) -> Option<String> {
        exchange::path_parameter(name)
    }

    fn query(&self, name: &str) -> Option<String> {
        exchange::query(name)
    }
}
