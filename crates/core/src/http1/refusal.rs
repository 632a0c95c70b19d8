//! [`BadRequest`]: why a request head is refused.

use http::StatusCode;

/// Why a request head is refused. `Display` is short and stable: it may be sent to the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRequest {
    /// More than the one empty line before a request that RFC 9112 section 2.2 asks a server to bear.
    #[error("empty lines before the request")]
    EmptyLines,
    /// A line feed without its carriage return.
    #[error("bare line feed")]
    BareLf,
    /// A carriage return without its line feed.
    #[error("bare carriage return")]
    BareCr,
    /// NUL or another control character.
    #[error("control character")]
    Control,
    /// Not `method SP target SP version`.
    #[error("malformed request line")]
    RequestLine,
    /// The target is no path, URL, authority or asterisk that fits the method.
    #[error("malformed request target")]
    Target,
    /// A target that names a fragment, which is the client's own business.
    #[error("fragment in the request target")]
    Fragment,
    /// The request line is longer than a head may be.
    #[error("request target too long")]
    TargetTooLong,
    /// The head is longer than [`super::HeadLimits::max_bytes`].
    #[error("request head too large")]
    HeadTooLarge,
    /// More headers than [`super::HeadLimits::max_headers`].
    #[error("too many headers")]
    TooManyHeaders,
    /// An HTTP version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// Not `name: value`: no colon, a space before it, a name that is no token.
    #[error("malformed header line")]
    HeaderLine,
    /// A header line that starts with white space: obsolete line folding.
    #[error("folded header line")]
    Folded,
    /// HTTP/1.1 without `Host`.
    #[error("missing Host")]
    MissingHost,
    /// Two `Host` headers.
    #[error("repeated Host")]
    RepeatedHost,
    /// `Host` is empty or no host name with an optional port.
    #[error("malformed Host")]
    Host,
    /// The target names another authority than `Host`.
    #[error("Host differs from the request target")]
    OtherHost,
    /// `Content-Length` is not one plain decimal number below 2^63.
    #[error("malformed Content-Length")]
    Length,
    /// Two `Content-Length` headers, even equal ones.
    #[error("repeated Content-Length")]
    RepeatedLength,
    /// `Content-Length` and `Transfer-Encoding` together.
    #[error("Content-Length with Transfer-Encoding")]
    LengthAndCoding,
    /// `Transfer-Encoding` that is malformed, repeated, not last `chunked`, or in HTTP/1.0.
    #[error("malformed Transfer-Encoding")]
    Coding,
    /// A transfer coding other than `chunked`.
    #[error("unknown transfer coding")]
    UnknownCoding,
    /// `Expect` with something else than `100-continue`.
    #[error("unknown expectation")]
    Expectation,
}

impl BadRequest {
    /// The status that the client gets, before the connection is closed.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::EmptyLines
            | Self::BareLf
            | Self::BareCr
            | Self::Control
            | Self::RequestLine
            | Self::Target
            | Self::Fragment
            | Self::HeaderLine
            | Self::Folded
            | Self::MissingHost
            | Self::RepeatedHost
            | Self::Host
            | Self::OtherHost
            | Self::Length
            | Self::RepeatedLength
            | Self::LengthAndCoding
            | Self::Coding => StatusCode::BAD_REQUEST,
        }
    }
}
