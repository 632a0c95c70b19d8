//! [`Call`]: what passes the seam, in production and in tests.

/// A class of system call on the way of one upload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Create,
    Allocate,
    Write,
    Sync,
    MakeDirectory,
    Link,
    SyncDirectory,
    SyncAll,
    Extents,
}
