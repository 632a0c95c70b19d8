//! Black-box tests: they start the binary and speak to it as clients do.
