//! Nodes over a value.

use std::cmp::Ordering;

use serde_json::Value;

use super::print::{NO_VALUE, formatted, plain};
use super::{Node, Operand, Pipeline};

type Outcome<T> = Result<T, String>;

/// Text that the nodes make of `value`.
pub(super) fn render(nodes: &[Node], value: &Value) -> Outcome<String> {
    let mut run = Run { out: String::new(), variables: vec![(String::new(), value.clone())] };
    run.all(nodes, value)?;
    Ok(run.out)
}

/// Whether a loop goes on.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run {
    out: String,
    /// Those that are in sight, the innermost last; `$` is the first.
    variables: Vec<(String, Value)>,
}

impl Run {
    fn all(&mut self, nodes: &[Node], dot: &Value) -> Outcome<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Outcome<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let found = self.pipeline(pipeline, dot)?;
                match found {
                    _ if !pipeline.variables.is_empty() => self.set(pipeline, &found),
                    Found::Nothing => self.out.push_str(NO_VALUE),
                    Found::Value(value) => self.out.push_str(&plain(&value)),
                }
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::If(head, then, otherwise) => {
                return self.scoped(|run| {
                    let found = run.pipeline(head, dot)?;
                    run.set(head, &found);
                    run.all(if is_true(&found.into()) { then } else { otherwise }, dot)
                });
            }
            Node::With(head, then, otherwise) => {
                return self.scoped(|run| {
                    let found = run.pipeline(head, dot)?;
                    run.set(head, &found);
                    let value: Value = found.into();
                    match is_true(&value) {
                        true => run.all(then, &value),
                        false => run.all(otherwise, dot),
                    }
                });
            }
            Node::Range(head, then, otherwise) => {
                return self.scoped(|run| run.range(head, then, otherwise, dot));
            }
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        head: &Pipeline,
        then: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Outcome<Flow> {
        let items: Vec<(Value, Value)> = match Value::from(self.pipeline(head, dot)?) {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                list.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => {
                let mut pairs: Vec<_> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(name, value)| (name.into(), value)).collect()
            }
            Value::Number(number) if number.is_u64() => {
                (0..number.as_u64().unwrap_or_default()).map(|at| (at.into(), at.into())).collect()
            }
            other => return Err(format!("range can't iterate over {}", plain(&other))),
        };
        if items.is_empty() {
            return self.all(otherwise, dot);
        }
        for (key, item) in items {
            let flow = self.scoped(|run| {
                match &head.variables[..] {
                    [one] => run.variables.push((one.clone(), item.clone())),
                    [first, second] => run
                        .variables
                        .extend([(first.clone(), key.clone()), (second.clone(), item.clone())]),
                    _ => {}
                }
                run.all(then, &item)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    /// What is declared in it is out of sight after it.
    fn scoped<T>(&mut self, act: impl FnOnce(&mut Run) -> T) -> T {
        let before = self.variables.len();
        let done = act(self);
        self.variables.truncate(before);
        done
    }

    fn set(&mut self, pipeline: &Pipeline, found: &Found) {
        let Some(name) = pipeline.variables.first() else { return };
        let value: Value = found.clone().into();
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, old)) if !pipeline.declares => *old = value,
            _ => self.variables.push((name.clone(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Outcome<Found> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, dot)?);
        }
        Ok(last.unwrap_or(Found::Nothing))
    }

    fn command(&mut self, command: &[Operand], last: Option<Found>, dot: &Value) -> Outcome<Found> {
        let Some((first, rest)) = command.split_first() else { return Ok(Found::Nothing) };
        if let Operand::Function(name) = first {
            return self.call(name, rest, last, dot);
        }
        let mut arguments = rest.iter().map(|operand| self.operand(operand, dot));
        let mut arguments = arguments.by_ref().collect::<Outcome<Vec<Found>>>()?;
        arguments.extend(last);
        match (first, &arguments[..]) {
            (_, []) => self.operand(first, dot),
            // The one method that rows of docker's lists have.
            (Operand::Field(names), [argument]) if names == &["Label"] => {
                Ok(label(dot, &plain(&argument.clone().into())))
            }
            _ => Err("a value is given arguments: only functions take them".to_owned()),
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Outcome<Found> {
        match operand {
            Operand::Literal(value) => Ok(Found::Value(value.clone())),
            Operand::Dot => Ok(Found::Value(dot.clone())),
            Operand::Field(names) => fields(dot, names, true),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known.ok_or_else(|| format!("undefined variable \"${name}\""))?;
                fields(value, names, name.is_empty())
            }
            Operand::Group(pipeline, names) => {
                let value: Value = self.pipeline(pipeline, dot)?.into();
                fields(&value, names, false)
            }
            Operand::Function(name) => self.call(name, &[], None, dot),
        }
    }

    fn call(
        &mut self,
        name: &str,
        operands: &[Operand],
        last: Option<Found>,
        dot: &Value,
    ) -> Outcome<Found> {
        if matches!(name, "and" | "or") {
            let mut value = Value::Null;
            for operand in operands {
                value = self.operand(operand, dot)?.into();
                if is_true(&value) == (name == "or") {
                    return Ok(Found::Value(value));
                }
            }
            return Ok(Found::Value(last.map_or(value, Value::from)));
        }
        let mut arguments = Vec::new();
        for operand in operands {
            arguments.push(Value::from(self.operand(operand, dot)?));
        }
        arguments.extend(last.map(Value::from));
        function(name, &arguments)
    }
}

/// A value, or the absence of one: the two are printed in different ways.
#[derive(Debug, Clone)]
enum Found {
    Value(Value),
    Nothing,
}

impl From<Found> for Value {
    fn from(found: Found) -> Value {
        match found {
            Found::Value(value) => value,
            Found::Nothing => Value::Null,
        }
    }
}

/// Go's truth: what is not empty.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Follows names. A structure must have the field; a user's own map, which holds nothing but text, need
/// not.
fn fields(value: &Value, names: &[String], is_row: bool) -> Outcome<Found> {
    let mut value = value;
    for (depth, name) in names.iter().enumerate() {
        let Value::Object(map) = value else {
            return Err(match value {
                Value::Null => format!("nil has no field {name}"),
                other => format!("can't evaluate field {name} in {}", plain(other)),
            });
        };
        match map.get(name) {
            Some(next) => value = next,
            None if !(is_row && depth == 0) && map.values().all(Value::is_string) => {
                return Ok(Found::Nothing);
            }
            None => {
                let close = |known: &&String| known.eq_ignore_ascii_case(name);
                let hint = match map.keys().find(close) {
                    Some(known) => format!(", but .{known}"),
                    None => format!("; there are {}", listed(map.keys())),
                };
                return Err(format!("map has no entry for key \"{name}\"{hint}"));
            }
        }
    }
    Ok(Found::Value(value.clone()))
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<String> = names.map(|name| format!(".{name}")).collect();
    names.sort();
    names.join(" ")
}

/// `.Label "name"` of a row, whose labels are one text.
fn label(dot: &Value, name: &str) -> Found {
    let labels = dot.get("Labels").and_then(Value::as_str).unwrap_or_default();
    let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix('='));
    Found::Value(value.unwrap_or_default().into())
}

fn function(name: &str, arguments: &[Value]) -> Outcome<Found> {
    let text = |at: usize| match arguments.get(at) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("{name}: {} is no text", plain(other))),
        None => Err(format!("{name}: an argument is missing")),
    };
    let number = |at: usize| {
        let number = arguments.get(at).and_then(Value::as_u64);
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("{name}: argument {} is no number", at + 1))
    };
    let one = || arguments.first().ok_or_else(|| format!("{name}: an argument is missing"));
    let value: Value = match name {
        "json" => one()?.to_string().into(),
        "print" => arguments.iter().map(plain).collect::<String>().into(),
        "println" => (arguments.iter().map(plain).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => formatted(text(0)?, arguments.get(1..).unwrap_or_default()).into(),
        "lower" => text(0)?.to_lowercase().into(),
        "upper" => text(0)?.to_uppercase().into(),
        "title" => title(text(0)?).into(),
        "split" => match (text(0)?, text(1)?) {
            (whole, "") => whole.chars().map(String::from).collect(),
            (whole, at) => whole.split(at).collect(),
        },
        "join" => match one()? {
            Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(text(1)?).into(),
            other => return Err(format!("join: {} is no list", plain(other))),
        },
        "pad" => match text(0)? {
            "" => "".into(),
            text => format!("{}{text}{}", " ".repeat(number(1)?), " ".repeat(number(2)?)).into(),
        },
        "truncate" => text(0)?.chars().take(number(1)?).collect::<String>().into(),
        "len" => match one()? {
            Value::String(text) => text.len().into(),
            Value::Array(list) => list.len().into(),
            Value::Object(map) => map.len().into(),
            Value::Null => 0.into(),
            other => return Err(format!("len of {}", plain(other))),
        },
        "index" => index(one()?, arguments.get(1..).unwrap_or_default())?,
        "slice" => slice(one()?, arguments.get(1..).unwrap_or_default())?,
        "not" => (!is_true(one()?)).into(),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments)?.into(),
        _ => {
            return Err(format!(
                "function \"{name}\" not defined: there are and, eq, ge, gt, index, join, json, le, len, lower, \
                 lt, ne, not, or, pad, print, printf, println, slice, split, title, truncate, upper"
            ));
        }
    };
    Ok(Found::Value(value))
}

fn title(text: &str) -> String {
    let mut begins = true;
    let each = |c: char| {
        let now = std::mem::replace(&mut begins, !c.is_alphanumeric());
        if now { c.to_uppercase().to_string() } else { c.to_string() }
    };
    text.chars().map(each).collect()
}

/// What is not in a map is empty.
fn index(value: &Value, keys: &[Value]) -> Outcome<Value> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Object(map), Value::String(name)) => {
                let empty = || match map.values().all(Value::is_string) {
                    true => "".into(),
                    false => Value::Null,
                };
                map.get(name).cloned().unwrap_or_else(empty)
            }
            (Value::Array(list), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                let found = at.and_then(|at| list.get(at));
                found.cloned().ok_or_else(|| format!("index out of range: {number}"))?
            }
            (Value::Null, _) => return Err("index of nil".to_owned()),
            (value, key) => {
                return Err(format!("can't index {} with {}", plain(value), plain(key)));
            }
        };
    }
    Ok(value)
}

fn slice(value: &Value, bounds: &[Value]) -> Outcome<Value> {
    let wrong = || "slice: index out of range".to_owned();
    let bound = |at: usize, usual: usize| match bounds.get(at) {
        None => Ok(usual),
        Some(value) => value.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong),
    };
    match value {
        Value::String(text) => {
            let part = text.get(bound(0, 0)?..bound(1, text.len())?);
            part.map(Value::from).ok_or_else(wrong)
        }
        Value::Array(list) => {
            let part = list.get(bound(0, 0)?..bound(1, list.len())?);
            part.map(|part| part.to_vec().into()).ok_or_else(wrong)
        }
        other => Err(format!("can't slice {}", plain(other))),
    }
}

fn compare(name: &str, arguments: &[Value]) -> Outcome<bool> {
    let [first, others @ ..] = arguments else { return Err(format!("{name}: no arguments")) };
    let [second, ..] = others else { return Err(format!("{name}: a second argument is missing")) };
    if name == "eq" {
        return Ok(others.iter().any(|other| first == other));
    }
    if name == "ne" {
        return Ok(first != second);
    }
    let order = match (first, second) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    let order = order.ok_or_else(|| format!("{name}: incompatible types for comparison"))?;
    Ok(match name {
        "lt" => order == Ordering::Less,
        "le" => order != Ordering::Greater,
        "gt" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}
