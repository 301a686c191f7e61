//! Tokens -> statements: recursive descent over Jinja's grammar.

use super::ast::{
    Arguments, Comparison, Expr, ExprKind, For, Macro, Offset, Operator, Stmt, StmtKind, Suffix, SuffixKind, Target,
};
use super::lexer::{self, Kind, Token};
use super::meter::{Eval, Fault};
use std::sync::Arc;

/// How deep expressions and blocks may nest.
const MAX_NESTING: usize = 48;

/// The statements of a template.
pub(super) fn parse(source: &str) -> Eval<Vec<Stmt>> {
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { tokens: &tokens, at: 0, nesting: 0, loops: 0 };
    let (body, _) = parser.body(&[])?;
    Ok(body)
}

struct Parser<'t, 's> {
    tokens: &'t [Token<'s>],
    at: usize,
    nesting: usize,
    /// Loops around, up to the next macro.
    loops: usize,
}

impl<'t, 's> Parser<'t, 's> {
    fn peek(&self) -> &'t Kind<'s> {
        // The last token is `End`, and nothing goes beyond it.
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn offset(&self) -> Offset {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |token| token.offset)
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn eat(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.advance();
        }
        found
    }

    fn eat_op(&mut self, operator: &'static str) -> bool {
        self.eat(&Kind::Op(operator))
    }

    fn at_name(&self, name: &str) -> bool {
        matches!(self.peek(), Kind::Name(found) if *found == name)
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = self.at_name(name);
        if found {
            self.advance();
        }
        found
    }

    fn expected<T>(&self, what: &str) -> Eval<T> {
        let found = match self.peek() {
            Kind::Text(_) => "text".to_owned(),
            Kind::PrintBegin => "'{{'".to_owned(),
            Kind::PrintEnd => "'}}'".to_owned(),
            Kind::BlockBegin => "'{%'".to_owned(),
            Kind::BlockEnd => "'%}'".to_owned(),
            Kind::Name(name) => format!("'{name}'"),
            Kind::Str(_) => "a string".to_owned(),
            Kind::Int(_) | Kind::Float(_) => "a number".to_owned(),
            Kind::Op(operator) => format!("'{operator}'"),
            Kind::End => "the end of the template".to_owned(),
        };
        Err(Fault::new(format!("expected {what}, found {found}")).at(self.offset()))
    }

    fn expect(&mut self, kind: &Kind, what: &str) -> Eval<()> {
        if self.eat(kind) { Ok(()) } else { self.expected(what) }
    }

    fn expect_op(&mut self, operator: &'static str) -> Eval<()> {
        if self.eat_op(operator) { Ok(()) } else { self.expected(&format!("'{operator}'")) }
    }

    fn name(&mut self) -> Eval<Arc<str>> {
        match self.peek() {
            Kind::Name(name) => {
                self.advance();
                Ok(Arc::from(*name))
            }
            _ => self.expected("a name"),
        }
    }

    /// Runs a parser one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        if self.nesting == MAX_NESTING {
            return Err(Fault::new(format!("nested deeper than {MAX_NESTING} levels")).at(self.offset()));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    // ---- statements

    /// Statements up to a block tag named in `ends`, which is consumed up to its name; with no `ends`, to the end.
    fn body(&mut self, ends: &[&'static str]) -> Eval<(Vec<Stmt>, &'static str)> {
        let mut body = Vec::new();
        loop {
            let offset = self.offset();
            let kind = match self.peek() {
                Kind::Text(text) => {
                    self.advance();
                    StmtKind::Text((*text).to_owned())
                }
                Kind::PrintBegin => {
                    self.advance();
                    let value = self.tuple(true)?;
                    self.expect(&Kind::PrintEnd, "'}}'")?;
                    StmtKind::Print(value)
                }
                Kind::BlockBegin => {
                    self.advance();
                    if let Some(end) = ends.iter().find(|end| self.at_name(end)) {
                        self.advance();
                        return Ok((body, end));
                    }
                    self.nested(|parser| parser.statement(offset))?
                }
                _ if ends.is_empty() => return Ok((body, "")),
                _ => return self.expected(&format!("'{}'", ends[ends.len() - 1])),
            };
            body.push(Stmt { offset, kind });
        }
    }

    fn block_end(&mut self) -> Eval<()> {
        self.expect(&Kind::BlockEnd, "'%}'")
    }

    /// A body after the rest of its opening tag, and the whole closing tag.
    fn block(&mut self, end: &'static str) -> Eval<Vec<Stmt>> {
        self.block_end()?;
        let (body, _) = self.body(&[end])?;
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self, offset: Offset) -> Eval<StmtKind> {
        let name = self.name()?;
        Ok(match &*name {
            "if" => self.condition()?,
            "for" => self.for_loop()?,
            "set" => self.set()?,
            "macro" => {
                let name = self.name()?;
                self.expect_op("(")?;
                let parameters = self.parameters()?;
                StmtKind::Macro(self.macro_body(name, parameters, "endmacro")?)
            }
            "call" => {
                let parameters = if self.eat_op("(") { self.parameters()? } else { Vec::new() };
                let call = self.expression()?;
                let is_call = matches!(&call.kind, ExprKind::Chain(_, suffixes)
                    if matches!(suffixes.last(), Some(Suffix { kind: SuffixKind::Call(_), .. })));
                if !is_call {
                    return Err(Fault::new("expected a call").at(call.offset));
                }
                StmtKind::CallBlock(self.macro_body("caller".into(), parameters, "endcall")?, call)
            }
            "filter" => {
                let mut filters = vec![self.filter()?];
                while self.eat_op("|") {
                    filters.push(self.filter()?);
                }
                StmtKind::FilterBlock(filters, self.block("endfilter")?)
            }
            "with" => {
                let mut values = Vec::new();
                while *self.peek() != Kind::BlockEnd {
                    if !values.is_empty() {
                        self.expect_op(",")?;
                    }
                    let target = self.target()?;
                    self.expect_op("=")?;
                    values.push((target, self.expression()?));
                }
                StmtKind::With(values, self.block("endwith")?)
            }
            // Marks what the model is trained on, and writes nothing.
            "generation" => StmtKind::With(Vec::new(), self.block("endgeneration")?),
            "block" => {
                self.name()?;
                self.block_end()?;
                let (body, _) = self.body(&["endblock"])?;
                if let Kind::Name(_) = self.peek() {
                    self.advance();
                }
                self.block_end()?;
                StmtKind::With(Vec::new(), body)
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(Fault::new(format!("'{name}' outside of a loop")).at(offset));
                }
                self.block_end()?;
                if &*name == "break" { StmtKind::Break } else { StmtKind::Continue }
            }
            _ => return Err(Fault::new(format!("unknown tag '{name}'")).at(offset)),
        })
    }

    fn condition(&mut self) -> Eval<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false)?;
            self.block_end()?;
            let (body, end) = self.body(&["elif", "else", "endif"])?;
            branches.push((condition, body));
            match end {
                "elif" => {}
                "else" => return Ok(StmtKind::If(branches, self.block("endif")?)),
                _ => {
                    self.block_end()?;
                    return Ok(StmtKind::If(branches, Vec::new()));
                }
            }
        }
    }

    fn for_loop(&mut self) -> Eval<StmtKind> {
        let target = self.targets()?;
        if !self.eat_name("in") {
            return self.expected("'in'");
        }
        let iterable = self.tuple(false)?;
        let condition = if self.eat_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.eat_name("recursive");
        self.block_end()?;
        self.loops += 1;
        let (body, end) = self.body(&["else", "endfor"])?;
        self.loops -= 1;
        let otherwise = if end == "else" {
            self.block("endfor")?
        } else {
            self.block_end()?;
            Vec::new()
        };
        Ok(StmtKind::For(Arc::new(For { target, iterable, condition, recursive, body, otherwise })))
    }

    fn set(&mut self) -> Eval<StmtKind> {
        let target = self.targets()?;
        if self.eat_op("=") {
            let value = self.tuple(true)?;
            self.block_end()?;
            return Ok(StmtKind::Set(target, value));
        }
        let mut filters = Vec::new();
        while self.eat_op("|") {
            filters.push(self.filter()?);
        }
        Ok(StmtKind::SetBlock(target, filters, self.block("endset")?))
    }

    fn macro_body(&mut self, name: Arc<str>, parameters: Vec<(Arc<str>, Option<Expr>)>, end: &'static str) -> Eval<Arc<Macro>> {
        let loops = std::mem::take(&mut self.loops);
        let body = self.block(end)?;
        self.loops = loops;
        Ok(Arc::new(Macro { name, parameters, body }))
    }

    /// The parameters of a macro, after the opening parenthesis.
    fn parameters(&mut self) -> Eval<Vec<(Arc<str>, Option<Expr>)>> {
        let mut parameters = Vec::new();
        while !self.eat_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
                if self.eat_op(")") {
                    break;
                }
            }
            let name = self.name()?;
            let default = if self.eat_op("=") { Some(self.expression()?) } else { None };
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    /// Targets separated by commas.
    fn targets(&mut self) -> Eval<Target> {
        let first = self.target()?;
        if *self.peek() != Kind::Op(",") {
            return Ok(first);
        }
        let mut targets = vec![first];
        while self.eat_op(",") {
            if !matches!(self.peek(), Kind::Name(name) if *name != "in") && *self.peek() != Kind::Op("(") {
                break;
            }
            targets.push(self.target()?);
        }
        Ok(Target::Tuple(targets))
    }

    fn target(&mut self) -> Eval<Target> {
        if self.eat_op("(") {
            let targets = self.nested(Self::targets)?;
            self.expect_op(")")?;
            return Ok(targets);
        }
        let name = self.name()?;
        if self.eat_op(".") { Ok(Target::Attribute(name, self.name()?)) } else { Ok(Target::Name(name)) }
    }

    // ---- expressions

    /// Expressions separated by commas make a tuple; one alone is itself. `conditional` allows `a if b` in it.
    fn tuple(&mut self, conditional: bool) -> Eval<Expr> {
        let offset = self.offset();
        let parse = if conditional { Self::expression } else { Self::disjunction };
        let first = parse(self)?;
        if *self.peek() != Kind::Op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.eat_op(",") {
            if matches!(self.peek(), Kind::PrintEnd | Kind::BlockEnd | Kind::Op(")" | "]")) {
                break;
            }
            items.push(parse(self)?);
        }
        Ok(Expr { offset, kind: ExprKind::Tuple(items) })
    }

    /// An expression, conditional ones included.
    fn expression(&mut self) -> Eval<Expr> {
        self.nested(|parser| {
            let offset = parser.offset();
            let value = parser.disjunction()?;
            if !parser.eat_name("if") {
                return Ok(value);
            }
            let condition = parser.disjunction()?;
            let otherwise = if parser.eat_name("else") { Some(parser.expression()?) } else { None };
            Ok(Expr { offset, kind: ExprKind::Conditional(Box::new((condition, value, otherwise))) })
        })
    }

    /// Operands joined by the word `word`.
    fn joined(&mut self, word: &str, operand: fn(&mut Self) -> Eval<Expr>, join: fn(Vec<Expr>) -> ExprKind) -> Eval<Expr> {
        let offset = self.offset();
        let first = operand(self)?;
        if !self.at_name(word) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.eat_name(word) {
            operands.push(operand(self)?);
        }
        Ok(Expr { offset, kind: join(operands) })
    }

    fn disjunction(&mut self) -> Eval<Expr> {
        self.joined("or", |parser| parser.joined("and", Self::negation, ExprKind::And), ExprKind::Or)
    }

    fn negation(&mut self) -> Eval<Expr> {
        let offset = self.offset();
        if self.eat_name("not") {
            let operand = self.nested(Self::negation)?;
            return Ok(Expr { offset, kind: ExprKind::Not(Box::new(operand)) });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Eval<Expr> {
        let offset = self.offset();
        let first = self.sum()?;
        let mut others = Vec::new();
        loop {
            let comparison = match self.peek() {
                Kind::Op("==") => Comparison::Equal,
                Kind::Op("!=") => Comparison::NotEqual,
                Kind::Op("<") => Comparison::Less,
                Kind::Op("<=") => Comparison::LessEqual,
                Kind::Op(">") => Comparison::Greater,
                Kind::Op(">=") => Comparison::GreaterEqual,
                Kind::Name("in") => Comparison::In,
                Kind::Name("not") if self.tokens.get(self.at + 1).is_some_and(|next| next.kind == Kind::Name("in")) => {
                    self.advance();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.advance();
            others.push((comparison, self.sum()?));
        }
        Ok(if others.is_empty() { first } else { Expr { offset, kind: ExprKind::Compare(Box::new(first), others) } })
    }

    /// Operands joined by operators of one precedence.
    fn binary(&mut self, operators: &[(&'static str, Operator)], operand: fn(&mut Self) -> Eval<Expr>) -> Eval<Expr> {
        let offset = self.offset();
        let first = operand(self)?;
        let mut others = Vec::new();
        while let Some(&(_, operator)) = operators.iter().find(|(text, _)| *self.peek() == Kind::Op(text)) {
            self.advance();
            others.push((operator, operand(self)?));
        }
        Ok(if others.is_empty() { first } else { Expr { offset, kind: ExprKind::Binary(Box::new(first), others) } })
    }

    fn sum(&mut self) -> Eval<Expr> {
        self.binary(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::concatenation)
    }

    fn concatenation(&mut self) -> Eval<Expr> {
        let offset = self.offset();
        let first = self.product()?;
        if *self.peek() != Kind::Op("~") {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.eat_op("~") {
            operands.push(self.product()?);
        }
        Ok(Expr { offset, kind: ExprKind::Concat(operands) })
    }

    fn product(&mut self) -> Eval<Expr> {
        let operators =
            [("*", Operator::Multiply), ("/", Operator::Divide), ("//", Operator::FloorDivide), ("%", Operator::Modulo)];
        self.binary(&operators, Self::power)
    }

    fn power(&mut self) -> Eval<Expr> {
        self.binary(&[("**", Operator::Power)], |parser| parser.unary(true))
    }

    /// A signed or plain value with its suffixes; after a sign, filters and tests apply to the signed value.
    fn unary(&mut self, filters: bool) -> Eval<Expr> {
        let offset = self.offset();
        let sign: Option<fn(Box<Expr>) -> ExprKind> = match self.peek() {
            Kind::Op("-") => Some(ExprKind::Negate),
            Kind::Op("+") => Some(ExprKind::Plus),
            _ => None,
        };
        let value = match sign {
            Some(sign) => {
                self.advance();
                let operand = self.nested(|parser| parser.unary(false))?;
                Expr { offset, kind: sign(Box::new(operand)) }
            }
            None => self.primary()?,
        };
        let mut suffixes = Vec::new();
        while let Some(suffix) = self.suffix()? {
            suffixes.push(suffix);
        }
        if filters {
            loop {
                let offset = self.offset();
                if self.eat_op("|") {
                    suffixes.push(self.filter()?);
                } else if self.eat_name("is") {
                    suffixes.push(self.test(offset)?);
                } else if *self.peek() == Kind::Op("(") {
                    suffixes.extend(self.suffix()?);
                } else {
                    break;
                }
            }
        }
        Ok(if suffixes.is_empty() { value } else { Expr { offset, kind: ExprKind::Chain(Box::new(value), suffixes) } })
    }

    fn primary(&mut self) -> Eval<Expr> {
        let offset = self.offset();
        let kind = match self.peek() {
            Kind::Name(name) => {
                self.advance();
                match *name {
                    "none" | "None" => ExprKind::None,
                    "true" | "True" => ExprKind::Bool(true),
                    "false" | "False" => ExprKind::Bool(false),
                    name => ExprKind::Name(name.into()),
                }
            }
            Kind::Str(first) => {
                let mut text = first.clone();
                self.advance();
                while let Kind::Str(more) = self.peek() {
                    text.push_str(more);
                    self.advance();
                }
                ExprKind::Str(text.into())
            }
            Kind::Int(value) => {
                self.advance();
                ExprKind::Int(*value)
            }
            Kind::Float(value) => {
                self.advance();
                ExprKind::Float(*value)
            }
            Kind::Op("(") => {
                self.advance();
                if self.eat_op(")") {
                    return Ok(Expr { offset, kind: ExprKind::Tuple(Vec::new()) });
                }
                let value = self.nested(|parser| parser.tuple(true))?;
                self.expect_op(")")?;
                return Ok(value);
            }
            Kind::Op("[") => {
                self.advance();
                ExprKind::List(self.separated("]", Self::expression)?)
            }
            Kind::Op("{") => {
                self.advance();
                ExprKind::Dict(self.separated("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_op(":")?;
                    Ok((key, parser.expression()?))
                })?)
            }
            _ => return self.expected("an expression"),
        };
        Ok(Expr { offset, kind })
    }

    /// Items separated by commas up to `end`, which is consumed; a comma may stand before it.
    fn separated<T>(&mut self, end: &'static str, item: fn(&mut Self) -> Eval<T>) -> Eval<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat_op(end) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.eat_op(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn suffix(&mut self) -> Eval<Option<Suffix>> {
        let offset = self.offset();
        let kind = if self.eat_op(".") {
            match self.peek() {
                Kind::Int(index) => {
                    let item = Expr { offset, kind: ExprKind::Int(*index) };
                    self.advance();
                    SuffixKind::Item(item)
                }
                _ => SuffixKind::Attribute(self.name()?),
            }
        } else if self.eat_op("[") {
            self.subscript()?
        } else if self.eat_op("(") {
            // The place of a call is the name of what is called.
            let callee = self.at.checked_sub(2).and_then(|at| self.tokens.get(at)).map_or(offset, |token| token.offset);
            return Ok(Some(Suffix { offset: callee, kind: SuffixKind::Call(self.arguments()?) }));
        } else {
            return Ok(None);
        };
        Ok(Some(Suffix { offset, kind }))
    }

    /// After the opening bracket.
    fn subscript(&mut self) -> Eval<SuffixKind> {
        let mut parts = [None, None, None];
        let mut colons = 0;
        loop {
            if self.eat_op(":") {
                colons += 1;
                if colons > 2 {
                    return self.expected("']'");
                }
            } else if self.eat_op("]") {
                break;
            } else if colons == 0 && parts[0].is_none() {
                parts[0] = Some(self.nested(|parser| parser.tuple(true))?);
            } else if colons > 0 && parts[colons].is_none() {
                parts[colons] = Some(self.expression()?);
            } else {
                return self.expected("']'");
            }
        }
        match parts {
            [Some(index), ..] if colons == 0 => Ok(SuffixKind::Item(index)),
            [None, ..] if colons == 0 => self.expected("an index"),
            parts => Ok(SuffixKind::Slice(parts)),
        }
    }

    /// The arguments of a call, after the opening parenthesis.
    fn arguments(&mut self) -> Eval<Arguments> {
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.eat_op(")") {
            if !std::mem::take(&mut first) {
                self.expect_op(",")?;
                if self.eat_op(")") {
                    break;
                }
            }
            if self.eat_op("**") {
                arguments.more_keywords = Some(Box::new(self.expression()?));
            } else if self.eat_op("*") {
                arguments.more = Some(Box::new(self.expression()?));
            } else if matches!(self.peek(), Kind::Name(_))
                && self.tokens.get(self.at + 1).is_some_and(|next| next.kind == Kind::Op("="))
            {
                let name = self.name()?;
                self.advance();
                arguments.keywords.push((name, self.expression()?));
            } else if arguments.keywords.is_empty() && arguments.more_keywords.is_none() {
                arguments.positional.push(self.expression()?);
            } else {
                return self.expected("a named argument");
            }
        }
        Ok(arguments)
    }

    /// A dotted name, of a filter or a test.
    fn dotted(&mut self) -> Eval<Arc<str>> {
        let mut name = self.name()?;
        while self.eat_op(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        Ok(name)
    }

    fn filter(&mut self) -> Eval<Suffix> {
        let offset = self.offset();
        let name = self.dotted()?;
        let arguments = if self.eat_op("(") { self.arguments()? } else { Arguments::default() };
        Ok(Suffix { offset, kind: SuffixKind::Filter(name, arguments) })
    }

    /// After `is`.
    fn test(&mut self, offset: Offset) -> Eval<Suffix> {
        let negated = self.eat_name("not");
        let name = self.dotted()?;
        let mut arguments = Arguments::default();
        let operand = match self.peek() {
            Kind::Name(name) => !matches!(*name, "else" | "or" | "and" | "is" | "if" | "in" | "not" | "recursive"),
            Kind::Str(_) | Kind::Int(_) | Kind::Float(_) | Kind::Op("[" | "{") => true,
            _ => false,
        };
        if self.eat_op("(") {
            arguments = self.arguments()?;
        } else if operand {
            // One argument without parentheses: a value with its attributes, items and calls.
            let offset = self.offset();
            let value = self.nested(Self::primary)?;
            let mut suffixes = Vec::new();
            while let Some(suffix) = self.suffix()? {
                suffixes.push(suffix);
            }
            arguments.positional.push(if suffixes.is_empty() {
                value
            } else {
                Expr { offset, kind: ExprKind::Chain(Box::new(value), suffixes) }
            });
        }
        Ok(Suffix { offset, kind: SuffixKind::Test(negated, name, arguments) })
    }
}
