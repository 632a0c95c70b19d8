//! `v`, `v2`, `token`, `v3` and Metronome's DELETE, with signatures that real servers made.

use std::collections::HashMap;

use super::{Dialect, NOW, Put, all_keys, keys, mac, request, sign, signed_put, slot};
use crate::auth::{Denied, Keyring, Owner, Proof, Secret, authorize, authorize_delete};

const SECRET: &str = "test-vector-secret-0123456789";
const REPORT: &str = "c1842/8f3a/report.pdf";
const NOTES: &str = "c1842/8f3a/notes.txt";
const LIVE: &str = "11111111-2222-4333-8444-555555555555/très cool.jpg";

#[derive(serde::Deserialize)]
struct Vectors {
    secret: String,
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    id: String,
    signed: String,
    mac: String,
}

fn vectors() -> HashMap<String, Vector> {
    let file: Vectors = serde_json::from_str(include_str!("../../../testdata/auth-vectors.json")).unwrap();
    assert_eq!(file.secret, SECRET);
    file.vectors.into_iter().map(|vector| (vector.id.clone(), vector)).collect()
}

#[test]
fn the_vectors_of_the_original_sign_what_they_say() {
    let hexadecimal: Vec<_> = vectors().into_values().filter(|vector| vector.mac.len() == 64).collect();
    assert_eq!(hexadecimal.len(), 13);
    for vector in hexadecimal {
        assert_eq!(mac(SECRET, &vector.signed), vector.mac, "{}", vector.id);
    }
}

#[test]
fn the_strong_schemes_of_the_original_are_accepted() {
    let vectors = vectors();
    let of = |id: &str| vectors[id].mac.clone();
    let pdf = Some("application/pdf");
    let cases = [
        (Put::new(REPORT, 1_048_576).query(format!("v={}", of("v-1"))), Proof::V1, None),
        (Put::new(REPORT, 1_048_576).query(format!("v={}", of("v-1").to_uppercase())), Proof::V1, None),
        (Put::new("c1842/8f3a/Grüße 1.txt", 11).query(format!("v={}", of("v-utf8"))), Proof::V1, None),
        (Put::new(REPORT, 1_048_576).query(format!("v2={}", of("v2-1"))), Proof::V2, pdf),
        (Put::new(REPORT, 1_048_576).query(format!("token={}", of("v2-1").to_uppercase())), Proof::Token, pdf),
        (Put::new(NOTES, 11).query(format!("v2={}", of("v2-txt"))), Proof::V2, Some("text/plain; charset=utf-8")),
        (Put::new(NOTES, 11).query(format!("v2={}", of("v2-txt-bare"))), Proof::V2, Some("text/plain")),
        (Put::new(REPORT, 5).query(format!("v3={}&expires=4102444800", of("v3-1"))), Proof::V3, None),
        (Put::new(REPORT, 5).chunked().query(format!("expires=4102444800&v3={}", of("v3-1"))), Proof::V3, None),
    ];
    for (put, proof, media_type) in cases {
        let grant = put.authorize(&keys(SECRET)).unwrap_or_else(|denied| panic!("{put:?}: {denied}"));
        assert_eq!((grant.proof(), grant.media_type(), grant.slot()), (proof, media_type, &put.slot));
        assert_eq!(grant.size().is_some(), proof != Proof::V3);
    }
}

#[test]
fn the_weak_schemes_of_the_original_are_refused() {
    let weak = ["v-path", "v-te", "v2-noct", "v3-simpl", "xsig-upload", "xsig-chunk", "dl-v"];
    let weak_or_bearer = |id: &str| weak.contains(&id) || id.starts_with("b-");
    let mut tried = 0;
    for vector in vectors().into_values().filter(|vector| weak_or_bearer(&vector.id)) {
        let mac = vector.mac.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        for query in [
            format!("v={mac}"),
            format!("v2={mac}"),
            format!("token={mac}"),
            format!("v3={mac}&expires=4102444800"),
            format!("token={mac}&user=alice%40example.org&expiry=4102444800"),
        ] {
            for path in [REPORT, NOTES, "upload", "download/c1842/8f3a/report.pdf"] {
                // Not 0: `dl-v` is a right signature for an empty upload to that path.
                for length in [11, 194, 1_048_576] {
                    let put = Put::new(path, length).query(query.as_str());
                    assert!(put.authorize(&keys(SECRET)).is_err(), "{} {query}", vector.id);
                    assert!(put.chunked().authorize(&keys(SECRET)).is_err(), "{} {query}", vector.id);
                    tried += 1;
                }
            }
        }
        let bearer = Put::new(REPORT, 1_048_576).bearer(&vector.mac);
        assert!(matches!(bearer.denied(&keys(SECRET)), Denied::BadBearer(_)), "{}", vector.id);
    }
    assert_eq!(tried, (weak.len() + 9) * 60);
}

#[test]
fn live_signatures_of_prosody_ejabberd_and_metronome_are_accepted() {
    let empty = "11111111-2222-4333-8444-555555555555/empty.bin";
    let ejabberd = "9637f279e87dc3aba7eb582ceceaa621fa695865/GMtaVDuiXDSkvFqmh3bbEchDZNrToN7bgdm4cYd3/très_cool.jpg";
    let octets = Some("application/octet-stream");
    let plain = Some("text/plain; charset=utf-8");
    #[rustfmt::skip]
    let cases = [
        (Put::new(LIVE, 23456).query("v=2fab4d8391470089c60d7a76c8438acbf7737e4723e9bfb6853a1a6602b5f8c5"), None),
        (Put::new(LIVE, 23456).query("v2=283e0f61c5fc4b6fe1de840ef8890dc303cca921506d62828205c7eea8c88307"), Some("image/jpeg")),
        (Put::new(LIVE, 23456).query("v2=16cfe07ca45a56269b6e033177980bd4be11f11b1e9de6562ab1fc4eb428d483"), None),
        (Put::new(LIVE, 23456).query("v2=9438d12fb333745f3ed7542a6a24ec95e853de770310da4bcafafb4bc763399c"), octets),
        (Put::new(empty, 0).query("v=d406d333c5f625a37d7f5d8a59d805e0edd02976452c4b88d11e623d9e831783"), None),
        (Put::new("a7ad9dac-8099-40ef-bd75-03d24bd820b4/très cool.jpg", 11).query("v=0a8ffd2af18e3069b13fb7e3bfc61fe487bf9056e7c76e55c6946e330dcb9643"), None),
        (Put::new("ac3d776b-96e4-4e6b-a0aa-5ef9d947df4f/très cool.jpg", 11).typed("text/plain").query("v2=d5ca7604bc4cc6ec92d29f32f7935ad70f2fe75063b89ea67c1957485a25840e"), plain),
        (Put::new(ejabberd, 11).query("v=7522891ba2d6d7b27f5da7f7e1e0cb74d7c2939c58680ae863d3a0c1dfa79b52"), None),
        (Put::new("thomas/abc/catmetal.jpg", 23026).query("v=7b8879e2d1c733b423a70cde30cecc3a3c64a03f790d1b5bcbb2a6aca52b477e"), None),
        (Put::new("thomas/abc/catmetal.jpg", 23026).query("v2=7318cd44d4c40731e3b2ff869f553ab2326eae631868e7b8054db20d4aee1c06"), Some("image/jpeg")),
        (Put::new("thomas/abc/catmetal.jpg", 23026).query("token=7318cd44d4c40731e3b2ff869f553ab2326eae631868e7b8054db20d4aee1c06"), Some("image/jpeg")),
    ];
    for (put, media_type) in cases {
        let grant = put.authorize(&keys("mysecret")).unwrap_or_else(|denied| panic!("{put:?}: {denied}"));
        assert_eq!(grant.media_type(), media_type.or(put.content_type.as_deref()));
        let hash = put.slot.as_str().starts_with("9637").then(|| Owner::JidSha1(ejabberd[..40].to_owned()));
        assert_eq!(grant.owner(), hash.as_ref());
    }
}

#[test]
fn only_the_highest_parameter_counts() {
    let keys = all_keys();
    let good = |dialect| signed_put(dialect, "a/b.bin", 7, &keys).query.unwrap();
    let zeros = "0".repeat(64);
    let denied = |query: String| Put::new("a/b.bin", 7).query(query).denied(&keys);
    assert_eq!(denied(format!("v2={zeros}&{}", good(Dialect::V1))), Denied::BadSignature(Proof::V2));
    assert_eq!(denied(format!("v2=00&{}", good(Dialect::V1))), Denied::BadSignature(Proof::V2));
    assert_eq!(denied(format!("{}&token={zeros}", good(Dialect::V1))), Denied::BadSignature(Proof::Token));
    assert_eq!(denied(format!("v3={zeros}&expires=9999999999&{}", good(Dialect::V2))), Denied::BadSignature(Proof::V3));
    let put = Put::new("a/b.bin", 7).query(format!("v={zeros}&x=y&{}", good(Dialect::V2)));
    assert_eq!(put.authorize(&keys).unwrap().proof(), Proof::V2);
}

#[test]
fn a_query_proof_decides_before_a_bearer_token() {
    let keys = all_keys();
    let bearer = signed_put(Dialect::FileShare, "a/b.bin", 7, &keys);
    assert_eq!(bearer.clone().query("v=00").denied(&keys), Denied::BadSignature(Proof::V1));
    assert_eq!(bearer.clone().query("v=&utm=1").authorize(&keys).unwrap().proof(), Proof::FileShare);
    let good = signed_put(Dialect::V1, "a/b.bin", 7, &keys);
    assert_eq!(good.bearer("not.a.token").authorize(&keys).unwrap().proof(), Proof::V1);
}

#[test]
fn empty_parameters_are_no_proof_and_v3_without_expires_is_half_a_one() {
    let keys = all_keys();
    let v3 = signed_put(Dialect::V3, "a/b.bin", 7, &keys).query.unwrap();
    let denied = |query: &str| Put::new("a/b.bin", 7).query(query).denied(&keys);
    assert_eq!(denied(v3.split('&').next().unwrap()), Denied::Malformed("v3 without expires"));
    for query in ["", "v", "v=", "v=&v2=&token=&v3=&expires=", "expires=9999999999", "V=00", "&&=&", "vv=00"] {
        assert_eq!(denied(query), Denied::Missing, "{query}");
    }
    assert_eq!(Put::new("a/b.bin", 7).denied(&keys), Denied::Missing);
}

#[test]
fn a_parameter_that_appears_twice_is_refused() {
    let keys = all_keys();
    let good = signed_put(Dialect::V1, "a/b.bin", 7, &keys).query.unwrap();
    for query in [format!("{good}&{good}"), format!("v=&{good}"), format!("{good}&%76=00"), format!("{good}&v")] {
        assert!(matches!(Put::new("a/b.bin", 7).query(&*query).denied(&keys), Denied::Malformed(_)), "{query}");
    }
    let spelled = good.replacen('v', "%76", 1);
    assert!(Put::new("a/b.bin", 7).query(spelled).authorize(&keys).is_ok());
}

#[test]
fn what_signs_a_length_needs_one() {
    let keys = all_keys();
    for dialect in [Dialect::V1, Dialect::V2, Dialect::Token] {
        assert_eq!(signed_put(dialect, "a/b.bin", 7, &keys).chunked().denied(&keys), Denied::LengthRequired);
    }
    for message in ["a/b.bin -1", "a/b.bin ", "a/b.bin", "a/b.bin +7", "a/b.bin 07", "a/b.bin 0x7"] {
        let put = Put::new("a/b.bin", 7).query(format!("v={}", mac("first shared secret", message)));
        assert_eq!(put.denied(&keys), Denied::BadSignature(Proof::V1), "{message}");
        assert_eq!(put.chunked().denied(&keys), Denied::LengthRequired, "{message}");
    }
}

#[test]
fn v3_ends_at_its_deadline_without_grace() {
    let keys = all_keys();
    let put = signed_put(Dialect::V3, "a/b.bin", 7, &keys);
    let at = |seconds| authorize(&put.head(), &keys, NOW.plus_seconds(seconds)).map(|grant| grant.proof());
    assert_eq!(at(300), Ok(Proof::V3));
    assert_eq!(at(301), Err(Denied::Expired));
    // Only who holds a right signature learns that it has expired.
    let stranger = Put::new("a/b.bin", 7).query(format!("v3={}&expires=1", "0".repeat(64)));
    assert_eq!(stranger.denied(&keys), Denied::BadSignature(Proof::V3));
}

#[test]
fn v3_is_strict_about_its_text() {
    let secret = "first shared secret";
    let put = |expires: &str, mac: &str| Put::new("a/b.bin", 7).query(format!("v3={mac}&expires={expires}"));
    let signed = |expires: &str| mac(secret, &format!("PUT\n{expires}\n/a/b.bin"));
    for expires in ["+9999999999", "-1", "9999999999.0", "0x7fffffff", "9e9", " 9", "99999999999999999999", "never"] {
        assert!(matches!(put(expires, &signed(expires)).denied(&all_keys()), Denied::Malformed(_)), "{expires}");
    }
    // The original text is signed, not the number.
    assert!(put("09999999999", &signed("09999999999")).authorize(&all_keys()).is_ok());
    assert!(put("9999999999", &signed("09999999999")).authorize(&all_keys()).is_err());
    let upper = signed("9999999999").to_uppercase();
    assert_eq!(put("9999999999", &upper).denied(&all_keys()), Denied::BadSignature(Proof::V3));
    for message in ["GET\n9999999999\n/a/b.bin", "PUT\n9999999999\na/b.bin", "PUT\n/a/b.bin"] {
        let put = put("9999999999", &mac(secret, message));
        assert_eq!(put.denied(&all_keys()), Denied::BadSignature(Proof::V3), "{message}");
    }
}

#[test]
fn text_that_is_no_mac_is_refused() {
    let good = mac("first shared secret", "a/b.bin 7");
    let bad = [
        good[..63].to_owned(),
        format!("{good}0"),
        format!("0x{}", &good[2..]),
        format!("{}g", &good[..63]),
        format!("{}%C3%A9", &good[..62]),
        format!("{}+", &good[..63]),
    ];
    for mac in bad {
        let put = Put::new("a/b.bin", 7).query(format!("v={mac}"));
        assert_eq!(put.denied(&all_keys()), Denied::BadSignature(Proof::V1), "{mac}");
    }
    let bytes = Put::new("a/b.bin", 7).query("v=%ff");
    assert!(matches!(bytes.denied(&all_keys()), Denied::Malformed(_)));
}

#[test]
fn the_signed_type_is_the_stored_one() {
    let keys = all_keys();
    let slot = slot("a/photo.jpg");
    let stored = |signed: Option<&str>, sent: Option<&str>| {
        let signed = sign(Dialect::V2, &super::SlotRequest { media_type: signed, ..request(&slot, 7) }, &keys).unwrap();
        let mut put = Put::new("a/photo.jpg", 7).proof(signed);
        put.content_type = sent.map(str::to_owned);
        put.authorize(&keys).map(|grant| grant.media_type().map(str::to_owned))
    };
    let is = |media_type: &str| Ok(Some(media_type.to_owned()));
    assert_eq!(stored(Some("image/png"), Some("image/png")), is("image/png"));
    assert_eq!(stored(None, Some("image/png")), is("application/octet-stream"));
    assert_eq!(stored(None, None), is("application/octet-stream"));
    assert_eq!(stored(Some("image/jpeg"), Some("text/html")), is("image/jpeg"));
    assert_eq!(stored(Some("text/x; charset=utf-8"), Some("text/x")), is("text/x; charset=utf-8"));
    assert_eq!(stored(Some("text/x"), Some("text/x;charset=UTF-8")), is("text/x"));
    assert_eq!(stored(Some("application/pgp-encrypted"), Some("image/jpeg")), is("application/pgp-encrypted"));
    assert_eq!(stored(Some(""), Some("")), Ok(None));
    assert_eq!(stored(Some(""), Some("image/png")), is("image/png"));
    assert_eq!(stored(Some("image/png"), Some("image/gif")), Err(Denied::BadSignature(Proof::V2)));
    assert_eq!(stored(Some("image/png"), None), Err(Denied::BadSignature(Proof::V2)));
}

#[test]
fn every_secret_is_accepted_and_an_empty_one_never() {
    let keys = all_keys();
    for secret in ["first shared secret", "second shared secret"] {
        let put = Put::new("a/b.bin", 7).query(format!("v={}", mac(secret, "a/b.bin 7")));
        assert!(put.authorize(&keys).is_ok(), "{secret}");
    }
    let nothing = Put::new("a/b.bin", 7).query(format!("v={}", mac("", "a/b.bin 7")));
    let jwt_only = Keyring { jwt_secret: Some(Secret::new("x")), ..Keyring::default() };
    for keys in [Keyring::default(), self::keys(""), jwt_only, all_keys()] {
        assert_eq!(nothing.denied(&keys), Denied::BadSignature(Proof::V1));
    }
}

#[test]
fn ejabberds_user_hash_owns_only_its_own_shape_of_path() {
    let keys = all_keys();
    let owner = |path: &str| {
        let put = signed_put(Dialect::V1, path, 7, &keys);
        put.authorize(&keys).unwrap().owner().cloned()
    };
    let hash = "9637f279e87dc3aba7eb582ceceaa621fa695865";
    assert_eq!(owner(&format!("{hash}/random/a.jpg")), Some(Owner::JidSha1(hash.to_owned())));
    assert_eq!(owner(&format!("{hash}/a.jpg")), None);
    assert_eq!(owner(&format!("{hash}/random/b/a.jpg")), None);
    assert_eq!(owner(&format!("{}/random/a.jpg", hash.to_uppercase())), None);
    assert_eq!(owner(&format!("{}/random/a.jpg", &hash[1..])), None);
}

#[test]
fn metronome_deletes_with_its_own_secret_only() {
    let with = |delete: Option<&str>| Keyring { delete_secret: delete.map(Secret::new), ..keys("mysecret") };
    let delete = Put::new(LIVE, 0).query("token=cd5f01d717467a2d64b57983f2f3294b2c9e665644686448ffe7f4e3a847f9a4");
    let deletion = authorize_delete(&delete.head(), &with(Some("delsecret"))).unwrap();
    assert_eq!(deletion.slot().as_str(), LIVE);
    let denied = |put: &Put, keys: &Keyring| authorize_delete(&put.head(), keys).unwrap_err();
    let bad = Denied::BadSignature(Proof::Token);
    for keys in [with(None), with(Some("")), with(Some("other")), keys(""), Keyring::default()] {
        assert_eq!(denied(&delete, &keys), bad);
    }
    let keys = with(Some("delsecret"));
    assert_eq!(denied(&Put::new(LIVE, 0), &keys), Denied::Missing);
    assert_eq!(denied(&signed_put(Dialect::Token, LIVE, 0, &keys), &keys), bad);
    assert_eq!(denied(&signed_put(Dialect::V1, LIVE, 0, &keys), &keys), Denied::Missing);
    assert_eq!(delete.denied(&keys), bad, "a DELETE's token writes nothing");
    let signed = sign(Dialect::Delete, &request(&slot(LIVE), 0), &keys).unwrap();
    assert_eq!(signed.query, delete.query);
    assert_eq!(signed.path, "11111111-2222-4333-8444-555555555555/tr%c3%a8s%20cool.jpg");
    let twice = delete.clone().query(format!("{0}&{0}", delete.query.unwrap()));
    assert!(matches!(denied(&twice, &keys), Denied::Malformed(_)));
}

#[test]
fn debug_shows_no_secret_and_no_proof() {
    let keys = all_keys();
    assert!(!format!("{keys:?}").contains("shared secret"));
    let signed = sign(Dialect::V3, &request(&slot("a/b.bin"), 7), &keys).unwrap();
    assert!(!format!("{signed:?}").contains("v3="));
}
