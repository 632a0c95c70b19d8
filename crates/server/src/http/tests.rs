//! What holds for every request: identification, cross-origin headers, the URL table, counters.
