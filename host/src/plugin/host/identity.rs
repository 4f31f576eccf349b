//! `identity`: whom an exchange belongs to.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use wasmtime::Result;

use crate::exchange::Exchange;
use crate::plugin::bindings::postern::plugin::identity::{
    Consumer as ExportedConsumer, Credential, Found, Host,
};
use crate::plugin::state::State;
use crate::types::{Consumer, Identity};

const ANONYMOUS_CONSUMER: HeaderName = HeaderName::from_static("x-anonymous-consumer");
const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");

impl Host for State {
    fn find(&mut self, credential: Credential) -> Result<Option<Found>> {
        let identities = &self.shared.services.identities;
        let found = match credential {
            Credential::ApiKey(key) => identities.find_api_key(&key),
            Credential::JwtIssuer(issuer) => identities.find_issuer(&issuer),
            // No such credentials can be configured, so nobody has them.
            Credential::BasicUser(_) | Credential::CertificateSubject(_) => None,
        };
        Ok(found.as_ref().map(export))
    }

    fn authenticate(
        &mut self,
        consumer: String,
        credential_id: String,
    ) -> Result<Result<(), String>> {
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Ok(Err("there is no exchange in configure".into()));
        };
        match &exchange.identity {
            Some(identity) if identity.anonymous => {}
            Some(identity) if *identity.consumer.name == *consumer => return Ok(Ok(())),
            Some(identity) => {
                return Ok(Err(format!(
                    "the exchange belongs to consumer {:?} already",
                    identity.consumer.name
                )));
            }
            None => {}
        }
        let Some(consumer) = self.shared.services.identities.by_name(&consumer) else {
            return Ok(Err(format!("there is no consumer {consumer:?}")));
        };
        assign(exchange, consumer, credential_id, false);
        Ok(Ok(()))
    }

    fn authenticate_anonymous(&mut self, consumer: String) -> Result<Result<(), String>> {
        let Some(exchange) = self.exchange.as_deref_mut() else {
            return Ok(Err("there is no exchange in configure".into()));
        };
        let Some(consumer) = self.shared.services.identities.by_name(&consumer) else {
            return Ok(Err(format!("there is no consumer {consumer:?}")));
        };
        if exchange.identity.is_none() {
            assign(exchange, consumer, String::new(), true);
        }
        Ok(Ok(()))
    }

    fn current(&mut self) -> Result<Option<Found>> {
        Ok(self.identity().map(export))
    }

    fn is_anonymous(&mut self) -> Result<bool> {
        Ok(self.identity().is_some_and(|identity| identity.anonymous))
    }

    fn metadata(&mut self, key: String) -> Result<Option<String>> {
        let value = self
            .identity()
            .and_then(|identity| identity.consumer.metadata.get(key.as_str()));
        Ok(value.map(|value| value.as_ref().into()))
    }
}

impl State {
    fn identity(&self) -> Option<&Identity> {
        self.exchange.as_deref()?.identity.as_ref()
    }
}

/// Makes the exchange belong to a consumer, and its request say so.
fn assign(
    exchange: &mut Exchange,
    consumer: Arc<Consumer>,
    credential_id: String,
    anonymous: bool,
) {
    let headers = &mut exchange.request.headers;
    if let Some(before) = &exchange.identity {
        for (name, _) in &before.consumer.headers {
            headers.remove(name);
        }
        headers.remove(ANONYMOUS_CONSUMER);
    }
    for (name, value) in &consumer.headers {
        headers.insert(name.clone(), value.clone());
    }
    if anonymous {
        headers.insert(ANONYMOUS_CONSUMER, HeaderValue::from_static("true"));
    } else if let Ok(value) = HeaderValue::from_str(&credential_id) {
        headers.insert(CREDENTIAL_IDENTIFIER, value);
    }
    exchange.identity = Some(Identity {
        consumer,
        credential_id: credential_id.into(),
        anonymous,
    });
}

fn export(identity: &Identity) -> Found {
    let consumer = &identity.consumer;
    Found {
        consumer: ExportedConsumer {
            name: consumer.name.as_ref().into(),
            tier: consumer.tier.as_deref().map(str::to_owned),
            groups: consumer
                .groups
                .iter()
                .map(|group| group.as_ref().into())
                .collect(),
            custom_id: consumer.custom_id.as_deref().map(str::to_owned),
        },
        credential_id: identity.credential_id.as_ref().into(),
    }
}
