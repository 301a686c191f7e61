//! The mutable heart: cache, scratch and sampler over one model.
