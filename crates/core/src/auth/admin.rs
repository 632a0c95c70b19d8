//! The administrator's token: who may ask the server to work for nobody, and see how it does.
//!
//! Called by `admin`. The token is compared in constant time and is no key of anything else.

use subtle::ConstantTimeEq;

use super::keys::{Secret, is_key};
use super::query::bearer;
use super::{Grant, Proof};
use crate::SlotPath;

/// Proof that the administrator asks. Only [`authorize_admin`] makes one.
#[derive(Debug)]
pub struct Administrator(());

/// Why somebody is not the administrator.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAdministrator {
    /// 401: no bearer token.
    #[error("the administrator's token is missing")]
    Missing,
    /// 403: another token.
    #[error("the administrator's token is wrong")]
    Wrong,
}

/// Checks `Authorization: Bearer <token>`.
///
/// # Errors
/// There is no bearer token, or another one; an empty `token` lets nobody in.
pub fn authorize_admin(authorization: Option<&str>, token: &Secret) -> Result<Administrator, NotAdministrator> {
    let sent = authorization.and_then(bearer).ok_or(NotAdministrator::Missing)?;
    let is_equal = bool::from(sent.as_bytes().ct_eq(token.expose()));
    if is_equal && is_key(token) { Ok(Administrator(())) } else { Err(NotAdministrator::Wrong) }
}

impl Administrator {
    /// The right to send a body that is stored as any other and never becomes visible.
    #[must_use]
    pub fn rehearse(&self, slot: SlotPath) -> Grant {
        Grant { slot, proof: Proof::Admin, size: None, media_type: None, owner: None, expires: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_administrators() {
        let token = Secret::new("a token of the administrator");
        let check = |sent: Option<&str>| authorize_admin(sent, &token).map(|_| ());
        assert_eq!(check(Some("Bearer a token of the administrator")), Ok(()));
        assert_eq!(check(Some("bearer a token of the administrator")), Ok(()));
        for missing in [None, Some(""), Some("Bearer "), Some("Basic YTpi"), Some("a token of the administrator")] {
            assert_eq!(check(missing), Err(NotAdministrator::Missing), "{missing:?}");
        }
        for wrong in ["Bearer a token of the administrato", "Bearer a token of the administrator!", "Bearer x"] {
            assert_eq!(check(Some(wrong)), Err(NotAdministrator::Wrong), "{wrong}");
        }
        assert_eq!(authorize_admin(Some("Bearer x"), &Secret::new("")).unwrap_err(), NotAdministrator::Wrong);
    }
}
