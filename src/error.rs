//! The one error type of the crate. It says what went wrong and where; which status number a C caller sees for it is
//! decided in `ffi`.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Messages are one line, lower case, without a final period, and name the key, tensor, offset or
/// token that caused them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller passed something that the call cannot take.
    #[error("{0}")]
    InvalidArgument(String),
    /// An index, token id or position outside its range.
    #[error("{0}")]
    OutOfRange(String),
    /// Text that must be UTF-8 and is not; `offset` is the first bad byte.
    #[error("{what} is not valid UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// Which input.
        what: &'static str,
        /// The first bad byte.
        offset: u64,
    },
    /// Something asked for by name does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The object is being used by another call.
    #[error("{0} is in use by another call")]
    Busy(&'static str),
    /// The operating system refused a file operation.
    #[error("{what}: {source}")]
    Io {
        /// The file and what was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An allocation failed. Carries no text, so that reporting it allocates nothing.
    #[error("out of memory")]
    OutOfMemory,
    /// The memory budget of a model does not allow it.
    #[error("{what} needs {needed} bytes of memory, but of the budget of {budget} only {left} are left")]
    OverBudget {
        /// What was to be made.
        what: &'static str,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that nothing else takes.
        left: usize,
        /// The whole budget.
        budget: usize,
    },
    /// Bytes that are not what the format says; `offset` counts from the start of the file.
    #[error("{message} (at byte {offset})")]
    Malformed {
        /// Where, from the start of the file.
        offset: u64,
        /// What is wrong, and with which key or tensor.
        message: String,
    },
    /// A well-formed model that this library cannot run.
    #[error("{0}")]
    Unsupported(String),
    /// A tensor or key that the architecture needs is missing or has the wrong shape or type.
    #[error("{0}")]
    InvalidModel(String),
    /// The model carries no chat template.
    #[error("the model has no chat template")]
    NoChatTemplate,
    /// The chat template is wrong or refuses the conversation; `offset` is a byte of the template.
    #[error("{message}")]
    Template {
        /// Where in the template.
        offset: u64,
        /// What the template or its engine said.
        message: String,
    },
    /// More tokens than the context holds.
    #[error("{needed} tokens do not fit a context of {capacity}")]
    ContextFull {
        /// Tokens with the ones to be added.
        needed: usize,
        /// Tokens that fit.
        capacity: usize,
    },
    /// The call needs an evaluated position and there is none.
    #[error("{0}")]
    InvalidState(String),
    /// The call was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A panic was caught in an earlier call on this object.
    #[error("the session was poisoned by an earlier internal error")]
    Poisoned,
    /// A defect of this library.
    #[error("internal error: {0}")]
    Internal(String),
    /// An error with the place where it happened in front.
    #[error("{context}: {source}")]
    Context {
        /// The place.
        context: String,
        /// What happened there.
        source: Box<Error>,
    },
}

impl Error {
    /// Puts `context` (a tensor, a key, a file) in front of the message.
    #[must_use]
    pub fn context(self, context: impl fmt::Display) -> Self {
        match self {
            // Out of memory must stay free of allocation.
            Error::OutOfMemory => Error::OutOfMemory,
            source => Error::Context { context: context.to_string(), source: Box::new(source) },
        }
    }

    /// The error below all context.
    #[must_use]
    pub fn root(&self) -> &Error {
        let mut error = self;
        while let Error::Context { source, .. } = error {
            error = source;
        }
        error
    }

    /// The byte offset that the error speaks of: in the file, the text or the template.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self.root() {
            Error::Malformed { offset, .. } | Error::Template { offset, .. } | Error::InvalidUtf8 { offset, .. } => Some(*offset),
            _ => None,
        }
    }
}

/// Adds context to the error of a result.
pub trait ResultExt<T> {
    /// See [`Error::context`]; `context` is only evaluated on failure.
    fn context_with<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn context_with<D: fmt::Display>(self, context: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| error.context(context()))
    }
}

/// A vector of `len` copies of `value`, or [`Error::OutOfMemory`]: for every allocation whose size comes from input.
pub fn try_vec<T: Clone>(len: usize, value: T) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(|_| Error::OutOfMemory)?;
    vec.resize(len, value);
    Ok(vec)
}
