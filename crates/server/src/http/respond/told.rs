//! The one map from failures to what their clients are told. Every error type is matched exhaustively, without `_`: a
//! new variant does not compile until somebody has decided what its client sees.

use hfs_core::ByteSize;
use hfs_core::admit::Refusal;
use hfs_core::auth::{Denied, NotAdministrator};
use http::StatusCode;

use crate::admin::AdminError;
use crate::app::BuryError;
use crate::download::GetError;
use crate::flow::Left;
use crate::http::exchange::BodyError;
use crate::meta::MetaError;
use crate::storage::StoreError;
use crate::upload::{DeleteError, PutError};

/// Seconds after which one of many transfers of one sender has probably ended.
const CROWD_THINS: f64 = 5.0;

/// What a client is told: status, stable code, sentence.
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) text: String,
    /// Seconds after which another try makes sense; none: at once.
    pub(super) wait: Option<f64>,
}

impl Told {
    /// Where it says to wait, `factor` times as long.
    pub(super) fn times(self, factor: impl FnOnce() -> f64) -> Self {
        Self { wait: self.wait.map(|seconds| seconds * factor()), ..self }
    }

    /// For `Retry-After`: whole seconds. `0` is what OkHttp replays a PUT for, once, by itself; so a wait is one at least.
    pub(super) fn retry_after(&self) -> String {
        self.wait.map_or(0, |seconds| (seconds.ceil() as u64).max(1)).to_string()
    }
}

pub(super) fn told(status: StatusCode, code: &'static str, text: impl Into<String>) -> Told {
    Told { status, code, text: text.into(), wait: None }
}

/// What runs already must end first: a try at once would meet it, and send its body for nothing.
fn crowded(text: &str) -> Told {
    Told { wait: Some(CROWD_THINS), ..told(StatusCode::SERVICE_UNAVAILABLE, "crowded", text) }
}

pub(super) fn of_put(failure: &PutError) -> Told {
    match failure {
        PutError::Outside { .. } => told(StatusCode::NOT_FOUND, "outside", "There are no slots here"),
        PutError::Path(invalid) => told(StatusCode::BAD_REQUEST, "bad-path", format!("Not a slot: {invalid}")),
        PutError::Denied(denied) => of_denied(denied),
        PutError::Refused(refusal) => of_refusal(refusal),
        PutError::Form(invalid) => told(StatusCode::BAD_REQUEST, "bad-form", format!("No upload: {invalid}")),
        PutError::Crowded => crowded("Too many uploads at once"),
        PutError::Taken => told(StatusCode::CONFLICT, "exists", "The slot already holds another file"),
        PutError::Gone => told(StatusCode::CONFLICT, "gone", "The slot was used; its file is gone"),
        PutError::Damaged => told(StatusCode::INTERNAL_SERVER_ERROR, "damaged", "The stored file is damaged"),
        PutError::Stalled { received } => {
            told(StatusCode::REQUEST_TIMEOUT, "stalled", format!("The upload stalled after {received}"))
        }
        PutError::OtherLength { received, signed } => of_length(*received, *signed),
        PutError::Body(BodyError::Closed) => told(StatusCode::BAD_REQUEST, "cut", "The upload broke off"),
        PutError::Body(BodyError::Malformed(what)) => told(StatusCode::BAD_REQUEST, "bad-body", *what),
        PutError::Store(failure) => of_store(failure),
        PutError::Meta(failure) => of_meta(failure),
        PutError::Aborted => told(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Could not store the file"),
    }
}

fn of_refusal(refusal: &Refusal) -> Told {
    match refusal {
        Refusal::TooLarge { max } => {
            told(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("At most {max} per file"))
        }
        Refusal::OtherSize { signed, announced } => of_length(*announced, *signed),
        // The extension itself is in the log: it can be as long as a path, and some clients save this as the file.
        Refusal::Extension { .. } => {
            told(StatusCode::BAD_REQUEST, "extension", "This file extension is not allowed here")
        }
        Refusal::NoSpace => told(StatusCode::INSUFFICIENT_STORAGE, "full", "No space left"),
    }
}

fn of_denied(denied: &Denied) -> Told {
    match denied {
        Denied::Missing => told(StatusCode::UNAUTHORIZED, "no-signature", "A signature or a token is needed"),
        Denied::BadBearer(_) => told(StatusCode::UNAUTHORIZED, "bad-token", "The token is not valid"),
        Denied::BadSignature(_) => told(StatusCode::FORBIDDEN, "bad-signature", "The signature does not match"),
        Denied::OtherSlot => told(StatusCode::FORBIDDEN, "other-slot", "The token is for another slot"),
        Denied::Expired => told(StatusCode::FORBIDDEN, "slot-expired", "The slot has expired"),
        Denied::Gone => told(StatusCode::GONE, "slot-expired", "The slot has expired"),
        Denied::LengthRequired => told(StatusCode::LENGTH_REQUIRED, "length-required", "Content-Length is required"),
        Denied::Malformed(what) => {
            told(StatusCode::FORBIDDEN, "bad-signature", format!("The signature cannot be read: {what}"))
        }
    }
}

fn of_length(received: ByteSize, signed: ByteSize) -> Told {
    let text = format!("The slot is for {} bytes, not {}", signed.as_u64(), received.as_u64());
    told(StatusCode::PAYLOAD_TOO_LARGE, "other-size", text)
}

fn of_store(failure: &StoreError) -> Told {
    match failure {
        StoreError::Full { .. } => told(StatusCode::INSUFFICIENT_STORAGE, "full", "No space left"),
        StoreError::Busy { .. } => {
            told(StatusCode::SERVICE_UNAVAILABLE, "busy", "Another upload of this slot is ending")
        }
        StoreError::Slow { .. } => told(StatusCode::SERVICE_UNAVAILABLE, "slow", "The storage does not answer"),
        StoreError::Io { .. } | StoreError::Missing { .. } => {
            told(StatusCode::SERVICE_UNAVAILABLE, "storage", "The storage failed")
        }
    }
}

fn of_meta(failure: &MetaError) -> Told {
    match failure {
        MetaError::Full { .. } => told(StatusCode::INSUFFICIENT_STORAGE, "full", "No space left"),
        MetaError::Busy => told(StatusCode::SERVICE_UNAVAILABLE, "busy", "The server is busy"),
        MetaError::Unavailable { .. } | MetaError::Backend { .. } => {
            told(StatusCode::SERVICE_UNAVAILABLE, "storage", "The storage failed")
        }
    }
}

pub(super) fn of_get(failure: &GetError) -> Told {
    match failure {
        GetError::Denied(denied) => of_denied(denied),
        GetError::NotFound => told(StatusCode::NOT_FOUND, "not-found", "No such file"),
        GetError::Extension { .. } => {
            told(StatusCode::FORBIDDEN, "extension", "This file extension is not served here")
        }
        GetError::Damaged => told(StatusCode::INTERNAL_SERVER_ERROR, "damaged", "The stored file is damaged"),
        GetError::Left(Left) => told(StatusCode::BAD_REQUEST, "cut", "The client left before its turn"),
        GetError::Store(failure) => of_store(failure),
        GetError::Meta(failure) => of_meta(failure),
    }
}

pub(super) fn of_delete(failure: &DeleteError) -> Told {
    match failure {
        DeleteError::Denied(denied) => of_denied(denied),
        DeleteError::Missing => told(StatusCode::NOT_FOUND, "not-found", "No such file"),
        DeleteError::Meta(failure) | DeleteError::Bury(BuryError::Meta(failure)) => of_meta(failure),
        DeleteError::Bury(BuryError::Store(failure)) => of_store(failure),
        DeleteError::Aborted => told(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Could not remove the file"),
    }
}

pub(super) fn of_admin(failure: &AdminError) -> Told {
    match failure {
        AdminError::Denied(NotAdministrator::Missing) => {
            told(StatusCode::UNAUTHORIZED, "no-token", "The administrator's token is needed")
        }
        AdminError::Denied(NotAdministrator::Wrong) => {
            told(StatusCode::FORBIDDEN, "bad-token", "Not the administrator's token")
        }
        AdminError::Crowded => crowded("Too many benchmarks at once"),
        AdminError::Size { most } => {
            told(StatusCode::BAD_REQUEST, "bad-size", format!("The size must be between 1 and {most} bytes"))
        }
        AdminError::Upload(failure) => of_put(failure),
        AdminError::Blank(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "internal", "No file of zeros could be made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_whole_seconds_and_never_at_once() {
        let after = |factor| crowded("").times(|| factor).retry_after();
        assert_eq!([after(0.1), after(1.0), after(1.5), after(100.0)], ["1", "5", "8", "500"]);
        let at_once = of_store(&StoreError::Slow { action: "write", deadline: std::time::Duration::from_secs(30) });
        assert_eq!(at_once.times(|| 100.0).retry_after(), "0");
    }
}
