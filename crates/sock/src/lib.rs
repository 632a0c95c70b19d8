//! The only unsafe code of hmac-file-server: kernel calls that no safe crate offers.
