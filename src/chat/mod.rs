//! x
#![allow(missing_docs, unused)]
pub struct Template;
impl Template { pub fn from_metadata(m: &crate::gguf::Metadata, b: &str, e: &str) -> crate::error::Result<Template> { Ok(Template) } }
