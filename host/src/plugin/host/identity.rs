//! `identity`: whom an exchange belongs to.

use http::{HeaderName, HeaderValue};
use wasmtime::Result;

use crate::plugin::bindings::postern::plugin::identity::{Consumer, Credential, Found, Host};
use crate::plugin::state::State;
use crate::types::Identity;

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
        if let Some(identity) = &exchange.identity {
            if *identity.consumer.name == *consumer {
                return Ok(Ok(()));
            }
            return Ok(Err(format!(
                "the exchange belongs to consumer {:?} already",
                identity.consumer.name
            )));
        }
        let Some(consumer) = self.shared.services.identities.by_name(&consumer) else {
            return Ok(Err(format!("there is no consumer {consumer:?}")));
        };
        let headers = &mut exchange.request.headers;
        for (name, value) in &consumer.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Ok(value) = HeaderValue::from_str(&credential_id) {
            headers.insert(CREDENTIAL_IDENTIFIER, value);
        }
        exchange.identity = Some(Identity {
            consumer,
            credential_id: credential_id.into(),
        });
        Ok(Ok(()))
    }

    fn current(&mut self) -> Result<Option<Found>> {
        Ok(self
            .exchange
            .as_deref()
            .and_then(|exchange| exchange.identity.as_ref())
            .map(export))
    }
}

fn export(identity: &Identity) -> Found {
    let consumer = &identity.consumer;
    Found {
        consumer: Consumer {
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
