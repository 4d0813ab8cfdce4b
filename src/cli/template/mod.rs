//! Templates of `--format`: the part of Go's text/template that `docker --format` gives to users.
//!
//! A template is read to [`Node`]s ([`parse`](mod@parse)), which are carried out over a JSON value ([`eval`]).
//! Values are printed as Go's `%v` does ([`print`](mod@print)). There are actions, pipelines, variables, `if`,
//! `range`, `with`, `break`, `continue`, comments and trimming; `define`, `block` and `template` are refused:
//! one line of a list needs no second template. gtmpl (0.7.1), the library that there is, prints maps and lists in
//! Rust's form, and all that it has where a field is missing.
//!
//! Source: <https://pkg.go.dev/text/template>; docker/cli, `templates/templates.go`.

mod eval;
mod parse;
mod print;

use serde_json::Value;

use crate::cli::{Error, Result};

/// A template that was read.
#[derive(Debug, Clone)]
pub(super) struct Template {
    text: String,
    nodes: Vec<Node>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    /// `{{pipeline}}`: printed, unless it sets a variable.
    Action(Pipeline),
    /// `{{if}}`, with what follows `{{else}}`.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{with}}`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `{{range}}`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// `$a, $b := command | command`.
#[derive(Debug, Clone, PartialEq)]
struct Pipeline {
    variables: Vec<String>,
    /// `:=`, and not `=`.
    declares: bool,
    /// Each but the first has what comes before as its last argument.
    commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Literal(Value),
    /// `.`.
    Dot,
    /// `.a.b`.
    Field(Vec<String>),
    /// `$a.b`.
    Variable(String, Vec<String>),
    /// `(pipeline).a.b`.
    Group(Box<Pipeline>, Vec<String>),
    Function(String),
}

impl Template {
    /// Reads a template; `\t` and `\n` in it are what they mean, as with docker.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Template> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match parse::parse(&text) {
            Ok(nodes) => Ok(Template { text, nodes }),
            Err(why) => Err(Error::invalid(format!("--format `{text}`"), why)),
        }
    }

    /// What it makes of a value.
    ///
    /// # Errors
    /// Where the value has no such field, or an argument is of the wrong kind.
    pub(super) fn render(&self, value: &Value) -> Result<String> {
        eval::render(&self.nodes, value)
            .map_err(|why| Error::invalid(format!("--format `{}`", self.text), why))
    }

    /// Whether a field is asked for.
    pub(super) fn mentions(&self, field: &str) -> bool {
        self.text.contains(&format!(".{field}"))
    }
}

#[cfg(test)]
mod tests;
