//! GGUF: bytes of a model file -> a checked directory of metadata and tensors.
