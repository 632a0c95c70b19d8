//! The slot proofs that no Debian package signs for us: Metronome's tokens, the original's v3 and plain JWT; and what
//! each kind of proof leaves in the row.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::rig::http::Response;
use crate::rig::server::{SECRET, TestServer};
use crate::rig::sign::{self, in_seconds};
use crate::rig::wait_until;

const SECOND: &str = "5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f";
const DELETE_SECRET: &str = "deletes-9f8e7d6c5b4a3928170f6e5d4c3b2a19";
const JWT_SECRET: &str = "tokens-1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b";
const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn ask(server: &TestServer, method: &str, slot: &str, query: &str) -> Response {
    let body = (method == "PUT").then_some(b"hello".as_slice());
    server.request(method, &format!("/{slot}?{query}"), &[("Content-Type", "text/plain")], body)
}

fn put_bearing(server: &TestServer, slot: &str, token: &str) -> Response {
    let authorization = format!("Bearer {token}");
    server.request("PUT", &format!("/{slot}"), &[("Authorization", &authorization)], Some(b"hello"))
}

fn claims(slot: &str, expires: u64) -> Value {
    json!({
        "sub": "alice@example.org", "slot": slot, "filename": "file.png", "filesize": 5, "filetype": "image/png",
        "iat": in_seconds(0), "exp": in_seconds(300), "expires": expires,
    })
}

#[test]
fn metronome_puts_and_deletes_with_its_tokens() {
    let server = TestServer::builder().set("security.delete_secret", &format!("{DELETE_SECRET:?}")).start();
    let slot = "d/Grüße.txt";
    let encoded = sign::encode(slot);
    assert_eq!(ask(&server, "PUT", &encoded, &sign::token(SECRET, slot, 5, "text/plain")).status, 201);
    assert_eq!(server.get(slot).body, b"hello");

    let right = sign::delete(SECRET, DELETE_SECRET, slot);
    for (name, wrong) in [
        ("of another file", sign::delete(SECRET, DELETE_SECRET, "d/other.txt")),
        ("with another delete secret", sign::delete(SECRET, SECRET, slot)),
        ("of the upload", sign::token(SECRET, slot, 5, "text/plain")),
        ("that is none", "token=zz".to_owned()),
        ("twice", format!("{right}&{right}")),
    ] {
        assert_eq!(ask(&server, "DELETE", &encoded, &wrong).status, 403, "token {name}");
    }
    assert_eq!(ask(&server, "DELETE", &encoded, &sign::v1(SECRET, slot, 5)).status, 401);
    assert_eq!(server.get(slot).status, 200);

    assert_eq!(ask(&server, "DELETE", &encoded, &right).status, 204);
    assert_eq!(server.get(slot).status, 404);
    assert!(server.stored().is_empty(), "{:?}", server.stored());
    assert_eq!(ask(&server, "DELETE", &encoded, &right).status, 204, "gone is gone");
    assert_eq!(ask(&server, "PUT", &encoded, &sign::token(SECRET, slot, 5, "text/plain")).status, 409);
    let never = sign::delete(SECRET, DELETE_SECRET, "d/never.txt");
    assert_eq!(ask(&server, "DELETE", "d/never.txt", &never).status, 404);
    server.assert_whole();
}

#[test]
fn without_a_delete_secret_nothing_is_deleted() {
    let server = TestServer::start();
    assert_eq!(server.put("d/file.txt", b"hello").status, 201);
    for delete_secret in ["", SECRET, DELETE_SECRET] {
        assert_eq!(
            ask(&server, "DELETE", "d/file.txt", &sign::delete(SECRET, delete_secret, "d/file.txt")).status,
            403
        );
    }
    assert_eq!(server.get("d/file.txt").status, 200);
}

#[test]
fn v3_ends_when_it_says() {
    let server = TestServer::start();
    let put = |slot: &str, query: &str| ask(&server, "PUT", slot, query);
    assert_eq!(put("d/a.txt", &sign::v3(SECRET, "d/a.txt", in_seconds(60))).status, 201);
    assert_eq!(server.get("d/a.txt").body, b"hello", "under the path of its PUT");

    let past = sign::v3(SECRET, "d/b.txt", in_seconds(0) - 1);
    assert_eq!(put("d/b.txt", &past).status, 403);
    // The original gave days of grace to a client or a proxy that called itself one.
    let mobile = [("User-Agent", "Conversations client"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(server.request("PUT", &format!("/d/b.txt?{past}"), &mobile, Some(b"hello")).status, 403);

    let now = in_seconds(0);
    let signed = sign::v3(SECRET, "d/c.txt", now);
    let later = signed.replace(&format!("expires={now}"), &format!("expires={}", now + 3600));
    for (name, query, status) in [
        ("a later time", later, 403),
        ("no time", signed.split('&').next().expect("v3").to_owned(), 403),
        ("a time that is none", signed.replace(&now.to_string(), "soon"), 403),
        ("a time beyond all", signed.replace(&now.to_string(), "99999999999999999999"), 403),
        (
            "upper-case digits",
            sign::v3(SECRET, "d/c.txt", now + 60).to_uppercase().replace("V3=", "v3=").replace("EXPIRES", "expires"),
            403,
        ),
        ("another path", sign::v3(SECRET, "d/other.txt", now + 60), 403),
    ] {
        assert_eq!(put("d/c.txt", &query).status, status, "{name}: {query}");
    }
    let brief = sign::v3(SECRET, "d/d.txt", now + 1);
    wait_until("the second after", Duration::from_secs(5), || in_seconds(0) > now + 1);
    assert_eq!(put("d/d.txt", &brief).status, 403);
}

#[test]
fn a_plain_token_counts_where_it_is_enabled() {
    let token = |header: &str, secret: &str, claims: Value| sign::jwt(header, secret, &claims);
    let good = || json!({ "sub": "bob@example.org/phone", "iat": in_seconds(0), "exp": in_seconds(60) });

    let without = TestServer::start();
    assert_eq!(put_bearing(&without, "d/a.txt", &token(HS256, JWT_SECRET, good())).status, 401);
    assert_eq!(put_bearing(&without, "d/a.txt", &token(HS256, SECRET, good())).status, 401);

    let server = TestServer::builder()
        .set("security.enablejwt", "true")
        .set("security.jwtsecret", &format!("{JWT_SECRET:?}"))
        .start();
    assert_eq!(put_bearing(&server, "d/a.txt", &token(HS256, JWT_SECRET, good())).status, 201);
    assert_eq!(server.get("d/a.txt").body, b"hello");
    for (name, token, status) in [
        ("another key", token(HS256, SECRET, good()), 401),
        ("no key", token(HS256, "", good()), 401),
        ("no algorithm", token(r#"{"alg":"none"}"#, JWT_SECRET, good()), 401),
        ("another algorithm", token(r#"{"alg":"HS512"}"#, JWT_SECRET, good()), 401),
        ("no token", "abc".to_owned(), 401),
        ("past", token(HS256, JWT_SECRET, json!({ "exp": in_seconds(0) - 1 })), 410),
        ("not yet", token(HS256, JWT_SECRET, json!({ "nbf": in_seconds(600), "exp": in_seconds(900) })), 401),
        ("a slot, but not by the shared secret", token(HS256, JWT_SECRET, claims("d", in_seconds(600))), 401),
    ] {
        let answer = put_bearing(&server, "d/b.txt", &token);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{name}");
    }
    assert_eq!(server.get("d/b.txt").status, 404);
    assert_eq!(row(&server, "d/a.txt").owner, Some(("jid".into(), "bob@example.org".into())));
}

#[test]
fn tokens_alone_leave_no_way_in_by_an_empty_secret() {
    let server = TestServer::builder()
        .set("security.secret", "[]")
        .set("security.enablejwt", "true")
        .set("security.jwtsecret", &format!("{JWT_SECRET:?}"))
        .start();
    let good = sign::jwt(HS256, JWT_SECRET, &json!({ "exp": in_seconds(60) }));
    assert_eq!(put_bearing(&server, "d/a.txt", &good).status, 201);
    for query in [
        sign::v1("", "d/b.txt", 5),
        sign::v2("", "d/b.txt", 5, "text/plain"),
        sign::v3("", "d/b.txt", in_seconds(60)),
        sign::v1(JWT_SECRET, "d/b.txt", 5),
    ] {
        assert_eq!(ask(&server, "PUT", "d/b.txt", &query).status, 403, "{query}");
    }
    assert_eq!(put_bearing(&server, "d/file.png", &sign::jwt(HS256, "", &claims("d", in_seconds(60)))).status, 401);
}

#[test]
fn each_of_two_secrets_signs_every_dialect() {
    let server = TestServer::builder().set("security.secret", &format!("[{SECRET:?}, {SECOND:?}]")).start();
    for (number, secret) in [SECRET, SECOND].into_iter().enumerate() {
        let slot = |dialect: &str| format!("{dialect}-{number}/file.png");
        let queries = [
            ("v1", sign::v1(secret, &slot("v1"), 5)),
            ("v2", sign::v2(secret, &slot("v2"), 5, "text/plain")),
            ("token", sign::token(secret, &slot("token"), 5, "text/plain")),
            ("v3", sign::v3(secret, &slot("v3"), in_seconds(60))),
        ];
        for (dialect, query) in queries {
            assert_eq!(ask(&server, "PUT", &slot(dialect), &query).status, 201, "{dialect} {number}");
        }
        let token = sign::jwt(HS256, secret, &claims(&format!("share-{number}"), in_seconds(600)));
        assert_eq!(put_bearing(&server, &slot("share"), &token).status, 201, "file share {number}");
    }
}

#[test]
fn the_row_knows_owner_type_proof_and_end() {
    let server = TestServer::start();
    let hash = "c3499c2729730a7f807efb8676a92dcb6f8a3f8f";
    let ejabberd = format!("{hash}/random/file.txt");
    assert_eq!(server.put(&ejabberd, b"hello").status, 201);
    let expires = in_seconds(600);
    let token = sign::jwt(HS256, SECRET, &claims("slot", expires));
    assert_eq!(put_bearing(&server, "slot/file.png", &token).status, 201);
    assert_eq!(ask(&server, "PUT", "id/file.txt", &sign::v2(SECRET, "id/file.txt", 5, "text/plain")).status, 201);

    let row_of = |slot: &str| row(&server, slot);
    let owner = Some(("jid-sha1".to_owned(), hash.to_owned()));
    assert_eq!(row_of(&ejabberd), Row::of(owner, "v1", "text/plain", None));
    let owner = Some(("jid".to_owned(), "alice@example.org".to_owned()));
    assert_eq!(row_of("slot/file.png"), Row::of(owner, "file-share", "image/png", Some(expires)));
    assert_eq!(row_of("id/file.txt"), Row::of(None, "v2", "text/plain", None));
    assert_eq!(server.get("slot/file.png").header("content-type"), Some("image/png"), "the signed type counts");
}

#[test]
fn an_expiring_file_is_hidden_in_its_second() {
    let server = TestServer::start();
    let expires = in_seconds(2);
    let token = sign::jwt(HS256, SECRET, &claims("brief", expires));
    assert_eq!(put_bearing(&server, "brief/file.png", &token).status, 201);
    let etag = server.get("brief/file.png").header("etag").map(str::to_owned).expect("visible until then");
    wait_until("its end", Duration::from_secs(5), || in_seconds(0) >= expires);
    for (method, headers) in [
        ("GET", &[][..]),
        ("HEAD", &[]),
        ("GET", &[("Range", "bytes=0-1")]),
        ("GET", &[("If-None-Match", etag.as_str())]),
    ] {
        assert_eq!(server.request(method, "/brief/file.png", headers, None).status, 404, "{method} {headers:?}");
    }
    assert_eq!(put_bearing(&server, "brief/file.png", &token).status, 410, "the proof itself is over");
    assert_eq!(server.put("brief/file.png", b"hello").status, 409, "a slot is filled once");
}

/// What a row says of a file of 5 bytes.
#[derive(Debug, PartialEq)]
struct Row {
    owner: Option<(String, String)>,
    proof: String,
    media_type: String,
    size: i64,
    expires: Option<u64>,
}

impl Row {
    fn of(owner: Option<(String, String)>, proof: &str, media_type: &str, expires: Option<u64>) -> Self {
        Self { owner, proof: proof.to_owned(), media_type: media_type.to_owned(), size: 5, expires }
    }
}

#[track_caller]
fn row(server: &TestServer, slot: &str) -> Row {
    let path = server.storage().join(".hfs/meta.sqlite");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("database");
    let query = "SELECT owner_kind, owner, proof, media_type, size, expires FROM blob WHERE slot = ?1";
    let row = database.query_row(query, [slot], |row| {
        let owner = row.get::<_, Option<String>>(0)?.zip(row.get(1)?);
        let (proof, media_type) = (row.get(2)?, row.get(3)?);
        let (size, expires) = (row.get::<_, i64>(4)?, row.get::<_, Option<i64>>(5)?);
        Ok(Row { owner, proof, media_type, size, expires: expires.map(i64::cast_unsigned) })
    });
    row.unwrap_or_else(|error| panic!("no row of {slot}: {error}"))
}
