//! Runs statements and evaluates expressions.

use super::ast::{Arguments, Comparison, Expr, ExprKind, For, Macro, Operator, Stmt, StmtKind, Suffix, SuffixKind, Target};
use super::meter::{Eval, Fault, Meter, STEP, Writer};
use super::value::{Closure, Loop, Turns, Value, distinct};
use super::{filters, format, functions, methods, predicates};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

/// Evaluations inside each other: bounds the stack that a rendering takes, see `stack`.
const MAX_DEPTH: usize = 400;

type Variables = Vec<(Arc<str>, Value)>;

/// What the next statement is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Evaluated arguments of a call.
#[derive(Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) keywords: Vec<(Arc<str>, Value)>,
}

impl Args {
    /// The argument at `index` or called `name`.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.positional.get(index).or_else(|| self.keywords.iter().find(|(found, _)| **found == *name).map(|(_, value)| value))
    }

    /// The same, for arguments that must be given.
    pub(super) fn need(&self, index: usize, name: &str) -> Eval<&Value> {
        self.get(index, name).ok_or_else(|| Fault::new(format!("missing argument '{name}'")))
    }

    /// A text argument; none if it is not given or none.
    pub(super) fn text(&self, index: usize, name: &str) -> Eval<Option<Arc<str>>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Str(text)) => Ok(Some(Arc::clone(text))),
            Some(other) => Err(Fault::new(format!("'{name}' must be str, not {}", other.defined()?.type_name()))),
        }
    }

    /// An integer argument; none if it is not given or none.
    pub(super) fn int(&self, index: usize, name: &str) -> Eval<Option<i128>> {
        match self.get(index, name) {
            None | Some(Value::None) => Ok(None),
            Some(other) => match other.defined()?.as_int() {
                Some(value) => Ok(Some(value)),
                None => Err(Fault::new(format!("'{name}' must be int, not {}", other.type_name()))),
            },
        }
    }

    /// The truth of an argument.
    pub(super) fn flag(&self, index: usize, name: &str) -> Option<bool> {
        self.get(index, name).map(Value::truth)
    }
}

pub(super) struct Machine {
    pub(super) meter: Meter,
    /// What `strftime_now` shows.
    pub(super) now: i64,
    out: Writer,
    /// Scopes, innermost last. The first holds the globals of the template.
    scopes: Vec<Variables>,
    /// The first scope of the running macro; those below, but for the first of all, are not its.
    base: usize,
    depth: usize,
    /// All namespaces, to be emptied at the end: they alone can hold themselves.
    namespaces: Vec<Rc<RefCell<Variables>>>,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            namespace.take();
        }
    }
}

impl Machine {
    pub(super) fn new(meter: &Meter, globals: Variables, now: i64) -> Self {
        Self {
            meter: meter.clone(),
            now,
            out: Writer::new(meter),
            scopes: vec![globals],
            base: 1,
            depth: 0,
            namespaces: Vec::new(),
        }
    }

    /// Runs a whole template; what it wrote.
    pub(super) fn run(mut self, body: &[Stmt]) -> Eval<String> {
        self.exec(body)?;
        let out = std::mem::replace(&mut self.out, Writer::new(&self.meter));
        Ok(out.finish())
    }

    fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        self.meter.charge(STEP)?;
        if self.depth == MAX_DEPTH {
            return Err(Fault::new("the template calls itself too deeply"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    // ---- variables

    pub(super) fn lookup(&self, name: &Arc<str>) -> Eval<Value> {
        for scope in self.scopes[self.base..].iter().rev().chain(self.scopes.first()) {
            self.meter.charge(scope.len())?;
            if let Some((_, value)) = scope.iter().rev().find(|(found, _)| found == name) {
                return Ok(value.clone());
            }
        }
        Ok(functions::named(name).map_or_else(|| Value::Undefined(Arc::clone(name)), Value::Function))
    }

    fn assign(&mut self, name: &Arc<str>, value: Value) -> Eval<()> {
        // There is always the scope of the globals.
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        self.meter.charge(scope.len())?;
        match scope.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => *old = value,
            None => scope.push((Arc::clone(name), value)),
        }
        Ok(())
    }

    /// Gives a variable a new value wherever it is visible.
    pub(super) fn replace(&mut self, name: &Arc<str>, value: Value) {
        let (globals, scopes) = self.scopes.split_at_mut(self.base.min(1));
        let (_, scopes) = scopes.split_at_mut(self.base - globals.len());
        let variables = globals.iter_mut().chain(scopes).rev().flatten();
        if let Some((_, old)) = variables.into_iter().find(|(found, _)| found == name) {
            *old = value;
        }
    }

    pub(super) fn assign_target(&mut self, target: &Target, value: Value) -> Eval<()> {
        match target {
            Target::Name(name) => self.assign(name, value),
            Target::Attribute(name, attribute) => match self.lookup(name)? {
                Value::Namespace(namespace) => {
                    let mut namespace = namespace.borrow_mut();
                    self.meter.charge(namespace.len() + STEP)?;
                    match namespace.iter_mut().find(|(found, _)| found == attribute) {
                        Some((_, old)) => *old = value,
                        None => namespace.push((Arc::clone(attribute), value)),
                    }
                    Ok(())
                }
                _ => Err(Fault::new(format!("cannot assign attribute on non-namespace object '{name}'"))),
            },
            Target::Tuple(targets) => {
                let items = value.items(&self.meter)?;
                if items.len() != targets.len() {
                    return Err(Fault::new(format!("cannot unpack {} values into {}", items.len(), targets.len())));
                }
                targets.iter().zip(items).try_for_each(|(target, item)| self.assign_target(target, item))
            }
        }
    }

    pub(super) fn namespace(&mut self, variables: Variables) -> Eval<Value> {
        self.meter.charge_values(variables.len())?;
        let namespace = Rc::new(RefCell::new(variables));
        self.namespaces.push(Rc::clone(&namespace));
        Ok(Value::Namespace(namespace))
    }

    /// Runs in a scope of its own.
    fn scoped<T>(&mut self, scope: Variables, run: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        self.scopes.push(scope);
        let result = run(self);
        self.scopes.pop();
        result
    }

    /// What the body writes.
    fn captured(&mut self, body: &[Stmt]) -> Eval<Value> {
        let outer = std::mem::replace(&mut self.out, Writer::new(&self.meter));
        let result = self.exec(body);
        let text = std::mem::replace(&mut self.out, outer).finish();
        result?;
        Ok(text.into())
    }

    // ---- statements

    fn exec(&mut self, body: &[Stmt]) -> Eval<Flow> {
        for statement in body {
            let flow = self.deeper(|machine| machine.statement(&statement.kind)).map_err(|fault| fault.at(statement.offset))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &StmtKind) -> Eval<Flow> {
        match statement {
            StmtKind::Text(text) => self.out.push(text)?,
            StmtKind::Print(value) => {
                let value = self.eval(value)?;
                value.write(&mut self.out, &self.meter)?;
            }
            StmtKind::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition)?.truth() {
                        return self.exec(body);
                    }
                }
                return self.exec(otherwise);
            }
            StmtKind::For(statement) => {
                let iterable = self.eval(&statement.iterable)?;
                self.for_loop(statement, &iterable, 0)?;
            }
            StmtKind::Set(target, value) => {
                let value = self.eval(value)?;
                self.assign_target(target, value)?;
            }
            StmtKind::SetBlock(target, filters, body) => {
                let text = self.scoped(Vec::new(), |machine| machine.captured(body))?;
                let value = self.suffixes(text, filters)?;
                self.assign_target(target, value)?;
            }
            StmtKind::Macro(definition) => {
                let closure = self.closure(definition)?;
                self.assign(&definition.name, closure)?;
            }
            StmtKind::CallBlock(body, call) => {
                let caller = self.closure(body)?;
                let value = self.call_with(call, caller)?;
                value.write(&mut self.out, &self.meter)?;
            }
            StmtKind::FilterBlock(filters, body) => {
                let text = self.scoped(Vec::new(), |machine| machine.captured(body))?;
                let value = self.suffixes(text, filters)?;
                value.write(&mut self.out, &self.meter)?;
            }
            StmtKind::With(values, body) => {
                // Values see the variables around, not each other.
                let values = values.iter().map(|(_, value)| self.eval(value)).collect::<Eval<Vec<_>>>()?.into_iter().zip(values);
                return self.scoped(Vec::new(), |machine| {
                    for (value, (target, _)) in values {
                        machine.assign_target(target, value)?;
                    }
                    machine.exec(body)
                });
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn for_loop(&mut self, statement: &Arc<For>, iterable: &Value, level: usize) -> Eval<()> {
        let mut items = iterable.items(&self.meter)?;
        if let Some(condition) = &statement.condition {
            let mut kept = Vec::new();
            for item in items {
                let keep = self.scoped(Vec::new(), |machine| {
                    machine.assign_target(&statement.target, item.clone())?;
                    machine.eval(condition)
                })?;
                if keep.truth() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let turns = Rc::new(Turns::new(items, level, statement.recursive.then(|| Arc::clone(statement)))?);
        for (index, item) in turns.items.iter().enumerate() {
            self.meter.charge(2 * STEP)?;
            let turn = Value::Loop(Rc::new(Loop { turns: Rc::clone(&turns), index }));
            let flow = self.scoped(vec![("loop".into(), turn)], |machine| {
                machine.assign_target(&statement.target, item.clone())?;
                machine.exec(&statement.body)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        if turns.items.is_empty() {
            self.scoped(Vec::new(), |machine| machine.exec(&statement.otherwise))?;
        }
        Ok(())
    }

    /// A macro with the local variables it can see; the globals it sees as they are when it is called.
    fn closure(&mut self, definition: &Arc<Macro>) -> Eval<Value> {
        let locals = self.scopes.get(self.base..).unwrap_or_default();
        let captured: Variables = locals.iter().flatten().cloned().collect();
        self.meter.charge_values(captured.len())?;
        Ok(Value::Macro(Rc::new(Closure::new(Arc::clone(definition), captured)?)))
    }

    // ---- calls

    pub(super) fn arguments(&mut self, arguments: &Arguments) -> Eval<Args> {
        let mut args = Args::default();
        for value in &arguments.positional {
            args.positional.push(self.eval(value)?);
        }
        if let Some(more) = &arguments.more {
            let more = self.eval(more)?.items(&self.meter)?;
            args.positional.extend(more);
        }
        for (name, value) in &arguments.keywords {
            let value = self.eval(value)?;
            args.keywords.push((Arc::clone(name), value));
        }
        if let Some(more) = &arguments.more_keywords {
            match self.eval(more)? {
                Value::Dict(dict) => {
                    self.meter.charge_values(dict.entries.len())?;
                    for (key, value) in &dict.entries {
                        args.keywords.push((key.text(&self.meter)?, value.clone()));
                    }
                }
                other => return Err(Fault::new(format!("argument after ** must be a mapping, not {}", other.type_name()))),
            }
        }
        Ok(args)
    }

    /// The call of a call block: a chain whose last suffix is the call.
    fn call_with(&mut self, call: &Expr, caller: Value) -> Eval<Value> {
        if let ExprKind::Chain(value, suffixes) = &call.kind
            && let Some((Suffix { kind: SuffixKind::Call(arguments), offset }, before)) = suffixes.split_last()
        {
            let value = self.eval(value)?;
            let function = self.suffixes(value, before)?;
            let mut args = self.arguments(arguments)?;
            args.keywords.push(("caller".into(), caller));
            return self.call(&function, args).map_err(|fault| fault.at(*offset));
        }
        Err(Fault::new("expected a call"))
    }

    pub(super) fn call(&mut self, function: &Value, args: Args) -> Eval<Value> {
        match function.defined()? {
            Value::Macro(closure) => self.call_macro(closure, args),
            Value::Function(name) => functions::call(self, name, args),
            Value::Method(method) => methods::call(self, &method.0, &method.1, &args),
            Value::Loop(turn) => {
                let Some(statement) = turn.turns.recursive.clone() else {
                    return Err(Fault::new("the loop is not recursive"));
                };
                let outer = std::mem::replace(&mut self.out, Writer::new(&self.meter));
                let result = args
                    .need(0, "iterable")
                    .and_then(|iterable| self.deeper(|machine| machine.for_loop(&statement, iterable, turn.turns.level + 1)));
                let text = std::mem::replace(&mut self.out, outer).finish();
                result?;
                Ok(text.into())
            }
            other => Err(Fault::new(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn call_macro(&mut self, closure: &Closure, args: Args) -> Eval<Value> {
        let definition = &closure.definition;
        let mut extra: Vec<Value> = args.positional.get(definition.parameters.len()..).unwrap_or_default().to_vec();
        let mut positional = args.positional.into_iter().take(definition.parameters.len());
        let mut keywords = args.keywords;
        self.meter.charge_values(closure.captured.len())?;
        // Defaults see the parameters before them.
        let (base, outer) = (self.base, self.scopes.len());
        self.scopes.push(closure.captured.clone());
        self.scopes.push(Vec::new());
        self.base = outer;
        let result = self.deeper(|machine| {
            for (name, default) in &definition.parameters {
                let keyword = keywords.iter().position(|(found, _)| found == name);
                let value = match (positional.next(), keyword, default) {
                    (Some(_), Some(_), _) => {
                        return Err(Fault::new(format!("macro '{}' got two values for '{name}'", definition.name)));
                    }
                    (Some(value), ..) => value,
                    (None, Some(index), _) => keywords.swap_remove(index).1,
                    (None, None, Some(default)) => machine.eval(default)?,
                    (None, None, None) => Value::Undefined(Arc::clone(name)),
                };
                machine.assign(name, value)?;
            }
            if let Some(index) = keywords.iter().position(|(name, _)| **name == *"caller") {
                machine.assign(&"caller".into(), keywords.swap_remove(index).1)?;
            }
            let varargs = Value::list(std::mem::take(&mut extra), true, &machine.meter)?;
            machine.assign(&"varargs".into(), varargs)?;
            let kwargs = keywords.into_iter().map(|(name, value)| (Value::Str(name), value)).collect();
            let kwargs = Value::dict(distinct(kwargs, &machine.meter)?, &machine.meter)?;
            machine.assign(&"kwargs".into(), kwargs)?;
            machine.captured(&definition.body)
        });
        self.scopes.truncate(outer);
        self.base = base;
        result
    }

    // ---- expressions

    pub(super) fn eval(&mut self, expression: &Expr) -> Eval<Value> {
        self.deeper(|machine| machine.expression(&expression.kind)).map_err(|fault| fault.at(expression.offset))
    }

    fn expression(&mut self, expression: &ExprKind) -> Eval<Value> {
        Ok(match expression {
            ExprKind::None => Value::None,
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Int(value) => Value::Int(*value),
            ExprKind::Float(value) => Value::Float(*value),
            ExprKind::Str(text) => Value::Str(Arc::clone(text)),
            ExprKind::Name(name) => self.lookup(name)?,
            ExprKind::List(items) | ExprKind::Tuple(items) => {
                let values = items.iter().map(|item| self.eval(item)).collect::<Eval<_>>()?;
                Value::list(values, matches!(expression, ExprKind::Tuple(_)), &self.meter)?
            }
            ExprKind::Dict(entries) => {
                let entry = |(key, value): &(Expr, Expr)| Ok((self.eval(key)?, self.eval(value)?));
                let entries = entries.iter().map(entry).collect::<Eval<_>>()?;
                Value::dict(distinct(entries, &self.meter)?, &self.meter)?
            }
            ExprKind::Chain(value, suffixes) => match self.change(value, suffixes)? {
                Some((result, count)) => self.suffixes(result, &suffixes[count..])?,
                None => {
                    let value = self.eval(value)?;
                    self.suffixes(value, suffixes)?
                }
            },
            ExprKind::Negate(operand) => match self.eval(operand)? {
                Value::Float(value) => Value::Float(-value),
                other => arithmetic(Operator::Subtract, &Value::Int(0), &other)?,
            },
            ExprKind::Plus(operand) => arithmetic(Operator::Add, &Value::Int(0), &self.eval(operand)?)?,
            ExprKind::Not(operand) => Value::Bool(!self.eval(operand)?.truth()),
            ExprKind::Binary(first, others) => {
                let mut value = self.eval(first)?;
                for (operator, operand) in others {
                    let operand = self.eval(operand)?;
                    value = self.binary(*operator, &value, &operand)?;
                }
                value
            }
            ExprKind::Concat(operands) => {
                let mut out = Writer::new(&self.meter);
                for operand in operands {
                    self.eval(operand)?.write(&mut out, &self.meter)?;
                }
                out.finish().into()
            }
            ExprKind::Compare(first, others) => {
                let mut left = self.eval(first)?;
                for (comparison, operand) in others {
                    let right = self.eval(operand)?;
                    if !self.compare(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            ExprKind::And(operands) => self.first(operands, false)?,
            ExprKind::Or(operands) => self.first(operands, true)?,
            ExprKind::Conditional(parts) => {
                let (condition, value, otherwise) = &**parts;
                match otherwise {
                    _ if self.eval(condition)?.truth() => self.eval(value)?,
                    Some(otherwise) => self.eval(otherwise)?,
                    None => Value::Undefined("the missing else of a conditional".into()),
                }
            }
        })
    }

    /// The first operand of the wanted truth, else the last.
    fn first(&mut self, operands: &[Expr], wanted: bool) -> Eval<Value> {
        let mut value = Value::None;
        for operand in operands {
            value = self.eval(operand)?;
            if value.truth() == wanted {
                break;
            }
        }
        Ok(value)
    }

    pub(super) fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Eval<bool> {
        let order = |wanted: fn(Ordering) -> bool| left.compare(right, &self.meter).map(wanted);
        match comparison {
            Comparison::Equal => left.equals(right, &self.meter),
            Comparison::NotEqual => Ok(!left.equals(right, &self.meter)?),
            Comparison::Less => order(Ordering::is_lt),
            Comparison::LessEqual => order(Ordering::is_le),
            Comparison::Greater => order(Ordering::is_gt),
            Comparison::GreaterEqual => order(Ordering::is_ge),
            Comparison::In => right.contains(left, &self.meter),
            Comparison::NotIn => Ok(!right.contains(left, &self.meter)?),
        }
    }

    fn binary(&self, operator: Operator, left: &Value, right: &Value) -> Eval<Value> {
        match (operator, left, right) {
            (Operator::Add, Value::Str(a), Value::Str(b)) => {
                let mut out = Writer::new(&self.meter);
                out.push(a)?;
                out.push(b)?;
                Ok(out.finish().into())
            }
            (Operator::Add, Value::List(a), Value::List(b)) if a.tuple == b.tuple => {
                self.meter.charge_values(a.items.len() + b.items.len())?;
                Value::list(a.items.iter().chain(&b.items).cloned().collect(), a.tuple, &self.meter)
            }
            (Operator::Multiply, Value::Str(_) | Value::List(_), count) if count.as_int().is_some() => self.repeat(left, count),
            (Operator::Multiply, count, Value::Str(_) | Value::List(_)) if count.as_int().is_some() => self.repeat(right, count),
            (Operator::Modulo, Value::Str(pattern), _) => format::printf(pattern, right, &self.meter),
            _ => arithmetic(operator, left, right),
        }
    }

    pub(super) fn add(&self, left: &Value, right: &Value) -> Eval<Value> {
        self.binary(Operator::Add, left, right)
    }

    fn repeat(&self, value: &Value, count: &Value) -> Eval<Value> {
        let count = usize::try_from(count.as_int().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
        match value {
            Value::List(list) => {
                let length = list.items.len().saturating_mul(count);
                self.meter.charge_values(length)?;
                Value::list(list.items.iter().cycle().take(length).cloned().collect(), list.tuple, &self.meter)
            }
            _ => {
                let text = value.as_str().unwrap_or_default();
                self.meter.charge(text.len().saturating_mul(count))?;
                Ok(text.repeat(if text.is_empty() { 0 } else { count }).into())
            }
        }
    }

    fn suffixes(&mut self, mut value: Value, suffixes: &[Suffix]) -> Eval<Value> {
        for suffix in suffixes {
            value = self.suffix(value, &suffix.kind).map_err(|fault| fault.at(suffix.offset))?;
        }
        Ok(value)
    }

    fn suffix(&mut self, value: Value, suffix: &SuffixKind) -> Eval<Value> {
        self.meter.charge(STEP)?;
        match suffix {
            SuffixKind::Attribute(name) => self.attribute(&value, name),
            SuffixKind::Item(index) => {
                let index = self.eval(index)?;
                self.item(&value, &index)
            }
            SuffixKind::Slice(parts) => {
                let mut bounds = [None; 3];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    *bound = match part.as_ref().map(|part| self.eval(part)).transpose()? {
                        None | Some(Value::None) => None,
                        Some(value) => Some(value.as_int().ok_or_else(|| Fault::new("slice indices must be integers or None"))?),
                    };
                }
                self.slice(&value, bounds)
            }
            SuffixKind::Call(arguments) => {
                let args = self.arguments(arguments)?;
                self.call(&value, args)
            }
            SuffixKind::Filter(name, arguments) => {
                let args = self.arguments(arguments)?;
                filters::apply(self, name, value, args)
            }
            SuffixKind::Test(negated, name, arguments) => {
                let args = self.arguments(arguments)?;
                Ok(Value::Bool(predicates::test(self, name, &value, &args)? != *negated))
            }
        }
    }

    /// `value.name`: methods and attributes first, then items.
    pub(super) fn attribute(&self, value: &Value, name: &Arc<str>) -> Eval<Value> {
        let undefined = || Value::Undefined(Arc::clone(name));
        match value.defined()? {
            _ if methods::exists(value, name) => Ok(Value::Method(Rc::new((value.clone(), Arc::clone(name))))),
            Value::Dict(_) => Ok(value.entry(&Value::Str(Arc::clone(name)), &self.meter)?.unwrap_or_else(undefined)),
            Value::Namespace(namespace) => {
                let namespace = namespace.borrow();
                self.meter.charge(namespace.len())?;
                Ok(namespace.iter().find(|(found, _)| found == name).map_or_else(undefined, |(_, value)| value.clone()))
            }
            Value::Loop(turn) => Ok(loop_attribute(turn, name).unwrap_or_else(undefined)),
            Value::Macro(closure) if **name == *"name" => Ok(Value::Str(Arc::clone(&closure.definition.name))),
            _ => Ok(undefined()),
        }
    }

    /// `value[index]`: items first, then attributes.
    pub(super) fn item(&self, value: &Value, index: &Value) -> Eval<Value> {
        let at = |length: usize| {
            let index = index.as_int()?;
            usize::try_from(if index < 0 { index + length as i128 } else { index }).ok()
        };
        let found = match value.defined()? {
            Value::List(list) => at(list.items.len()).and_then(|at| list.items.get(at).cloned()),
            Value::Str(text) => {
                let length = value.length(&self.meter)?;
                at(length).and_then(|at| text.chars().nth(at)).map(|char| char.encode_utf8(&mut [0; 4]).to_owned().into())
            }
            _ => value.entry(index, &self.meter)?,
        };
        match (found, index) {
            (Some(found), _) => Ok(found),
            (None, Value::Str(name)) => self.attribute(value, name),
            (None, _) => Ok(Value::Undefined(index.text(&self.meter)?)),
        }
    }

    fn slice(&self, value: &Value, [start, stop, step]: [Option<i128>; 3]) -> Eval<Value> {
        let length = value.defined()?.length(&self.meter)? as i128;
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(Fault::new("slice step cannot be zero"));
        }
        // Python's rules: bounds count from the end when negative, and are then cut to what exists.
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let bound = |bound: Option<i128>, default| {
            bound.map_or(default, |at| if at < 0 { at.saturating_add(length) } else { at }.clamp(low, high))
        };
        let (start, stop) =
            if step > 0 { (bound(start, low), bound(stop, high)) } else { (bound(start, high), bound(stop, low)) };
        let span = if step > 0 { stop - start } else { start - stop };
        let count = if span > 0 { (span - 1) / step.saturating_abs() + 1 } else { 0 };
        let indices = (0..count).filter_map(|turn| usize::try_from(start + turn * step).ok());
        match value {
            Value::List(list) => {
                self.meter.charge_values(count as usize)?;
                let items = indices.filter_map(|at| list.items.get(at).cloned()).collect();
                Value::list(items, list.tuple, &self.meter)
            }
            Value::Str(text) if step == 1 => {
                let part: String = text.chars().skip(start as usize).take(count as usize).collect();
                self.meter.charge(part.len())?;
                Ok(part.into())
            }
            Value::Str(text) => {
                self.meter.charge_values(length as usize)?;
                let chars: Vec<char> = text.chars().collect();
                Ok(indices.filter_map(|at| chars.get(at)).collect::<String>().into())
            }
            other => Err(Fault::new(format!("'{}' object cannot be sliced", other.type_name()))),
        }
    }
}

fn loop_attribute(turn: &Loop, name: &str) -> Option<Value> {
    let (index, items) = (turn.index, &turn.turns.items);
    Some(match name {
        "index" => (index + 1).into(),
        "index0" => index.into(),
        "revindex" => (items.len() - index).into(),
        "revindex0" => (items.len() - index - 1).into(),
        "first" => (index == 0).into(),
        "last" => (index + 1 == items.len()).into(),
        "length" => items.len().into(),
        "depth" => (turn.turns.level + 1).into(),
        "depth0" => turn.turns.level.into(),
        "previtem" => index.checked_sub(1).and_then(|index| items.get(index))?.clone(),
        "nextitem" => items.get(index + 1)?.clone(),
        _ => return None,
    })
}

/// Arithmetic on numbers: exact on integers, up to 128 bits.
fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Eval<Value> {
    let (left, right) = (left.defined()?, right.defined()?);
    let unsupported = || Fault::new(format!("unsupported operand types: '{}' and '{}'", left.type_name(), right.type_name()));
    let by_zero = || Fault::new("division by zero");
    if let (Some(a), Some(b)) = (left.as_int(), right.as_int()) {
        let result = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            Operator::Divide if b == 0 => return Err(by_zero()),
            Operator::Divide => return Ok(Value::Float(a as f64 / b as f64)),
            Operator::FloorDivide | Operator::Modulo if b == 0 => return Err(by_zero()),
            // Towards minus infinity, and the remainder has the sign of the divisor.
            Operator::FloorDivide => a.checked_div(b).map(|quotient| quotient - i128::from(a % b != 0 && (a < 0) != (b < 0))),
            Operator::Modulo => a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
            Operator::Power if b < 0 => return Ok(Value::Float((a as f64).powf(b as f64))),
            Operator::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        };
        return result.map(Value::Int).ok_or_else(|| Fault::new("integer overflow"));
    }
    let (a, b) = left.as_float().zip(right.as_float()).ok_or_else(unsupported)?;
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide | Operator::FloorDivide | Operator::Modulo if b == 0.0 => return Err(by_zero()),
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Modulo => a - b * (a / b).floor(),
        Operator::Power => a.powf(b),
    }))
}
