//! (stub)

use bytes::Bytes;

use crate::http::exchange::BodyError;

/// The body of one request on its connection.
#[derive(Debug)]
pub struct Body {}

impl Body {
    /// See [`crate::http::exchange::Incoming::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        todo!()
    }
}
