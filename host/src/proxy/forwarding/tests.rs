use super::*;

fn peer() -> Peer {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|range| range.parse().expect("it is a range"));
    let address = "10.0.0.1:1".parse().expect("it is an address");
    Peer::new("public".into(), address, address, trusted.into())
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("it is a value");
        headers.append(*name, value);
    }
    headers
}

fn client(claims: &Claims) -> String {
    claims
        .client
        .map_or_else(|| "-".into(), |client| client.to_string())
}

#[test]
fn the_client_is_the_last_address_that_is_not_a_trusted_proxys() {
    for (list, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("198.51.100.7, 192.0.2.1", "192.0.2.1"),
        ("198.51.100.7, 192.0.2.1, 10.0.0.9 ,10.1.1.1", "192.0.2.1"),
        ("10.0.0.9, 10.1.1.1", "10.0.0.9"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443, fd00::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, ::ffff:10.0.0.9", "192.0.2.1"),
        ("192.0.2.1,,", "192.0.2.1"),
        // What is no address ends the search: the hop that passed it on is the client.
        ("192.0.2.1, unknown, 10.1.1.1", "10.1.1.1"),
        ("192.0.2.1, 10.1.1.1.1, 10.1.1.1", "10.1.1.1"),
        ("unknown", "-"),
        ("\u{e4}", "-"),
        ("", "-"),
    ] {
        let claims = by_x_forwarded(&headers(&[("x-forwarded-for", list)]), &peer());
        assert_eq!(client(&claims), expected, "{list}");
    }
    let fields = headers(&[
        ("x-forwarded-for", "198.51.100.7"),
        ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
    ]);
    assert_eq!(client(&by_x_forwarded(&fields, &peer())), "192.0.2.1");
}

#[test]
fn forwarded_is_read_from_its_end_and_tells_scheme_and_host_of_the_clients_request() {
    for (list, expected, secure, host) in [
        ("for=192.0.2.1", "192.0.2.1", None, None),
        (
            "for=192.0.2.1;proto=https;host=shop.test, for=10.0.0.2;proto=http;host=inner",
            "192.0.2.1",
            Some(true),
            Some("shop.test"),
        ),
        (
            "for=198.51.100.7;proto=https, for=192.0.2.1;proto=http",
            "192.0.2.1",
            Some(false),
            None,
        ),
        (
            r#"for="[2001:db8::1]:4711";host="shop.test:8443""#,
            "2001:db8::1",
            None,
            Some("shop.test:8443"),
        ),
        (
            "for=192.0.2.1, for=unknown, for=10.0.0.2",
            "10.0.0.2",
            None,
            None,
        ),
        (
            "for=192.0.2.1, for=_hidden;proto=https",
            "-",
            Some(true),
            None,
        ),
        // The client left a quote open: what proxies wrote after it counts all the same.
        (r#"for=", for=192.0.2.1"#, "192.0.2.1", None, None),
        (
            r#"for=198.51.100.7, =;", for=10.0.0.2"#,
            "10.0.0.2",
            None,
            None,
        ),
        ("for=192.0.2.1;host=\"a b\"", "192.0.2.1", None, None),
        ("proto=https", "-", Some(true), None),
    ] {
        let claims = by_forwarded(&headers(&[("forwarded", list)]), &peer());
        assert_eq!(client(&claims), expected, "{list}");
        assert_eq!(claims.secure, secure, "{list}");
        let claimed = claims
            .host
            .as_ref()
            .map(|host| host.to_str().expect("it is text"));
        assert_eq!(claimed, host, "{list}");
    }
}

#[test]
fn scheme_host_and_port_stand_where_the_clients_address_does() {
    for (list, protos, secure) in [
        ("192.0.2.1", "https", Some(true)),
        ("192.0.2.1", "https, http", Some(false)),
        ("192.0.2.1, 10.0.0.2", "http, https, http", Some(true)),
        ("192.0.2.1, 10.0.0.2", "HTTPS", Some(true)),
        ("", "https", Some(true)),
        ("192.0.2.1", "gopher", None),
    ] {
        let fields = headers(&[("x-forwarded-for", list), ("x-forwarded-proto", protos)]);
        assert_eq!(
            by_x_forwarded(&fields, &peer()).secure,
            secure,
            "{list} {protos}"
        );
    }
    let fields = headers(&[
        ("x-forwarded-for", "192.0.2.1, 10.0.0.2"),
        ("x-forwarded-host", "evil.test, shop.test, inner"),
        ("x-forwarded-port", "8443"),
    ]);
    let claims = by_x_forwarded(&fields, &peer());
    assert_eq!(claims.host.expect("it is a host"), "shop.test");
    assert_eq!(claims.port.expect("it is a port"), "8443");
    let fields = headers(&[("x-forwarded-host", "a/b"), ("x-forwarded-port", "99999")]);
    assert_eq!(by_x_forwarded(&fields, &peer()), Claims::default());
}
