//! What holds for any path, size and type: what is signed is accepted, what is changed is not, and no text panics.

use proptest::prelude::*;

use super::{Dialect, NOW, Put, SlotRequest, all_keys, request, sign};
use crate::auth::{ExplainHints, authorize_delete, encode_path, explain};
use crate::{ByteSize, SlotPath};

/// Paths of two or three elements, as XMPP servers make them, with any characters that a slot may have.
fn slots() -> impl Strategy<Value = SlotPath> {
    prop_oneof!["[a-zA-Z0-9_-]{1,24}/[^/\\x00]{1,24}", "[^/\\x00]{1,8}/[^/\\x00]{1,12}/\\PC{1,8}\\.[a-z]{1,4}"]
        .prop_filter_map("no slot", |path| SlotPath::parse(&path).ok())
}

fn types() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[a-z]{1,8}/[a-z0-9.+-]{1,12}(; ?charset=[a-z0-9-]{1,8})?")
}

/// Each dialect that writes and can express the path.
fn dialects(slot: &SlotPath) -> Vec<Dialect> {
    let mut dialects = vec![Dialect::V1, Dialect::V2, Dialect::Token, Dialect::V3, Dialect::Jwt];
    if slot.as_str().matches('/').count() == 1 {
        dialects.push(Dialect::FileShare);
    }
    dialects
}

fn signed(dialect: Dialect, slot: &SlotPath, size: u64, media_type: Option<&str>) -> Put {
    let request = SlotRequest { media_type, owner: Some("alice@example.org"), ..request(slot, size) };
    let mut put = Put::new(slot.as_str(), size).proof(sign(dialect, &request, &all_keys()).unwrap());
    put.content_type = media_type.map(str::to_owned);
    put
}

proptest! {
    #[test]
    fn what_is_signed_is_accepted(slot in slots(), size: u64, media_type in types()) {
        for dialect in dialects(&slot) {
            let put = signed(dialect, &slot, size, media_type.as_deref());
            let grant = put.authorize(&all_keys());
            prop_assert!(grant.is_ok(), "{:?}: {:?}", dialect, grant);
            let grant = grant.unwrap();
            prop_assert_eq!(grant.slot(), &slot);
            prop_assert!(grant.size().is_none_or(|granted| granted == ByteSize::bytes(size)));
            let signs_type = matches!(dialect, Dialect::V2 | Dialect::Token | Dialect::FileShare);
            let default = signs_type.then_some("application/octet-stream");
            prop_assert_eq!(grant.media_type(), media_type.as_deref().or(default));
        }
        let deletion = sign(Dialect::Delete, &request(&slot, size), &all_keys()).unwrap();
        let put = Put::new(slot.as_str(), size).proof(deletion);
        prop_assert!(authorize_delete(&put.head(), &all_keys()).is_ok());
        prop_assert!(put.authorize(&all_keys()).is_err());
    }

    #[test]
    fn an_encoded_path_decodes_to_itself(slot in slots()) {
        prop_assert_eq!(SlotPath::from_url(&encode_path(slot.as_str())), Ok(slot));
    }

    #[test]
    fn another_path_is_refused(slot in slots(), other in slots(), at: prop::sample::Index, letter in "[a-z]") {
        let mut changed: Vec<char> = slot.as_str().chars().collect();
        let at = at.index(changed.len());
        changed[at] = letter.chars().next().unwrap();
        let changed = SlotPath::parse(&changed.into_iter().collect::<String>()).ok();
        for target in changed.into_iter().chain([other]).filter(|target| *target != slot) {
            // A plain JWT names no path at all: that is the original's scheme, off unless configured.
            for dialect in dialects(&slot).into_iter().filter(|dialect| *dialect != Dialect::Jwt) {
                let put = Put { slot: target.clone(), ..signed(dialect, &slot, 7, None) };
                prop_assert!(put.authorize(&all_keys()).is_err(), "{:?} {}", dialect, target);
            }
        }
    }

    #[test]
    fn another_size_is_refused_or_granted_as_signed(slot in slots(), size: u64, other: u64) {
        prop_assume!(size != other);
        for dialect in [Dialect::V1, Dialect::V2, Dialect::Token] {
            let put = Put { length: Some(other), ..signed(dialect, &slot, size, None) };
            prop_assert!(put.authorize(&all_keys()).is_err(), "{:?}", dialect);
        }
    }

    #[test]
    fn another_type_is_refused_or_granted_as_signed(slot in slots(), media_type in types(), other in types()) {
        let put = Put { content_type: other, ..signed(Dialect::V2, &slot, 7, media_type.as_deref()) };
        if let Ok(grant) = put.authorize(&all_keys()) {
            prop_assert_eq!(grant.media_type(), media_type.as_deref().or(Some("application/octet-stream")));
        }
    }

    #[test]
    fn another_byte_in_the_proof_is_refused(slot in slots(), at: prop::sample::Index, replacement in "[!-~]") {
        for dialect in dialects(&slot) {
            let mut put = signed(dialect, &slot, 7, None);
            let text = put.query.as_mut().or(put.authorization.as_mut()).unwrap();
            // The names `v=` and `Bearer ` themselves have other spellings that mean the same.
            let start = text.find(['=', ' ']).unwrap() + 1;
            let at = start + at.index(text.len() - start);
            // The hexadecimal digits of v, v2 and token have two cases.
            let any_case = matches!(dialect, Dialect::V1 | Dialect::V2 | Dialect::Token);
            let before = &text[at..=at];
            let same = before == replacement || any_case && before.eq_ignore_ascii_case(&replacement);
            text.replace_range(at..=at, &replacement);
            if !same {
                prop_assert!(put.authorize(&all_keys()).is_err(), "{:?} {:?}", dialect, put);
            }
        }
    }

    #[test]
    fn no_text_panics(slot in slots(), query in "\\PC*", value in ".*", media_type in ".*", length: Option<u64>) {
        let prefixes = ["", "v=", "v2=", "token=", "expires=1&v3=", "v3=00&expires="];
        for query in prefixes.map(|prefix| format!("{prefix}{query}")) {
            let mut put = Put::new(slot.as_str(), 0).query(query).typed(&media_type).authorization(&*value);
            put.length = length;
            check_quietly(&put);
        }
        let mut put = Put::new(slot.as_str(), 0).bearer(&value);
        put.length = length;
        check_quietly(&put);
    }

    #[test]
    fn no_token_shape_panics(header in "[ -~]{0,40}", claims in "[ -~]{0,60}", signature in "[A-Za-z0-9_-]{0,44}") {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.{signature}", encode(&header), encode(&claims));
        check_quietly(&Put::new("a/b", 5).bearer(&token));
        check_quietly(&Put::new("a/b", 5).query(format!("token={token}")));
    }
}

/// Random text is never a proof, and nothing said about it fails to print.
fn check_quietly(put: &Put) {
    assert!(put.authorize(&all_keys()).is_err());
    assert!(authorize_delete(&put.head(), &all_keys()).is_err());
    let hints = ExplainHints { base_path: "/upload", public_path: "/upload/x/", retired: &[], now: NOW };
    for explanation in explain(&put.head(), &all_keys(), &hints) {
        assert!(!explanation.to_string().is_empty());
    }
}
