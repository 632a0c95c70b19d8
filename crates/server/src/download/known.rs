//! [`Known`]: a live record, and what is made of it once for many answers.

use std::sync::OnceLock;

use http::HeaderMap;

use crate::meta::Record;

/// A live record. Rows do not change while they live, so neither does what an answer says of them.
#[derive(Debug)]
pub struct Known {
    record: Record,
    described: OnceLock<HeaderMap>,
}

impl Known {
    /// Knows `record`.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { record, described: OnceLock::new() }
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The same file under another media type.
    #[must_use]
    pub fn as_type(&self, media_type: &str) -> Self {
        Self::new(Record { media_type: media_type.to_owned(), ..self.record.clone() })
    }

    /// What `describe` made of it at the first call.
    pub fn described(&self, describe: fn(&Record) -> HeaderMap) -> &HeaderMap {
        self.described.get_or_init(|| describe(&self.record))
    }
}
