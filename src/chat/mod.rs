//! Conversations -> text, by the model's own template.
