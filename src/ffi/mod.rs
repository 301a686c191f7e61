//! The C API: convert, call, convert back. Decides nothing.
