//! The readable reference of every entry.
