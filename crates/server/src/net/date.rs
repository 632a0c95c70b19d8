//! The `Date` header, formatted once per second and thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use hfs_core::Timestamp;

thread_local! {
    static NOW: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Runs `f` with the current `Date` value.
pub(super) fn with<R>(f: impl FnOnce(&str) -> R) -> R {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(cached, text)| {
        if *cached != seconds {
            *cached = seconds;
            *text = Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX)).to_http_date();
        }
        f(text)
    })
}
