//! The product, written once for both block shapes.
