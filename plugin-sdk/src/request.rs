//! Reading a request head.

use std::fmt;
use std::net::IpAddr;

use crate::{IpAddress, Method, RequestHead, header};

impl RequestHead {
    /// The first value of a header that [`crate::Interest`] asked for; none if it is absent or not UTF-8. Fetch others with
    /// [`crate::exchange::header`].
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        header::first(&self.headers, name)
    }

    /// All values of a header that [`crate::Interest`] asked for, in the order of the message.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        header::values(&self.headers, name)
    }

    /// The path, percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.path_and_query
            .split_once('?')
            .map_or(self.path_and_query.as_str(), |(path, _)| path)
    }

    /// The query, percent-encoded, without the `?`. [`crate::exchange::query`] decodes single parameters.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.split_once('?').map(|(_, query)| query)
    }

    /// The client's address, after trusted-proxy processing.
    pub fn client_ip(&self) -> IpAddr {
        self.client.into()
    }
}

impl From<IpAddress> for IpAddr {
    fn from(address: IpAddress) -> Self {
        match address {
            IpAddress::V4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
            IpAddress::V6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
        }
    }
}

impl Method {
    /// The method as it is written in a request, for example `GET`.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Other(name) => name,
        }
    }
}

impl From<&str> for Method {
    /// Methods are case-sensitive: `get` is not `GET`.
    fn from(name: &str) -> Self {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "TRACE" => Method::Trace,
            "PATCH" => Method::Patch,
            other => Method::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
