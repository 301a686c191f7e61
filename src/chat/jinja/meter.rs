//! The budget of one rendering: what keeps a hostile template from running long or filling memory.

use std::cell::Cell;
use std::rc::Rc;

/// Why a template could not go on.
#[derive(Debug)]
pub(in crate::chat) struct Fault {
    /// A byte of the template; known once the fault has passed the expression it happened in.
    pub(in crate::chat) offset: Option<usize>,
    /// Whether the template itself refused, by `raise_exception`.
    pub(in crate::chat) refused: bool,
    pub(in crate::chat) message: String,
}

pub(in crate::chat) type Eval<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { offset: None, refused: false, message: message.into() }
    }

    /// Notes the place, unless a more precise one is known.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.offset.get_or_insert(offset);
        self
    }
}

/// What is left of the budget. One unit pays for a byte made or looked at; [`STEP`] units for an evaluated node. Nothing is
/// ever given back, so the budget bounds time and memory alike, whatever the template keeps.
#[derive(Clone)]
pub(super) struct Meter(Rc<Cell<u64>>);

/// The price of evaluating a node, and of holding a value.
pub(super) const STEP: usize = 32;

impl Meter {
    pub(super) fn new(budget: u64) -> Self {
        Self(Rc::new(Cell::new(budget)))
    }

    /// Pays `units`, before the work is done.
    pub(super) fn charge(&self, units: usize) -> Eval<()> {
        match self.0.get().checked_sub(units as u64) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => {
                self.0.set(0);
                Err(Fault::new("the template exceeds its budget of time and memory"))
            }
        }
    }

    /// Pays for `count` values.
    pub(super) fn charge_values(&self, count: usize) -> Eval<()> {
        self.charge(count.saturating_mul(STEP).saturating_add(STEP))
    }
}

/// Text under construction; every byte is paid for.
pub(super) struct Writer {
    text: String,
    meter: Meter,
}

impl Writer {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { text: String::new(), meter: meter.clone() }
    }

    pub(super) fn push(&mut self, text: &str) -> Eval<()> {
        self.meter.charge(text.len() + 1)?;
        self.text.push_str(text);
        Ok(())
    }

    pub(super) fn push_char(&mut self, char: char) -> Eval<()> {
        self.push(char.encode_utf8(&mut [0; 4]))
    }

    /// `count` times the same character.
    pub(super) fn pad(&mut self, char: char, count: usize) -> Eval<()> {
        self.meter.charge(count.saturating_mul(4))?;
        self.text.extend(std::iter::repeat_n(char, count));
        Ok(())
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
