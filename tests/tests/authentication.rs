//! Who calls: credentials that follow each other, several ways to authenticate in one chain, published sets of keys, and what
//! the command line makes and shows of it all.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, KeyPair};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use postern_tests::setup::{Finished, Setup, program};
use postern_tests::{Call, Gateway, Script, Upstream, eventually, reply};
use serde_json::{Value, json};

const OLD: &str = "the-old-secret-of-more-than-32-bytes";
const NEW: &str = "the-new-secret-of-more-than-32-bytes";
const KEY: &str = "an-api-key-that-nobody-may-see";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is right").as_secs()
}

fn hs256(id: Option<&str>, claims: &Value, secret: &str) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = id.map(str::to_owned);
    encode(
        &header,
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("it can be signed")
}

fn claims() -> Value {
    json!({ "iss": "app", "sub": "alice", "jti": "t-1", "iat": now(), "exp": now() + 300 })
}

fn bearer(token: &str) -> Call {
    Call::get("/").header("authorization", &format!("Bearer {token}"))
}

/// A gateway with a consumer that has an old and a new secret, and a key; a consumer for strangers; and two plugins with
/// these configs.
fn setup(upstream: &Upstream, jwt: &str, api_key: &str) -> Setup {
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["jwt", "api-key"], upstream = "u" }}]
        plugin.jwt = {{ file = "jwt.wasm", grants = ["identity", "keys"], config = {{ {jwt} }} }}
        plugin.api-key = {{ file = "api-key.wasm", grants = ["identity"], config = {{ {api_key} }} }}
        [consumer.app]
        groups = ["apps"]
        jwt = [
            {{ issuer = "app", algorithm = "HS256", id = "2026", secret = "file:old" }},
            {{ issuer = "app", algorithm = "HS256", id = "2027", secret = "file:new" }},
            {{ issuer = "app", algorithm = "HS256", id = "2025", secret = "file:new", expires = 2026-01-01 }},
        ]
        api-key = [{{ key = "file:key" }}, {{ name = "gone", key = "file:gone", expires = 2026-01-01T00:00:00Z }}]
        [consumer.other]
        api-key = [{{ key = "file:other" }}]
        [consumer.stranger]
        groups = ["public"]
        "#
    );
    let setup = Gateway::with(fragment).file("old", OLD).file("new", NEW);
    let setup = setup.file("key", KEY).file("gone", "a-key-of-last-year");
    setup.file("other", "the-key-of-somebody-else")
}

/// Status, code, and the consumer that the upstream was told.
async fn outcome(gateway: &Gateway, upstream: &Upstream, call: &Call) -> (u16, String) {
    let answer = gateway.call(call).await;
    match answer.status {
        200 => (
            200,
            upstream
                .last()
                .header("x-consumer-name")
                .unwrap_or_default(),
        ),
        status => (status, answer.code()),
    }
}

fn is(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

#[tokio::test]
async fn one_credential_follows_the_other() {
    let upstream = Upstream::says("served");
    let gateway = setup(
        &upstream,
        r#"require = "never""#,
        r#"require = "unless-authenticated""#,
    )
    .start()
    .await;
    for (id, secret, expected) in [
        (Some("2026"), OLD, is(200, "app")),
        (Some("2027"), NEW, is(200, "app")),
        (None, OLD, is(200, "app")),
        (None, NEW, is(200, "app")),
        (Some("2026"), NEW, is(401, "token-invalid")),
        (Some("2025"), NEW, is(401, "token-invalid")),
        (Some("../../dev/null"), NEW, is(401, "token-invalid")),
        (Some("' OR 1=1 --"), NEW, is(401, "token-invalid")),
        (Some("https://evil.test/key"), NEW, is(401, "token-invalid")),
    ] {
        let call = bearer(&hs256(id, &claims(), secret));
        assert_eq!(
            outcome(&gateway, &upstream, &call).await,
            expected,
            "{id:?}"
        );
    }
    let key = |key: &str| Call::get("/").header("x-api-key", key);
    assert_eq!(
        outcome(&gateway, &upstream, &key(KEY)).await,
        is(200, "app")
    );
    let expired = outcome(&gateway, &upstream, &key("a-key-of-last-year")).await;
    assert_eq!(expired, is(401, "api-key-invalid"));
}

#[tokio::test]
async fn any_of_several_credentials_is_enough_and_wrong_ones_never_are() {
    let upstream = Upstream::says("served");
    let gateway = setup(
        &upstream,
        r#"require = "never""#,
        r#"require = "unless-authenticated""#,
    )
    .start()
    .await;
    let good = || bearer(&hs256(None, &claims(), NEW));
    let bad = || {
        bearer(&hs256(
            None,
            &claims(),
            "a-secret-that-is-somebody-elses-one",
        ))
    };
    for (call, expected) in [
        (good(), is(200, "app")),
        (Call::get("/").header("x-api-key", KEY), is(200, "app")),
        (good().header("x-api-key", KEY), is(200, "app")),
        (Call::get("/"), is(401, "api-key-missing")),
        (bad(), is(401, "token-invalid")),
        (bad().header("x-api-key", KEY), is(401, "token-invalid")),
        (
            good().header("x-api-key", "wrong"),
            is(401, "api-key-invalid"),
        ),
        (
            good().header("x-api-key", "the-key-of-somebody-else"),
            is(401, "credentials-conflict"),
        ),
    ] {
        assert_eq!(
            outcome(&gateway, &upstream, &call).await,
            expected,
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn all_of_several_credentials_are_needed_where_nothing_is_said() {
    let upstream = Upstream::says("served");
    let gateway = setup(&upstream, "", "").start().await;
    let good = || bearer(&hs256(None, &claims(), NEW));
    for (call, expected) in [
        (good(), is(401, "api-key-missing")),
        (
            Call::get("/").header("x-api-key", KEY),
            is(401, "token-missing"),
        ),
        (good().header("x-api-key", KEY), is(200, "app")),
    ] {
        assert_eq!(
            outcome(&gateway, &upstream, &call).await,
            expected,
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn strangers_may_have_a_consumer_of_their_own() {
    let upstream = Upstream::says("served");
    let gateway = setup(
        &upstream,
        r#"require = "never""#,
        r#"anonymous = "stranger""#,
    )
    .start()
    .await;
    let spoofed = Call::get("/")
        .header("x-consumer-name", "app")
        .header("x-anonymous-consumer", "no");
    assert_eq!(
        outcome(&gateway, &upstream, &spoofed).await,
        is(200, "stranger")
    );
    assert_eq!(
        upstream.last().header("x-anonymous-consumer").as_deref(),
        Some("true")
    );
    assert_eq!(
        upstream.last().header("x-consumer-groups").as_deref(),
        Some("public")
    );
    let known = bearer(&hs256(None, &claims(), NEW)).header("x-anonymous-consumer", "true");
    assert_eq!(outcome(&gateway, &upstream, &known).await, is(200, "app"));
    assert_eq!(upstream.last().header("x-anonymous-consumer"), None);
    let wrong = Call::get("/").header("x-api-key", "wrong");
    assert_eq!(
        outcome(&gateway, &upstream, &wrong).await,
        is(401, "api-key-invalid")
    );
}

#[tokio::test]
async fn tokens_are_taken_back() {
    let upstream = Upstream::says("served");
    let jwt = r#"revoked = { ids = ["t-9"], subjects = ["mallory"], issued-before = 2026-01-01T00:00:00Z }, token-type = "at+jwt""#;
    let gateway = setup(&upstream, jwt, r#"require = "never""#).start().await;
    let with = |changes: Value| {
        let mut claims = claims();
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some("at+jwt".into());
        let key = EncodingKey::from_secret(NEW.as_bytes());
        bearer(&encode(&header, &claims, &key).expect("it can be signed"))
    };
    for (changes, expected) in [
        (json!({}), is(200, "app")),
        (json!({ "jti": "t-9" }), is(401, "token-revoked")),
        (json!({ "jti": 9 }), is(401, "token-revoked")),
        (json!({ "sub": "mallory" }), is(401, "token-revoked")),
        (json!({ "iat": 1_767_225_599 }), is(401, "token-revoked")),
        (json!({ "iat": null }), is(401, "token-revoked")),
    ] {
        let found = outcome(&gateway, &upstream, &with(changes.clone())).await;
        assert_eq!(found, expected, "{changes}");
    }
    let plain = bearer(&hs256(None, &claims(), NEW));
    assert_eq!(
        outcome(&gateway, &upstream, &plain).await,
        is(401, "token-claims"),
        "its type"
    );
}

#[tokio::test]
async fn scopes_and_claims_of_the_token_decide() {
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["jwt", "scopes"], upstream = "u" }}]
        plugin.jwt = {{ file = "jwt.wasm", grants = ["identity", "keys"], config = {{ note-claims = ["scope", "role"] }} }}
        [plugin.scopes]
        file = "scopes.wasm"
        config.rules = [
            {{ methods = ["GET"], path = "/orders/{{*rest}}", any-scope = ["orders:read", "orders:write"] }},
            {{ path = "/orders/{{*rest}}", scopes = ["orders:write"], claims = {{ role = ["clerk"] }} }},
        ]
        [consumer.app]
        jwt = [{{ issuer = "app", algorithm = "HS256", secret = "file:new" }}]
        "#
    );
    let gateway = Gateway::with(fragment).file("new", NEW).start().await;
    for (method, path, scope, role, expected) in [
        (
            "GET",
            "/orders/1",
            json!("a orders:read"),
            json!(null),
            is(200, "app"),
        ),
        (
            "GET",
            "/orders/1",
            json!(["a", "orders:write"]),
            json!(null),
            is(200, "app"),
        ),
        (
            "GET",
            "/orders/1",
            json!("orders"),
            json!(null),
            is(403, "scope-missing"),
        ),
        (
            "GET",
            "/orders/1",
            json!(null),
            json!(null),
            is(403, "scope-missing"),
        ),
        (
            "POST",
            "/orders/1",
            json!("orders:write"),
            json!(["clerk"]),
            is(200, "app"),
        ),
        (
            "POST",
            "/orders/1",
            json!("orders:write"),
            json!("boss"),
            is(403, "claim-missing"),
        ),
        (
            "POST",
            "/orders/1",
            json!("orders:read"),
            json!("clerk"),
            is(403, "scope-missing"),
        ),
        (
            "GET",
            "/else",
            json!("orders:write"),
            json!("clerk"),
            is(403, "scope-unmatched"),
        ),
    ] {
        let mut claims = claims();
        claims["scope"] = scope.clone();
        claims["role"] = role;
        let token = format!("Bearer {}", hs256(None, &claims, NEW));
        let call = Call::new(method, path).header("authorization", &token);
        let found = outcome(&gateway, &upstream, &call).await;
        assert_eq!(found, expected, "{method} {path} {scope}");
    }
}

/// A key pair for ES256, and how it is published.
fn pair(id: &str) -> (EncodingKey, Value) {
    let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = signature::EcdsaKeyPair::generate(algorithm).expect("a key");
    let private = pair.to_pkcs8v1().expect("it is exported");
    let point = pair.public_key().as_ref();
    let part = |range: std::ops::Range<usize>| BASE64.encode(&point[range]);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": part(1..33), "y": part(33..65) });
    (EncodingKey::from_ec_der(private.as_ref()), jwk)
}

fn es256(id: &str, key: &EncodingKey) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(id.to_owned());
    encode(&header, &claims(), key).expect("it can be signed")
}

#[tokio::test]
async fn a_published_set_of_keys_is_fetched_and_again_when_a_token_names_an_unknown_key() {
    let upstream = Upstream::says("served");
    let ((first, one), (second, two), (third, _)) = (pair("k1"), pair("k2"), pair("k3"));
    let published = Arc::new(Mutex::new(json!({ "keys": [one] })));
    let set = Arc::clone(&published);
    let provider = Upstream::start(move |_| {
        let body = set.lock().expect("no test panics here").to_string();
        Script::after_body().send(reply(200).body(body).bytes())
    });
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["jwt"], upstream = "u" }}]
        keys.idp.jwks = "{provider}/jwks.json?tenant=1"
        plugin.jwt = {{ file = "jwt.wasm", grants = ["identity", "keys"], config = {{ key-set = "idp", issuer = "app", consumer = "app" }} }}
        [consumer.app]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let call = |id, key| bearer(&es256(id, key));
    assert_eq!(
        outcome(&gateway, &upstream, &call("k1", &first)).await,
        is(200, "app")
    );
    assert_eq!(provider.last().target, "/jwks.json?tenant=1");
    let refused = is(401, "token-invalid");
    assert_eq!(
        outcome(&gateway, &upstream, &call("k1", &second)).await,
        refused
    );
    *published.lock().expect("no test panics here") = json!({ "keys": [two] });
    assert_eq!(provider.count(), 1, "what is known is not asked for");
    let found = eventually!(
        outcome(&gateway, &upstream, &call("k2", &second)).await,
        |found| *found == is(200, "app")
    );
    assert_eq!(found, is(200, "app"));
    assert_eq!(
        outcome(&gateway, &upstream, &call("k1", &first)).await,
        refused,
        "it is withdrawn"
    );
    for _ in 0..20 {
        assert_eq!(
            outcome(&gateway, &upstream, &call("k3", &third)).await,
            refused
        );
    }
    assert_eq!(
        provider.count(),
        2,
        "strangers cannot have the provider asked again and again"
    );
    // A reload that changes nothing for the set keeps it.
    gateway.reload();
    eventually!(gateway.generation().await, |generation| *generation == 2);
    assert_eq!(
        outcome(&gateway, &upstream, &call("k2", &second)).await,
        is(200, "app")
    );
    assert_eq!(provider.count(), 2);
}

#[tokio::test]
async fn without_its_keys_a_gateway_serves_and_refuses_tokens() {
    let upstream = Upstream::says("served");
    let provider =
        Upstream::start(|_| Script::after_body().send(reply(500).body("broken").bytes()));
    let (key, _) = pair("k1");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [
            {{ name = "r", path = "/", plugins = ["jwt"], upstream = "u" }},
            {{ name = "open", path = "/open", upstream = "u" }},
        ]
        keys.idp.jwks = "{provider}/jwks.json"
        plugin.jwt = {{ file = "jwt.wasm", grants = ["identity", "keys"], config = {{ key-set = "idp", issuer = "app", consumer = "app" }} }}
        [consumer.app]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    assert_eq!(gateway.get("/open").await.status, 200);
    let answer = gateway.call(&bearer(&es256("k1", &key))).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "token-invalid")
    );
    eventually!(gateway.log("keys are not renewed"), |lines| !lines
        .is_empty());
}

fn run(arguments: &[&str]) -> Finished {
    Finished::of(&program().args(arguments).output().expect("it starts"))
}

#[tokio::test]
async fn a_key_that_the_command_line_makes_is_known_by_its_digest() {
    let made = run(&["key", "new", "--prefix", "shop"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let value = |name: &str| {
        let line = made.stdout.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split('"').nth(1))
            .expect("it is printed")
            .to_owned()
    };
    let (key, hash) = (value("key"), value("hash"));
    assert!(key.starts_with("shop_") && key.len() == 43, "{key}");
    let upstream = Upstream::says("served");
    let fragment = format!(
        r#"
        upstream.u.targets = ["{upstream}"]
        route = [{{ name = "r", path = "/{{*rest}}", plugins = ["api-key"], upstream = "u" }}]
        plugin.api-key = {{ file = "api-key.wasm", grants = ["identity"] }}
        [consumer.app]
        api-key = [{{ hash = "{hash}" }}]
        "#
    );
    let gateway = Gateway::with(fragment).start().await;
    let call = |key: &str| Call::get("/").header("x-api-key", key);
    assert_eq!(
        outcome(&gateway, &upstream, &call(&key)).await,
        is(200, "app")
    );
    let digest = outcome(&gateway, &upstream, &call(&hash)).await;
    assert_eq!(
        digest,
        is(401, "api-key-invalid"),
        "who reads the file has no key"
    );
    let refused = run(&["key", "new", "--prefix", "a b"]);
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(1), ""),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_command_line_makes_tokens_and_lists_consumers() {
    let upstream = Upstream::says("served");
    let setup = setup(
        &upstream,
        r#"note-claims = ["role"]"#,
        r#"require = "never""#,
    );
    let minted = setup.ask(&[
        "token",
        "app",
        "--claim",
        "role=[\"admin\"]",
        "--claim",
        "sub=bob",
    ]);
    assert_eq!(minted.code, Some(0), "{minted:?}");
    let token = minted.stdout.trim().to_owned();
    let payload = BASE64
        .decode(token.split('.').nth(1).expect("three parts"))
        .expect("base64url");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(
        (&payload["role"], &payload["sub"]),
        (&json!(["admin"]), &json!("bob"))
    );
    let nobody = setup.ask(&["token", "nobody"]);
    assert!(
        nobody.code == Some(2) && nobody.stderr.contains("no consumer \"nobody\""),
        "{nobody:?}"
    );
    let keyless = setup.ask(&["token", "other"]);
    assert!(
        keyless.code == Some(2) && keyless.stderr.contains("only its issuer can sign"),
        "{keyless:?}"
    );
    let listed = setup.ask(&["consumers"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    for word in [
        "jwt HS256 app 2026",
        "api-key app-1",
        "api-key gone until 2026-01-01T00:00:00Z",
        "stranger",
    ] {
        assert!(listed.stdout.contains(word), "{word}: {}", listed.stdout);
    }
    let gateway = setup.start().await;
    assert_eq!(
        outcome(&gateway, &upstream, &bearer(&token)).await,
        is(200, "app")
    );
}

/// Whatever a gateway says, to whomever, holds no secret.
#[tokio::test]
async fn planted_secrets_are_in_no_output() {
    let upstream = Upstream::says("served");
    let setup = setup(
        &upstream,
        r#"require = "never""#,
        r#"require = "unless-authenticated""#,
    );
    let mut outputs = Vec::new();
    for command in [
        &["check"][..],
        &["consumers"],
        &["routes"],
        &["explain", "GET", "http://gateway.test/"],
    ] {
        let finished = setup.ask(command);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        outputs.push(finished.stdout + &finished.stderr);
    }
    let gateway = setup.start().await;
    let signed = hs256(None, &claims(), NEW);
    let signature = signed.rsplit('.').next().expect("three parts").to_owned();
    let calls = [
        bearer(&signed),
        bearer(&hs256(
            None,
            &claims(),
            "a-secret-that-is-somebody-elses-one",
        )),
        Call::get("/").header("x-api-key", KEY),
        Call::get("/").header("x-api-key", "a-wrong-key-that-is-nobodys"),
        Call::get("/"),
    ];
    for call in &calls {
        let answer = gateway.call(call).await;
        outputs.push(format!("{:?} {}", answer.headers, answer.text()));
    }
    let told = eventually!(gateway.access_log(), |lines| lines.len() == calls.len());
    outputs.extend(told.iter().map(Value::to_string));
    outputs.push(gateway.metrics().await);
    outputs.push(gateway.status().await.to_string());
    outputs.extend(gateway.log(""));
    let secrets = [
        OLD,
        NEW,
        KEY,
        "a-key-of-last-year",
        "a-wrong-key-that-is-nobodys",
        "the-key-of-somebody-else",
        &signature,
    ];
    for secret in secrets {
        let found: Vec<_> = outputs
            .iter()
            .filter(|output| output.contains(secret))
            .collect();
        assert!(found.is_empty(), "{secret}: {found:?}");
    }
    assert!(
        outputs.iter().any(|output| output.contains("app-1")),
        "there is something to find"
    );
}

/// Tokens as attackers make them; each must be refused without a panic, whatever its code.
#[tokio::test]
async fn crafted_tokens_are_refused() {
    let upstream = Upstream::says("served");
    let gateway = setup(&upstream, r#"audience = "shop""#, r#"require = "never""#)
        .start()
        .await;
    let part = |text: &str| BASE64.encode(text);
    let good = json!({ "iss": "app", "aud": "shop", "exp": now() + 300 }).to_string();
    let sign = |header: &str, payload: &str| {
        let message = format!("{}.{}", part(header), part(payload));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, NEW.as_bytes());
        let signature = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    };
    const HS256: &str = r#"{"alg":"HS256"}"#;
    let whole = sign(HS256, &good);
    assert_eq!(
        outcome(&gateway, &upstream, &bearer(&whole)).await,
        is(200, "app")
    );
    let deep = format!(
        r#"{{"iss":"app","aud":"shop","exp":9999999999,"x":{}{}}}"#,
        "[".repeat(2_000),
        "]".repeat(2_000)
    );
    let huge = format!(
        r#"{{"iss":"app","aud":"shop","exp":9999999999,"x":"{}"}}"#,
        "x".repeat(7_000)
    );
    let twice = good.replacen('{', r#"{"iss":"other","#, 1);
    let escaped = good.replacen('{', r#"{"\u0069ss":"other","#, 1);
    let other_audience = good.replace("\"shop\"", "[\"bank\"]");
    let jwk = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#;
    let forged = |header: &str| {
        let message = format!("{}.{}", part(header), part(&good));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[0, 0, 0]);
        let signature = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    };
    let zero = |algorithm: &str, bytes: usize| {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        format!(
            "{}.{}.{}",
            part(&header),
            part(&good),
            BASE64.encode(vec![0; bytes])
        )
    };
    for (what, token) in [
        ("an embedded key", forged(jwk)),
        (
            "a key by URL",
            forged(r#"{"alg":"HS256","jku":"https://evil.test/jwks"}"#),
        ),
        ("a certificate", forged(r#"{"alg":"HS256","x5c":["AAAA"]}"#)),
        ("crit", sign(r#"{"alg":"HS256","crit":["exp"]}"#, &good)),
        (
            "b64",
            sign(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good),
        ),
        ("alg twice", sign(r#"{"alg":"HS256","alg":"HS256"}"#, &good)),
        ("alg in capitals", sign(r#"{"ALG":"HS256"}"#, &good)),
        ("iss twice", sign(HS256, &twice)),
        ("iss twice, once escaped", sign(HS256, &escaped)),
        ("a payload that is an array", sign(HS256, "[]")),
        (
            "a payload that goes on",
            sign(HS256, &format!("{good}{good}")),
        ),
        (
            "a payload that is not UTF-8",
            format!(
                "{}.{}.{}",
                part(HS256),
                BASE64.encode([0xff, 0xfe]),
                BASE64.encode([0; 32])
            ),
        ),
        ("another audience", sign(HS256, &other_audience)),
        ("huge", sign(HS256, &huge)),
        ("padding", format!("{whole}=")),
        (
            "ordinary base64",
            whole.replace('-', "+").replace('_', "/") + "+",
        ),
        ("zeros for HS256", zero("HS256", 32)),
        ("zeros for ES256", zero("ES256", 64)),
        ("zeros for none", zero("none", 0)),
    ] {
        let (status, code) = outcome(&gateway, &upstream, &bearer(&token)).await;
        assert!(
            status == 401 && code.starts_with("token-"),
            "{what}: {status} {code}"
        );
    }
    // Nested deeply, but right: what is not asked for is checked without recursion.
    let nested = bearer(&sign(HS256, &deep));
    assert_eq!(outcome(&gateway, &upstream, &nested).await, is(200, "app"));
    let two = bearer(&whole).header(
        "authorization",
        &format!("Bearer {}", sign(HS256, &good.replace("app", "web"))),
    );
    assert_eq!(
        outcome(&gateway, &upstream, &two).await,
        is(400, "token-ambiguous")
    );
    let spoofed = [
        "x-consumer-name",
        "X_Consumer_Name",
        "x-credential-identifier",
    ]
    .iter()
    .fold(Call::get("/"), |call, name| call.header(name, "app"));
    assert_eq!(
        outcome(&gateway, &upstream, &spoofed).await,
        is(401, "token-missing")
    );
}
