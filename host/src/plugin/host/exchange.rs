//! `exchange`: the facts about the exchange that the current call serves.

use wasmtime::Result;

use crate::exchange::Exchange;
use crate::plugin::bindings::postern::plugin::exchange::Host;
use crate::plugin::bindings::postern::plugin::types::HeaderResult as Header;
use crate::plugin::state::State;
use crate::types::{ClientCertificate, RequestId};

const MAX_NOTES: usize = 16;
const MAX_NOTE_BYTES: usize = 8 << 10;

impl State {
    fn fact<T: Default>(&self, of: impl FnOnce(&Exchange) -> T) -> T {
        self.exchange.as_deref().map(of).unwrap_or_default()
    }
}

impl Host for State {
    fn id(&mut self) -> Result<String> {
        Ok(self.fact(|exchange| exchange.id.to_string()))
    }

    fn set_id(&mut self, id: String) -> Result<Result<(), String>> {
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Ok(Err("there is no exchange in configure".into()));
        };
        Ok(RequestId::adopt(&id).map(|id| exchange.id = id))
    }

    fn route(&mut self) -> Result<String> {
        Ok(self.fact(|exchange| exchange.route_name().to_owned()))
    }

    fn header_values(&mut self, name: String) -> Result<Vec<Vec<u8>>> {
        Ok(self.fact(|exchange| {
            exchange
                .request
                .headers
                .get_all(name.as_str())
                .iter()
                .map(|value| value.as_bytes().to_vec())
                .collect()
        }))
    }

    fn headers(&mut self) -> Result<Vec<Header>> {
        Ok(self.fact(|exchange| {
            let headers = exchange.request.headers.iter();
            headers
                .map(|(name, value)| Header {
                    name: name.as_str().into(),
                    value: value.as_bytes().into(),
                })
                .collect()
        }))
    }

    fn query(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.fact(|exchange| query_value(exchange.request.uri.query()?, &name)))
    }

    fn path_parameter(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.fact(|exchange| exchange.path_parameter(&name)))
    }

    fn attribute(&mut self, name: String) -> Result<Option<String>> {
        Ok(self.fact(|exchange| match name.as_str() {
            "client.address" => Some(exchange.client.to_string()),
            "consumer" => exchange
                .identity
                .as_ref()
                .map(|identity| identity.consumer.name.to_string()),
            "consumer.tier" => exchange
                .identity
                .as_ref()
                .and_then(|identity| identity.consumer.tier.as_deref())
                .map(str::to_owned),
            "credential" => exchange
                .identity
                .as_ref()
                .map(|identity| identity.credential_id.to_string()),
            "listener" => Some(exchange.peer.listener.to_string()),
            "tls.version" => Some(exchange.peer.tls.as_deref()?.version.to_owned()),
            "tls.sni" => exchange.peer.tls.as_deref()?.server_name.clone(),
            "tls.client.subject" => Some(client_certificate(exchange)?.subject.clone()),
            "tls.client.san" => Some(client_certificate(exchange)?.alternative_names.clone()),
            "request.method" => Some(exchange.request.method.to_string()),
            "upstream" => exchange.upstream.as_deref().map(str::to_owned),
            "upstream.target" => exchange.target.as_deref().map(str::to_owned),
            _ => None,
        }))
    }

    fn note(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.fact(|exchange| {
            exchange
                .notes
                .iter()
                .find(|(other, _)| *other == key)
                .map(|(_, value)| value.clone())
        }))
    }

    fn set_note(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Ok(());
        };
        exchange.notes.retain(|(other, _)| *other != key);
        let size: usize = exchange
            .notes
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        if exchange.notes.len() < MAX_NOTES && size + key.len() + value.len() <= MAX_NOTE_BYTES {
            exchange.notes.push((key, value));
        } else {
            let message = format!(
                "note {key:?} was dropped: at most {MAX_NOTES} notes of {MAX_NOTE_BYTES} bytes together"
            );
            super::log::line(
                tracing::Level::WARN,
                &self.shared.name,
                Some(exchange),
                &message,
            );
        }
        Ok(())
    }
}

fn client_certificate(exchange: &Exchange) -> Option<&ClientCertificate> {
    exchange.peer.tls.as_deref()?.client.as_ref()
}

/// The first value of a parameter in a query, decoded as forms are (WHATWG URL, 5.1).
fn query_value(query: &str, name: &str) -> Option<String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8_lossy()
            .into_owned()
    };
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name || decode(key) == name).then(|| decode(value))
    })
}

#[cfg(test)]
mod tests {
    use super::query_value;

    #[test]
    fn the_first_value_of_a_query_parameter_is_decoded() {
        let query = "a=1&b=x+y%20z&b=second&c&d%2e=e";
        assert_eq!(query_value(query, "b").as_deref(), Some("x y z"));
        assert_eq!(query_value(query, "c").as_deref(), Some(""));
        assert_eq!(query_value(query, "d.").as_deref(), Some("e"));
        assert_eq!(query_value(query, "missing"), None);
    }
}
