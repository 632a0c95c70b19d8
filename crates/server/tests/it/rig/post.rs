//! The original server's POST: its tokens, its forms, its answers.

use serde_json::{Value, json};

use super::http::Response;
use super::server::{Builder, TestServer};
use super::sign::{self, in_seconds};

pub(crate) const JWT_SECRET: &str = "f3c0a9d17b5e42688e0d3c7a91b24f56";
const BOUNDARY: &str = "form-boundary";
/// The last line of a form.
pub(crate) const END: &str = "--form-boundary--\r\n";

/// Lets a server take plain tokens.
pub(crate) fn taking_tokens(builder: Builder) -> Builder {
    builder.set("security.enablejwt", "true").set("security.jwtsecret", &format!("\"{JWT_SECRET}\""))
}

/// `Bearer ...` of a user, as the one who runs the original's clients makes it.
pub(crate) fn token(sub: &str) -> String {
    sign::file_share(JWT_SECRET, &json!({ "sub": sub, "exp": in_seconds(300) }))
}

/// A form with one part of this head.
pub(crate) fn form(disposition: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
    [head.as_bytes(), bytes, b"\r\n", END.as_bytes()].concat()
}

/// A form with this file.
pub(crate) fn file(name: &str, bytes: &[u8]) -> Vec<u8> {
    form(&format!("name=\"file\"; filename=\"{name}\""), bytes)
}

/// `Content-Type` of these forms.
pub(crate) fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

#[track_caller]
pub(crate) fn post(server: &TestServer, target: &str, authorization: &str, body: &[u8]) -> Response {
    let headers = [("Authorization", authorization), ("Content-Type", &content_type())];
    server.request("POST", target, &headers, Some(body))
}

/// The head of such a POST to `/upload`, for a body that is sent by hand.
pub(crate) fn head(authorization: &str, length: usize) -> String {
    let media_type = content_type();
    format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: {media_type}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

#[track_caller]
pub(crate) fn said(answer: &Response) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Below the server's address: what the answer's URL is to a request.
#[track_caller]
pub(crate) fn target_of(server: &TestServer, answer: &Response) -> String {
    let said = said(answer);
    let url = said["url"].as_str().expect("a URL");
    let origin = format!("http://{}", server.address());
    url.strip_prefix(&origin).unwrap_or_else(|| panic!("{url} is not below {origin}")).to_owned()
}
