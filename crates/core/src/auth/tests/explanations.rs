//! What the operator is told about a refused proof.

use super::{Dialect, NOW, Put, SlotRequest, all_keys, keys, mac, request, sign, signed_put, slot};
use crate::auth::{ExplainHints, Explanation, JwtAlgorithm, Keyring, OtherKey, PathFault, Secret, SignedAs, explain};

const SECRET: &str = "first shared secret";

fn hints<'a>() -> ExplainHints<'a> {
    ExplainHints { base_path: "/upload", public_path: "/upload", retired: &[], now: NOW }
}

/// Asserts that the proof is refused, and returns what is said about it.
fn explained(put: &Put, keys: &Keyring, hints: &ExplainHints<'_>) -> Vec<Explanation> {
    assert!(put.authorize(keys).is_err());
    let found = explain(&put.head(), keys, hints);
    for explanation in &found {
        let sentence = explanation.to_string();
        assert!(!sentence.contains("shared secret") && !sentence.contains(&mac(SECRET, "a/b.txt 7")), "{sentence}");
    }
    found
}

fn of_message(parameter: &str, message: &str) -> Vec<Explanation> {
    let put = Put::new("uuid/a b.txt", 32).query(format!("{parameter}={}", mac(SECRET, message)));
    explained(&put, &all_keys(), &hints())
}

fn path(signed: &str, fault: PathFault) -> Explanation {
    Explanation::OtherPath { signed: signed.to_owned(), fault }
}

#[test]
fn a_wrong_prefix_is_named() {
    let found = of_message("v", "upload/uuid/a b.txt 32");
    assert_eq!(found, [path("upload/uuid/a b.txt", PathFault::BaseExtra("upload".to_owned()))]);

    let put = Put::new("files/x/uuid/a.txt", 32).query(format!("v={}", mac(SECRET, "uuid/a.txt 32")));
    let found = explained(&put, &all_keys(), &ExplainHints::default());
    assert_eq!(found, [path("uuid/a.txt", PathFault::BaseMissing("files/x".to_owned()))]);
    assert_eq!(
        found[0].to_string(),
        r#"the signature is right for path "uuid/a.txt": base path missing? `public_url` should end in "/files/x/""#
    );
    assert_eq!(of_message("v", "/uuid/a b.txt 32"), [path("/uuid/a b.txt", PathFault::LeadingSlash)]);
}

#[test]
fn another_encoding_of_the_path_is_named() {
    assert_eq!(of_message("v", "uuid/a%20b.txt 32"), [path("uuid/a%20b.txt", PathFault::Encoded)]);
    let umlaut = |signed: &str| {
        let put =
            Put::new("uuid/ü.txt", 32).query(format!("v2={}", mac(SECRET, &format!("{signed}\x0032\0text/plain"))));
        explained(&put, &all_keys(), &hints())
    };
    assert_eq!(umlaut("uuid/%C3%BC.txt"), [path("uuid/%C3%BC.txt", PathFault::Encoded)]);
    assert_eq!(umlaut("uuid/%c3%bc.txt"), [path("uuid/%c3%bc.txt", PathFault::Encoded)]);
    let put = Put::new("uuid/a%20b.txt", 32).query(format!("v={}", mac(SECRET, "uuid/a b.txt 32")));
    assert_eq!(explained(&put, &all_keys(), &hints()), [path("uuid/a b.txt", PathFault::EncodedTwice)]);
}

#[test]
fn another_length_is_named() {
    let length = |signed: &str| vec![Explanation::OtherLength { signed: signed.to_owned() }];
    assert_eq!(of_message("v", "uuid/a b.txt -1"), length("-1"));
    assert_eq!(of_message("v", "uuid/a b.txt 16"), length("16"));
    assert_eq!(of_message("v2", "uuid/a b.txt\x000\0text/plain"), length("0"));
    assert_eq!(of_message("token", "uuid/a b.txt\x0048\0text/plain"), length("48"));
}

#[test]
fn another_type_or_scheme_is_named() {
    let other_type = Explanation::OtherType { signed: "video/mp4".to_owned() };
    assert_eq!(of_message("v2", "uuid/a b.txt\x0032\0video/mp4"), [other_type]);
    assert_eq!(of_message("v2", "uuid/a b.txt\x0032"), [Explanation::OtherScheme(SignedAs::V2WithoutType)]);
    assert_eq!(of_message("v2", "uuid/a b.txt 32"), [Explanation::OtherScheme(SignedAs::V1)]);
    assert_eq!(of_message("v", "uuid/a b.txt\x0032\0text/plain"), [Explanation::OtherScheme(SignedAs::V2)]);
    assert_eq!(of_message("v", "uuid/a b.txt"), [Explanation::OtherScheme(SignedAs::PathOnly)]);
    assert_eq!(of_message("v", "PUT\n/uuid/a b.txt"), [Explanation::OtherScheme(SignedAs::V3WithoutExpires)]);
    assert_eq!(of_message("token", "uuid/a b.txt\0delete secret"), [Explanation::OtherScheme(SignedAs::Delete)]);
    assert_eq!(of_message("expires=77&v", "PUT\n77\n/uuid/a b.txt"), [Explanation::OtherScheme(SignedAs::V3)]);
}

#[test]
fn another_key_is_named_but_not_shown() {
    let signed_with = |key: &str, configured: &str| {
        let put = Put::new("a/b.txt", 7).query(format!("v={}", mac(key, "a/b.txt 7")));
        let keys = Keyring { secrets: vec![Secret::new(configured)], ..all_keys() };
        explained(&put, &keys, &ExplainHints { retired: &[Secret::new("long gone")], ..hints() })
    };
    let other = |key| vec![Explanation::OtherKey(key)];
    assert_eq!(signed_with("long gone", "x"), other(OtherKey::Retired));
    assert_eq!(signed_with("plain token secret", "x"), other(OtherKey::JwtSecret));
    assert_eq!(signed_with("delete secret", "x"), other(OtherKey::DeleteSecret));
    assert_eq!(signed_with("x", "x\n"), other(OtherKey::Trimmed));
    assert_eq!(signed_with("x\n", "x"), other(OtherKey::WithLineBreak));
    assert_eq!(signed_with("hello", "68656c6c6f"), other(OtherKey::Decoded));
    assert_eq!(signed_with("hello", "aGVsbG8="), other(OtherKey::Decoded));
    assert_eq!(signed_with("nobody knows", "x"), []);
}

#[test]
fn an_expired_or_upper_case_v3_is_named() {
    let put = signed_put(Dialect::V3, "a/b.txt", 7, &all_keys());
    let late = ExplainHints { now: NOW.plus_seconds(305), ..hints() };
    assert_eq!(explain(&put.head(), &all_keys(), &late), [Explanation::Expired { seconds: 5 }]);
    let upper = mac(SECRET, "PUT\n9999999999\n/a/b.txt").to_uppercase();
    let put = Put::new("a/b.txt", 7).query(format!("v3={upper}&expires=9999999999"));
    assert_eq!(explained(&put, &all_keys(), &hints()), [Explanation::UpperCase]);
}

#[test]
fn a_token_for_another_slot_time_or_algorithm_is_named() {
    let file = slot("uuid/a.txt");
    let signed = |request: SlotRequest<'_>, keys: &Keyring| sign(Dialect::FileShare, &request, keys).unwrap();
    let put_to = |path: &str, keys: &Keyring| Put::new(path, 7).proof(signed(request(&file, 7), keys));
    let found = explained(&put_to("files/uuid/a.txt", &all_keys()), &all_keys(), &hints());
    assert_eq!(found, [path("uuid/a.txt", PathFault::BaseMissing("files".to_owned()))]);
    let found = explained(&put_to("uuid/b.txt", &all_keys()), &all_keys(), &hints());
    assert_eq!(found, [path("uuid/a.txt", PathFault::OtherSlot)]);

    let future = SlotRequest { issued: NOW.plus_seconds(90), ..request(&file, 7) };
    let past = SlotRequest { valid_until: NOW.plus_seconds(-9), ..request(&file, 7) };
    let at = |request| explained(&Put::new("uuid/a.txt", 7).proof(signed(request, &all_keys())), &all_keys(), &hints());
    assert_eq!(at(future), [Explanation::Early { seconds: 90 }]);
    assert_eq!(at(past), [Explanation::Expired { seconds: 9 }]);

    let other = Keyring { jwt_algorithm: JwtAlgorithm::Hs512, ..all_keys() };
    let found = explained(&put_to("uuid/a.txt", &other), &all_keys(), &hints());
    assert_eq!(found, [Explanation::OtherAlgorithm { named: "HS512".to_owned(), pinned: "HS256" }]);
    let retired = [Secret::new("long gone")];
    let found = explained(
        &put_to("uuid/a.txt", &keys("long gone")),
        &all_keys(),
        &ExplainHints { retired: &retired, ..hints() },
    );
    assert_eq!(found, [Explanation::OtherKey(OtherKey::Retired)]);
}

#[test]
fn a_plain_token_under_the_shared_secret_is_named() {
    let plain = Keyring { jwt_secret: Some(Secret::new(SECRET)), ..all_keys() };
    let put = signed_put(Dialect::Jwt, "a/b.txt", 7, &plain);
    let found = explained(&put, &all_keys(), &hints());
    assert_eq!(found, [Explanation::OtherScheme(SignedAs::PlainJwt), Explanation::OtherKey(OtherKey::SharedSecret)]);
}

#[test]
fn without_a_key_or_a_proof_little_is_said() {
    let put = signed_put(Dialect::V1, "a/b.txt", 7, &all_keys());
    assert_eq!(explained(&put, &Keyring::default(), &hints()), [Explanation::NoKey]);
    let put = signed_put(Dialect::FileShare, "a/b.txt", 7, &all_keys());
    assert_eq!(explained(&put, &Keyring::default(), &hints()), [Explanation::NoKey]);
    for put in [Put::new("a/b.txt", 7), Put::new("a/b.txt", 7).query("v=zz"), Put::new("a/b.txt", 7).bearer("a.b.c")] {
        assert_eq!(explained(&put, &all_keys(), &hints()), []);
    }
}

#[test]
fn hostile_names_stay_on_one_line() {
    let put = Put::new("x/uuid/a\n\u{1b}[31m.txt", 7).query(format!("v={}", mac(SECRET, "uuid/a\n\u{1b}[31m.txt 7")));
    let found = explained(&put, &all_keys(), &hints());
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().chars().all(|character| !character.is_control()));
}
