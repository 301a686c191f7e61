//! Messages to the host: the library itself prints nothing.

use std::sync::Arc;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that a status already reports, with more detail.
    Error,
    /// Something is off and was worked around.
    Warn,
    /// What was chosen: level, threads, sizes.
    Info,
}

/// Receives messages, on whichever thread makes the call that causes them.
pub type LogSink = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;
