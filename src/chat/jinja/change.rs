//! Methods that change a list. Values never change, so that none can hold itself; the variable gets a new list instead. The
//! reference's sandbox refuses these methods, but templates in use cannot do without.

use super::ast::{Expr, ExprKind, Suffix, SuffixKind, Target};
use super::machine::{Args, Machine};
use super::meter::{Eval, Fault};
use super::value::Value;
use std::sync::Arc;

impl Machine {
    /// Runs `name.append(...)`, `namespace.name.pop()` and the like at the start of a chain: the result, and how many suffixes
    /// that were; none if it is something else.
    pub(super) fn change(&mut self, value: &Expr, suffixes: &[Suffix]) -> Eval<Option<(Value, usize)>> {
        let ExprKind::Name(name) = &value.kind else { return Ok(None) };
        let mut kinds = suffixes.iter().map(|suffix| &suffix.kind);
        let (target, method, arguments, count) = match (kinds.next(), kinds.next(), kinds.next()) {
            (Some(SuffixKind::Attribute(method)), Some(SuffixKind::Call(arguments)), _) => {
                (Target::Name(Arc::clone(name)), method, arguments, 2)
            }
            (Some(SuffixKind::Attribute(inner)), Some(SuffixKind::Attribute(method)), Some(SuffixKind::Call(arguments))) => {
                (Target::Attribute(Arc::clone(name), Arc::clone(inner)), method, arguments, 3)
            }
            _ => return Ok(None),
        };
        if !["append", "extend", "insert", "pop"].contains(&&**method) {
            return Ok(None);
        }
        let outer = self.lookup(name)?;
        let value = match &target {
            Target::Attribute(_, inner) if matches!(outer, Value::Namespace(_)) => self.attribute(&outer, inner)?,
            Target::Attribute(..) => return Ok(None),
            _ => outer,
        };
        let Value::List(list) = &value else { return Ok(None) };
        if list.tuple {
            return Ok(None);
        }
        let args = self.arguments(arguments)?;
        let (items, result) = self.changed(value.items(&self.meter)?, method, &args)?;
        let list = Value::list(items, false, &self.meter)?;
        match &target {
            Target::Name(name) => self.replace(name, list),
            target => self.assign_target(target, list)?,
        }
        Ok(Some((result, count)))
    }

    fn changed(&self, mut items: Vec<Value>, method: &str, args: &Args) -> Eval<(Vec<Value>, Value)> {
        // As Python counts: from the end when negative.
        let place = |index: i128, len: usize| usize::try_from(if index < 0 { index + len as i128 } else { index });
        let mut result = Value::None;
        match method {
            "append" => items.push(args.need(0, "object")?.clone()),
            "extend" => items.extend(args.need(0, "iterable")?.items(&self.meter)?),
            "insert" => {
                let index = place(args.int(0, "index")?.unwrap_or(0), items.len()).unwrap_or(0).min(items.len());
                items.insert(index, args.need(1, "object")?.clone());
            }
            _ => {
                let index = place(args.int(0, "index")?.unwrap_or(-1), items.len()).ok().filter(|index| *index < items.len());
                result = items.remove(index.ok_or_else(|| Fault::new("pop index out of range"))?);
            }
        }
        Ok((items, result))
    }
}
