//! HTTP/1.1 framing from outside: its properties, and the same bytes read by hyper.

mod oracle;
mod ours;
mod properties;
mod requests;
