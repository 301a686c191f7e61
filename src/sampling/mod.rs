//! Logits -> token.
