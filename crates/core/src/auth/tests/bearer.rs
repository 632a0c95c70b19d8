//! Bearer JWTs: Prosody's file share with a token that Prosody made, and the original's plain one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Dialect, NOW, Put, SlotRequest, all_keys, keys, request, sign, signed_put, slot};
use crate::auth::{Denied, JwtAlgorithm, Keyring, Owner, Proof, Secret, authorize, jwt};
use crate::{ByteSize, Timestamp};

const PLAIN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZUBleGFtcGxlLm9yZyIsImV4cCI6NDEwMjQ0NDgwMH0.HHmUykQ7mhSNMd1cIp3wIFoTTJJEEK6bx1oyje-RD98";

/// Signs any claims with the first shared secret.
fn token(claims: &Value) -> String {
    jwt::encode(claims, &all_keys().secrets[0], JwtAlgorithm::Hs256).unwrap()
}

fn share() -> Value {
    let now = NOW.as_unix();
    json!({
        "sub": "alice@example.org", "exp": now + 300, "slot": "slot-1", "filename": "a b.txt", "iat": now,
        "filesize": 11, "expires": now + 604_800, "filetype": "text/plain",
    })
}

fn share_with(claim: &str, value: Value) -> Value {
    let mut claims = share();
    claims[claim] = value;
    claims
}

fn share_without(claim: &str) -> Value {
    let mut claims = share();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn put_share(claims: &Value) -> Put {
    Put::new("slot-1/a b.txt", 11).bearer(&token(claims))
}

#[test]
fn a_token_that_prosody_made_is_accepted_with_all_it_claims() {
    // Made by Prosody 0.12.3; the header and the order of claims are its own.
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let claims = r#"{"sub":"alice@localhost","exp":1795376198,"slot":"qOEhb6gus5_5vQXAh5e1KWCd","filename":"a.txt","iat":1795375898,"filesize":11,"expires":1795980698,"filetype":"text/plain; charset=utf-8"}"#;
    let signature = "gY7tPJAC_zT7iVvs8_NjGAyvX4gUfZWzVPwPhBj_wgs";
    let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let put = Put::new("qOEhb6gus5_5vQXAh5e1KWCd/a.txt", 11).bearer(&token);
    let grant = put.authorize(&keys("mysecret")).unwrap();
    assert_eq!(grant.proof(), Proof::FileShare);
    assert_eq!(grant.size(), Some(ByteSize::bytes(11)));
    assert_eq!(grant.media_type(), Some("text/plain; charset=utf-8"));
    assert_eq!(grant.owner(), Some(&Owner::Jid("alice@localhost".to_owned())));
    assert_eq!(grant.expires(), Some(Timestamp::from_unix(1_795_980_698)));

    let at = |now| authorize(&put.head(), &keys("mysecret"), Timestamp::from_unix(now)).map(|grant| grant.proof());
    assert_eq!(at(1_795_376_197), Ok(Proof::FileShare));
    assert_eq!(at(1_795_376_198), Err(Denied::Gone));
    assert!(put.clone().chunked().authorize(&keys("mysecret")).is_ok());
    assert!(matches!(put.denied(&keys("mysecret2")), Denied::BadBearer(_)));
}

#[test]
fn a_file_share_token_is_for_one_path() {
    let put_to = |path: &str| Put::new(path, 11).bearer(&token(&share()));
    assert!(put_to("slot-1/a b.txt").authorize(&all_keys()).is_ok());
    for path in ["slot-2/a b.txt", "slot-1/a.txt", "slot-1/x/a b.txt", "x/slot-1/a b.txt", "slot-1", "a b.txt/slot-1"] {
        assert_eq!(put_to(path).denied(&all_keys()), Denied::OtherSlot, "{path}");
    }
    let deep = Put::new("slot-1/x/y", 11).bearer(&token(&share_with("filename", json!("x/y"))));
    assert_eq!(deep.denied(&all_keys()), Denied::OtherSlot);
}

#[test]
fn the_size_of_a_token_is_granted_and_left_to_admission() {
    let put = put_share(&share_with("filesize", json!(12)));
    assert_eq!(put.authorize(&all_keys()).unwrap().size(), Some(ByteSize::bytes(12)));
    let lua = put_share(&share_with("filesize", json!(1000.0)));
    assert_eq!(lua.authorize(&all_keys()).unwrap().size(), Some(ByteSize::bytes(1000)));
    assert_eq!(put_share(&share_without("filesize")).authorize(&all_keys()).unwrap().size(), None);
}

#[test]
fn claims_of_another_type_are_malformed() {
    #[rustfmt::skip]
    let wrong = [
        ("slot", json!(5)), ("slot", json!(null)), ("filename", json!(null)), ("filename", json!(["a b.txt"])),
        ("filesize", json!(-1)), ("filesize", json!(11.5)), ("filesize", json!("11")), ("filesize", json!(null)),
        ("filetype", json!(7)), ("sub", json!(7)), ("exp", json!("soon")), ("exp", json!(-5)), ("exp", json!(null)),
        ("exp", json!(1e300)), ("iat", json!("now")), ("expires", json!("never")), ("expires", json!(false)),
    ];
    for (claim, value) in wrong {
        let denied = put_share(&share_with(claim, value.clone())).denied(&all_keys());
        assert!(matches!(denied, Denied::Malformed(_)), "{claim}={value}: {denied}");
    }
    for claim in ["filename", "exp"] {
        let denied = put_share(&share_without(claim)).denied(&all_keys());
        assert!(matches!(denied, Denied::Malformed(_)), "{claim}: {denied}");
    }
    let slotless = put_share(&share_without("slot")).denied(&all_keys());
    assert!(matches!(slotless, Denied::BadBearer(_)), "a shared secret signs no plain token");
}

#[test]
fn the_times_of_a_file_share_token_are_exact() {
    let now = NOW.as_unix();
    let denied = |claim, seconds: i64| put_share(&share_with(claim, json!(now + seconds))).denied(&all_keys());
    assert_eq!(denied("exp", 0), Denied::Gone);
    assert_eq!(denied("exp", -1), Denied::Gone);
    assert_eq!(denied("expires", 0), Denied::Gone);
    assert!(matches!(denied("iat", 61), Denied::BadBearer(_)));
    for claims in
        [share_with("exp", json!(now + 1)), share_with("expires", json!(now + 1)), share_with("iat", json!(now + 60))]
    {
        assert!(put_share(&claims).authorize(&all_keys()).is_ok(), "{claims}");
    }
    assert_eq!(put_share(&share_without("expires")).authorize(&all_keys()).unwrap().expires(), None);
}

#[test]
fn the_owner_is_the_bare_jid() {
    let owner = |sub: Value| put_share(&share_with("sub", sub)).authorize(&all_keys()).unwrap().owner().cloned();
    assert_eq!(owner(json!("alice@example.org/phone")), Some(Owner::Jid("alice@example.org".to_owned())));
    assert_eq!(owner(json!("")), None);
}

#[test]
fn a_type_that_is_not_claimed_is_the_declared_one() {
    let put = put_share(&share_without("filetype")).typed("image/png");
    assert_eq!(put.authorize(&all_keys()).unwrap().media_type(), Some("image/png"));
    let put = put_share(&share()).typed("image/png");
    assert_eq!(put.authorize(&all_keys()).unwrap().media_type(), Some("text/plain"));
}

#[test]
fn a_signed_type_that_fits_no_header_is_not_stored() {
    for hostile in ["text/plain\r\nSet-Cookie: x", "téxt/plain", "\0", "", &"x".repeat(256)] {
        let put = put_share(&share_with("filetype", json!(hostile)));
        assert_eq!(put.authorize(&all_keys()).unwrap().media_type(), None, "{hostile:?}");
    }
}

#[test]
fn the_plain_token_of_the_original_needs_its_key() {
    let with = |secret: &str| Keyring { jwt_secret: Some(Secret::new(secret)), ..keys("unrelated") };
    let put = Put::new("any/path/at/all.bin", 5).bearer(PLAIN).chunked();
    let grant = put.authorize(&with("test-vector-secret-0123456789")).unwrap();
    assert_eq!((grant.proof(), grant.size(), grant.expires()), (Proof::Jwt, None, None));
    assert_eq!(grant.owner(), Some(&Owner::Jid("alice@example.org".to_owned())));

    let query = Put::new("any/path", 5).query(format!("token={PLAIN}"));
    assert_eq!(query.authorize(&with("test-vector-secret-0123456789")).unwrap().proof(), Proof::Jwt);
    for keys in [keys("test-vector-secret-0123456789"), with("other"), with(""), Keyring::default()] {
        assert!(matches!(put.denied(&keys), Denied::BadBearer(_)));
        assert!(matches!(query.denied(&keys), Denied::BadBearer(_)));
    }
}

#[test]
fn the_times_of_a_plain_token_count_when_present() {
    let now = NOW.as_unix();
    let at = |claims: Value| {
        let token = jwt::encode(&claims, all_keys().jwt_secret.as_ref().unwrap(), JwtAlgorithm::Hs256).unwrap();
        Put::new("a/b", 5).bearer(&token).authorize(&all_keys()).map(|grant| grant.proof())
    };
    assert_eq!(at(json!({})), Ok(Proof::Jwt));
    assert_eq!(at(json!({"exp": now + 1, "nbf": now, "iat": now, "aud": "upload", "iss": "x"})), Ok(Proof::Jwt));
    assert_eq!(at(json!({"exp": now as f64 + 1.5})), Ok(Proof::Jwt));
    assert_eq!(at(json!({"exp": now})), Err(Denied::Gone));
    assert!(matches!(at(json!({"nbf": now + 1})), Err(Denied::BadBearer(_))));
    assert!(matches!(at(json!({"iat": now + 61})), Err(Denied::BadBearer(_))));
    assert!(matches!(at(json!({"exp": "tomorrow"})), Err(Denied::Malformed(_))));
}

#[test]
fn a_token_for_a_slot_never_passes_as_a_plain_one() {
    let one_key = Keyring { jwt_secret: Some(Secret::new("first shared secret")), ..keys("first shared secret") };
    let elsewhere = Put::new("slot-2/a b.txt", 11).bearer(&token(&share()));
    assert_eq!(elsewhere.denied(&one_key), Denied::OtherSlot);
    let jwt_only = Keyring { jwt_secret: Some(Secret::new("first shared secret")), ..Keyring::default() };
    assert!(matches!(elsewhere.denied(&jwt_only), Denied::BadBearer(_)));
    assert!(matches!(put_share(&share()).denied(&jwt_only), Denied::BadBearer(_)));
}

#[test]
fn the_algorithm_is_the_configured_one() {
    for algorithm in [JwtAlgorithm::Hs256, JwtAlgorithm::Hs384, JwtAlgorithm::Hs512] {
        for pinned in [JwtAlgorithm::Hs256, JwtAlgorithm::Hs384, JwtAlgorithm::Hs512] {
            let signing = Keyring { jwt_algorithm: algorithm, ..all_keys() };
            let checking = Keyring { jwt_algorithm: pinned, ..all_keys() };
            for dialect in [Dialect::FileShare, Dialect::Jwt] {
                let put = signed_put(dialect, "a/b", 5, &signing);
                assert_eq!(put.authorize(&checking).is_ok(), algorithm == pinned, "{algorithm:?} {pinned:?}");
            }
        }
    }
}

#[test]
fn a_header_cannot_talk_its_way_past_the_signature() {
    let good = token(&share());
    let mut parts = good.split('.').skip(1);
    let (claims, signature) = (parts.next().unwrap(), parts.next().unwrap());
    let headers = [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS512","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r"[]",
        r"",
    ];
    for header in headers {
        let header = URL_SAFE_NO_PAD.encode(header);
        for signature in [signature, "", "AA"] {
            let put = Put::new("slot-1/a b.txt", 11).bearer(&format!("{header}.{claims}.{signature}"));
            assert!(matches!(put.denied(&all_keys()), Denied::BadBearer(_)), "{header}");
        }
    }
}

#[test]
fn an_extension_that_is_not_understood_is_refused() {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(share().to_string()));
    let hex = super::mac("first shared secret", &message);
    let bytes: Vec<u8> = (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let put = Put::new("slot-1/a b.txt", 11).bearer(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes)));
    assert_eq!(put.denied(&all_keys()), Denied::BadBearer("it asks for extensions"));
}

#[test]
fn the_bearer_scheme_has_any_case_and_one_token() {
    let good = token(&share());
    let put = |value: String| Put::new("slot-1/a b.txt", 11).authorization(value);
    for value in [format!("BEARER {good}"), format!("bearer   {good}"), format!("bEaReR {good} ")] {
        assert!(put(value.clone()).authorize(&all_keys()).is_ok(), "{value}");
    }
    for value in [good.clone(), format!("Basic {good}"), "Bearer".to_owned(), "Bearer ".to_owned(), String::new()] {
        assert_eq!(put(value.clone()).denied(&all_keys()), Denied::Missing, "{value}");
    }
    for garbage in ["x", ".x", "=", " x", ",x", "\u{e9}", "."] {
        let denied = put(format!("Bearer {good}{garbage}")).denied(&all_keys());
        assert!(matches!(denied, Denied::BadBearer(_)), "{garbage}: {denied}");
    }
}

#[test]
fn an_empty_key_signs_no_token() {
    let empty = Secret::new("");
    let share = jwt::encode(&share(), &empty, JwtAlgorithm::Hs256).unwrap();
    let plain = jwt::encode(&json!({}), &empty, JwtAlgorithm::Hs256).unwrap();
    for keys in [Keyring::default(), keys(""), Keyring { jwt_secret: Some(empty), ..keys("") }] {
        for token in [&share, &plain] {
            let put = Put::new("slot-1/a b.txt", 11).bearer(token);
            assert!(matches!(put.denied(&keys), Denied::BadBearer(_)));
        }
    }
}

#[test]
fn what_a_dialect_cannot_express_is_not_signed() {
    let deep = slot("a/b/c");
    let early = SlotRequest { valid_until: Timestamp::from_unix(-1), ..request(&deep, 5) };
    let failed =
        |dialect, request: &SlotRequest<'_>, keys: &Keyring| sign(dialect, request, keys).unwrap_err().to_string();
    assert_eq!(
        failed(Dialect::FileShare, &request(&deep, 5), &all_keys()),
        "a file-share path is `slot/name`, not `a/b/c`"
    );
    assert!(failed(Dialect::V3, &early, &all_keys()).ends_with("is before 1970"));
    assert_eq!(failed(Dialect::V1, &request(&deep, 5), &keys("")), "no secret is configured");
    assert_eq!(failed(Dialect::Jwt, &request(&deep, 5), &keys("x")), "no jwtsecret is configured");
    assert_eq!(failed(Dialect::Delete, &request(&deep, 5), &keys("x")), "no delete_secret is configured");
}
