//! Strict HTTP/1.1 framing as a sans-IO state machine on `httparse`.
