//! Whole operations: check shapes, split outputs over threads, call kernels.
