//! The C API: convert, call, convert back. Decides nothing.
//!
//! Every function is a literal `pub unsafe extern "C" fn` (cbindgen reads the source as it stands) around one call of
//! `boundary`, which looks up handles, turns errors into a status and an error object, and stops panics. The doc
//! comments become `include/chord.h`, so they speak to C programmers; the order of modules is the order of the header.
//!
//! Deliberately absent: structs by value, addresses as handles, allocation that may abort on a size from C.

#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(clippy::missing_safety_doc, reason = "the C contract of each function is its safety section")]

mod boundary;
mod registry;
mod reserve;

pub mod answer;
pub mod chat;
pub mod error;
pub mod handles;
pub mod model;
pub mod model_info;
pub mod model_options;
pub mod plan;
pub mod quantize;
pub mod session;
pub mod session_options;
pub mod version;
