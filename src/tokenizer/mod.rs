//! Text <-> tokens.
#![allow(missing_docs, unused)]
use crate::error::Result;
#[derive(Clone, Copy)]
pub struct TextFlags { pub add_special: bool, pub parse_special: bool }
pub struct Tokenizer;
impl Tokenizer {
    pub fn from_metadata(m: &crate::gguf::Metadata) -> Result<Tokenizer> { Ok(Tokenizer) }
    pub fn decode(&self, _:&[i32],_:bool,_:&mut Vec<u8>)->Result<()>{Ok(())}
    pub fn vocab_size(&self) -> usize { 0 }
    pub fn encode(&self, text: &str, flags: TextFlags, out: &mut Vec<i32>) -> Result<()> { Ok(()) }
    pub fn token_bytes(&self, id: i32, special: bool, out: &mut Vec<u8>) -> Result<()> { Ok(()) }
    pub fn bos(&self) -> Option<i32> { None }
    pub fn eos(&self) -> Option<i32> { None }
    pub fn adds_bos(&self) -> bool { false }
    pub fn is_end_of_generation(&self, id: i32) -> bool { false }
    pub fn token_text(&self, id: i32) -> Option<&[u8]> { None }
}
pub struct Utf8Stream;
impl Utf8Stream { pub fn with_capacity(n: usize) -> Self { Utf8Stream }
 pub fn push(&mut self, bytes: &[u8]) -> &str { "" } pub fn flush(&mut self) -> &str { "" } pub fn clear(&mut self) {} }
