//! What the parser makes of a template. Chains of operators are flat, so only real nesting, which the parser limits, nests
//! here.

use std::sync::Arc;

/// A place in the source, in bytes.
pub(super) type Offset = usize;

pub(super) struct Stmt {
    pub(super) offset: Offset,
    pub(super) kind: StmtKind,
}

pub(super) enum StmtKind {
    Text(String),
    Print(Expr),
    /// Conditions with their bodies; the body of `else`.
    If(Vec<(Expr, Vec<Stmt>)>, Vec<Stmt>),
    For(Arc<For>),
    Set(Target, Expr),
    SetBlock(Target, Vec<Suffix>, Vec<Stmt>),
    Macro(Arc<Macro>),
    /// The body, as a macro named `caller`, and the call that receives it.
    CallBlock(Arc<Macro>, Expr),
    FilterBlock(Vec<Suffix>, Vec<Stmt>),
    With(Vec<(Target, Expr)>, Vec<Stmt>),
    Break,
    Continue,
}

pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Stmt>,
    pub(super) otherwise: Vec<Stmt>,
}

pub(super) struct Macro {
    pub(super) name: Arc<str>,
    /// Names and defaults.
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Vec<Stmt>,
}

/// What can be assigned to.
pub(super) enum Target {
    Name(Arc<str>),
    /// An attribute of a namespace.
    Attribute(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

pub(super) struct Expr {
    pub(super) offset: Offset,
    pub(super) kind: ExprKind,
}

pub(super) enum ExprKind {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// A value and what is done to it, left to right.
    Chain(Box<Expr>, Vec<Suffix>),
    Negate(Box<Expr>),
    Plus(Box<Expr>),
    Not(Box<Expr>),
    /// Operators of one precedence, left to right.
    Binary(Box<Expr>, Vec<(Operator, Expr)>),
    Concat(Vec<Expr>),
    /// `a < b < c`: each operand is compared with the one before.
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// Condition, value, value of `else`.
    Conditional(Box<(Expr, Expr, Option<Expr>)>),
}

pub(super) struct Suffix {
    pub(super) offset: Offset,
    pub(super) kind: SuffixKind,
}

pub(super) enum SuffixKind {
    Attribute(Arc<str>),
    Item(Expr),
    /// Start, stop, step.
    Slice([Option<Expr>; 3]),
    Call(Arguments),
    Filter(Arc<str>, Arguments),
    /// Whether negated, name, arguments.
    Test(bool, Arc<str>, Arguments),
}

#[derive(Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) keywords: Vec<(Arc<str>, Expr)>,
    /// `*args`.
    pub(super) more: Option<Box<Expr>>,
    /// `**kwargs`.
    pub(super) more_keywords: Option<Box<Expr>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Power,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}
