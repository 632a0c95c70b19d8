//! The labels of metrics: enums, never a path, a JID or anything else that a client chooses.

use std::fmt::Write;

use hfs_core::admit::Refusal;
use hfs_core::auth::Proof;
use hfs_core::pace::{self, Arm};
use hfs_core::profile::{Quality, Vantage};
use hfs_core::tune::SizeClass;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Declares a label and the name of each of its values.
macro_rules! label {
    ($(#[$doc:meta])* $label:ident { $($(#[$value_doc:meta])* $value:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $label {
            $($(#[$value_doc])* $value,)*
        }

        impl $label {
            /// Every value, so that each series is there from the first scrape.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// Short stable name, for metrics and log fields.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }
        }

        impl std::fmt::Display for $label {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl EncodeLabelValue for $label {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label! {
    /// How a transfer ended.
    TransferOutcome {
        /// All bytes moved; for an upload, 201.
        Complete = "complete",
        /// The client went away or broke the framing.
        Aborted = "aborted",
        /// Nothing moved for too long.
        Stalled = "stalled",
        /// We failed: disk, database, shutdown.
        Failed = "failed",
    }
}

label! {
    /// Which data path a transfer used.
    ArmLabel {
        /// What the original server does.
        Standard = "standard",
        /// Follows the network.
        Adaptive = "adaptive",
    }
}

impl From<Arm> for ArmLabel {
    fn from(arm: Arm) -> Self {
        match arm {
            Arm::Standard => Self::Standard,
            Arm::Adaptive => Self::Adaptive,
        }
    }
}

label! {
    /// How much a transfer moved.
    SizeLabel {
        /// Below 1 MiB.
        Small = "small",
        /// Below 16 MiB.
        Medium = "medium",
        /// From there on.
        Large = "large",
    }
}

impl From<SizeClass> for SizeLabel {
    fn from(size: SizeClass) -> Self {
        match size {
            SizeClass::Small => Self::Small,
            SizeClass::Medium => Self::Medium,
            SizeClass::Large => Self::Large,
        }
    }
}

label! {
    /// How good the path of a transfer was.
    QualityLabel {
        /// Not measured.
        Unknown = "unknown",
        /// Below the others.
        Poor = "poor",
        /// As configured.
        Fair = "fair",
        /// As configured.
        Good = "good",
        /// As configured.
        Excellent = "excellent",
    }
}

impl From<Quality> for QualityLabel {
    fn from(quality: Quality) -> Self {
        match quality {
            Quality::Unknown => Self::Unknown,
            Quality::Poor => Self::Poor,
            Quality::Fair => Self::Fair,
            Quality::Good => Self::Good,
            Quality::Excellent => Self::Excellent,
        }
    }
}

label! {
    /// Where a transfer was measured.
    VantageLabel {
        /// At the client's connection.
        Client = "client",
        /// At a proxy's: by how it went on alone.
        Proxy = "proxy",
    }
}

impl From<Vantage> for VantageLabel {
    fn from(vantage: Vantage) -> Self {
        match vantage {
            Vantage::Client => Self::Client,
            Vantage::Proxy => Self::Proxy,
        }
    }
}

impl From<pace::Direction> for Direction {
    fn from(direction: pace::Direction) -> Self {
        match direction {
            pace::Direction::Upload => Self::Upload,
            pace::Direction::Download => Self::Download,
        }
    }
}

label! {
    /// Which way the bytes went.
    Direction {
        /// From the client.
        Upload = "upload",
        /// To the client.
        Download = "download",
    }
}

label! {
    /// Why an upload was refused before or instead of being stored.
    UploadRefusal {
        /// The path can be no slot.
        Path = "path",
        /// A form that is none, or does not hold one file.
        Form = "form",
        /// No proof, or a bad one.
        Proof = "proof",
        /// The proof's time is over.
        Expired = "expired",
        /// No Content-Length where the proof needs one.
        LengthRequired = "length-required",
        /// Over the operator's limit.
        TooLarge = "too-large",
        /// Another length than was signed.
        OtherSize = "other-size",
        /// The extension is not allowed.
        Extension = "extension",
        /// The store is at its floor of free space, or full.
        NoSpace = "no-space",
        /// The slot was filled before, with other bytes, or is gone.
        Taken = "taken",
        /// Another upload of the slot is being published, or the store is too slow.
        Busy = "busy",
    }
}

impl From<&Refusal> for UploadRefusal {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::OtherSize { .. } => Self::OtherSize,
            Refusal::Extension { .. } => Self::Extension,
            Refusal::NoSpace => Self::NoSpace,
            // `Refusal` may grow; what is most often meant by a refused admission is its size.
            _ => Self::TooLarge,
        }
    }
}

label! {
    /// How the check of a proof ended.
    AuthOutcome {
        /// It holds.
        Accepted = "accepted",
        /// There was none where one is needed.
        Missing = "missing",
        /// It is no proof at all: wrong length, no token, wrong claims.
        Malformed = "malformed",
        /// Its signature is wrong.
        Forged = "forged",
        /// It was right once.
        Expired = "expired",
    }
}

label! {
    /// How reading the configuration again ended.
    ReloadOutcome {
        /// The new one runs.
        Applied = "applied",
        /// The new one is bad: the old one still runs.
        Refused = "refused",
    }
}

label! {
    /// Request method. Others share one value, since a client may invent them.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// PUT.
        Put = "PUT",
        /// POST.
        Post = "POST",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// Anything else.
        Other = "other",
    }
}

impl From<&str> for Method {
    /// From the request line; methods are case-sensitive.
    fn from(name: &str) -> Self {
        Self::ALL.iter().copied().find(|method| method.as_str() == name).unwrap_or(Self::Other)
    }
}

label! {
    /// First digit of the status.
    StatusClass {
        /// Interim.
        Informational = "1xx",
        /// Success.
        Success = "2xx",
        /// Redirection, which is 304 here.
        Redirection = "3xx",
        /// The client's fault.
        ClientError = "4xx",
        /// Our fault.
        ServerError = "5xx",
    }
}

impl From<u16> for StatusClass {
    fn from(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// The kind of proof that a request brought, `none` without one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ProofLabel(pub Option<Proof>);

impl ProofLabel {
    /// Every value.
    pub const ALL: &'static [Self] = &[
        Self(None),
        Self(Some(Proof::V1)),
        Self(Some(Proof::V2)),
        Self(Some(Proof::Token)),
        Self(Some(Proof::V3)),
        Self(Some(Proof::FileShare)),
        Self(Some(Proof::Jwt)),
        Self(Some(Proof::XSignature)),
        Self(Some(Proof::Admin)),
    ];
}

impl EncodeLabelValue for ProofLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.map_or("none", Proof::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_is_no_new_series() {
        assert_eq!(Method::from("PUT"), Method::Put);
        assert_eq!(Method::from("put"), Method::Other);
        assert_eq!(Method::from("BREW"), Method::Other);
    }

    #[test]
    fn a_status_falls_into_its_class() {
        for (status, class) in [(100, "1xx"), (201, "2xx"), (304, "3xx"), (499, "4xx"), (507, "5xx"), (999, "5xx")] {
            assert_eq!(StatusClass::from(status).as_str(), class);
        }
    }
}
