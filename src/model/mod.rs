//! An open model file: immutable, shared.
