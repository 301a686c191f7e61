//! Architectures: hyper-parameters, weight binding, forward pass.
