//! From text to nodes.

use serde_json::{Number, Value};

use super::{Node, Operand, Pipeline};
use std::iter::Peekable;
use std::vec::IntoIter;

type Outcome<T> = Result<T, String>;

/// Reads a template.
pub(super) fn parse(text: &str) -> Outcome<Vec<Node>> {
    let mut reader = Reader { pieces: pieces(text)?.into_iter().peekable() };
    let (nodes, end) = reader.list(false)?;
    match end {
        Last::Text => Ok(nodes),
        Last::Else(_) => Err("there is an {{else}} without {{if}}".to_owned()),
        Last::End => Err("there is an {{end}} without {{if}}, {{range}} or {{with}}".to_owned()),
    }
}

/// Text, or what is between `{{` and `}}`.
#[derive(Debug)]
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// How a list of nodes ends.
enum Last {
    Text,
    /// With what follows the word: `if …`.
    Else(Vec<Token>),
    End,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name: of a function, or a word such as `if`.
    Word(String),
    /// `.`, `.a`, `.a.b`; after `)` without a blank it belongs to that.
    Fields {
        names: Vec<String>,
        joined: bool,
    },
    Variable(String, Vec<String>),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
    Assign,
}

fn pieces(text: &str) -> Outcome<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trims = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let before = if trims { before.trim_start() } else { before };
        let (left, after) = match after.strip_prefix("- ") {
            Some(inner) => (before.trim_end(), inner),
            None => (before, after),
        };
        pieces.push(Piece::Text(left.to_owned()));
        let (tokens, length) = tokens(after)?;
        let end = after.get(length..).unwrap_or_default();
        trims = end.starts_with('-');
        rest = end.trim_start_matches('-').strip_prefix("}}").unwrap_or_default();
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action(tokens));
        }
    }
    pieces.push(Piece::Text(if trims { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// The tokens up to `}}` or ` -}}`, and how many bytes they take; none for a comment.
fn tokens(text: &str) -> Outcome<(Option<Vec<Token>>, usize)> {
    if let Some(comment) = text.trim_start().strip_prefix("/*") {
        let end = comment.find("*/").ok_or("a comment is not closed")?;
        let inside = text.len() - comment.len() + end + 2;
        let close = text.get(inside..).and_then(|rest| rest.find("}}"));
        let close = inside + close.ok_or("a comment is not closed by }}")?;
        let trims = text.get(..close).is_some_and(|text| text.ends_with(" -"));
        return Ok((None, close - usize::from(trims)));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with("}}") {
            return Ok((Some(tokens), at));
        }
        let blanks = rest.len() - rest.trim_start().len();
        let body = rest.trim_start();
        if blanks > 0 && body.starts_with("-}}") {
            return Ok((Some(tokens), at + blanks));
        }
        if blanks > 0 {
            at += blanks;
            continue;
        }
        let Some(first) = body.chars().next() else {
            return Err("an action is not closed by }}".to_owned());
        };
        let (token, length) = token(first, body, tokens.last())?;
        tokens.push(token);
        at += length;
    }
}

fn token(first: char, text: &str, before: Option<&Token>) -> Outcome<(Token, usize)> {
    let simple = match first {
        '(' => Some(Token::Open),
        ')' => Some(Token::Close),
        '|' => Some(Token::Pipe),
        ',' => Some(Token::Comma),
        '=' => Some(Token::Assign),
        _ => None,
    };
    if let Some(token) = simple {
        return Ok((token, 1));
    }
    match first {
        ':' if text.starts_with(":=") => Ok((Token::Declare, 2)),
        '"' => quoted(text),
        '`' => {
            let end = text.get(1..).and_then(|rest| rest.find('`'));
            let end = end.ok_or("a raw string is not closed")?;
            let inside = text.get(1..=end).unwrap_or_default();
            Ok((Token::Literal(inside.into()), end + 2))
        }
        '.' => {
            let length = length_of(text, |c| is_name(c) || c == '.');
            let names = names(text.get(1..length).unwrap_or_default())?;
            let joined = before == Some(&Token::Close);
            Ok((Token::Fields { names, joined }, length))
        }
        '$' => {
            let length =
                1 + length_of(text.get(1..).unwrap_or_default(), |c| is_name(c) || c == '.');
            let mut all = text.get(1..length).unwrap_or_default().splitn(2, '.');
            let name = all.next().unwrap_or_default().to_owned();
            let fields = all.next().map_or(Ok(Vec::new()), names)?;
            Ok((Token::Variable(name, fields), length))
        }
        '0'..='9' | '-' | '+' => {
            let length = length_of(text, |c| is_name(c) || "+-.".contains(c));
            let word = text.get(..length).unwrap_or_default();
            Ok((Token::Literal(number(word)?), length))
        }
        c if is_name(c) => {
            let length = length_of(text, is_name);
            let word = text.get(..length).unwrap_or_default();
            Ok((
                match word {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    _ => Token::Word(word.to_owned()),
                },
                length,
            ))
        }
        c => Err(format!("unexpected {c:?} in an action")),
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn names(text: &str) -> Outcome<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = text.split('.').map(str::to_owned).collect();
    match names.iter().any(String::is_empty) {
        true => Err(format!("a name is missing in .{text}")),
        false => Ok(names),
    }
}

fn number(word: &str) -> Outcome<Value> {
    if let Ok(number) = word.parse::<i64>() {
        return Ok(number.into());
    }
    let float = word.parse::<f64>().ok().and_then(Number::from_f64);
    float.map(Value::Number).ok_or_else(|| format!("{word} is no number"))
}

fn quoted(text: &str) -> Outcome<(Token, usize)> {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Token::Literal(out.into()), at + 1)),
            '\\' => out.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, 'r')) => '\r',
                Some((_, c @ ('"' | '\\' | '\''))) => c,
                _ => return Err("a string has an escape that is not known".to_owned()),
            }),
            c => out.push(c),
        }
    }
    Err("a string is not closed".to_owned())
}

struct Reader {
    pieces: Peekable<IntoIter<Piece>>,
}

impl Reader {
    /// Nodes up to the end of the text, `{{else}}` or `{{end}}`.
    fn list(&mut self, loops: bool) -> Outcome<(Vec<Node>, Last)> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) if text.is_empty() => continue,
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            let rest = || tokens.iter().skip(1).cloned().collect::<Vec<_>>();
            nodes.push(match word.as_str() {
                "end" => return Ok((nodes, Last::End)),
                "else" => return Ok((nodes, Last::Else(rest()))),
                "if" => self.block(rest(), loops, Node::If)?,
                "with" => self.block(rest(), loops, Node::With)?,
                "range" => self.block(rest(), true, Node::Range)?,
                "break" if loops => Node::Break,
                "continue" if loops => Node::Continue,
                "define" | "block" | "template" => {
                    return Err(format!("{{{{{word}}}}} is not supported: write it out"));
                }
                _ => Node::Action(pipeline(tokens)?),
            });
        }
        Ok((nodes, Last::Text))
    }

    fn block(
        &mut self,
        head: Vec<Token>,
        loops: bool,
        make: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node,
    ) -> Outcome<Node> {
        let head = pipeline(head)?;
        let (then, end) = self.list(loops)?;
        let otherwise = match end {
            Last::End => Vec::new(),
            Last::Text => return Err("an {{end}} is missing".to_owned()),
            Last::Else(words) => match words.first() {
                None => match self.list(loops)? {
                    (nodes, Last::End) => nodes,
                    _ => return Err("an {{end}} is missing after {{else}}".to_owned()),
                },
                // One {{end}} ends both.
                Some(Token::Word(word)) if word == "if" => {
                    vec![self.block(words.into_iter().skip(1).collect(), loops, Node::If)?]
                }
                Some(_) => return Err("only `if` may follow {{else".to_owned()),
            },
        };
        Ok(make(head, then, otherwise))
    }
}

fn pipeline(tokens: Vec<Token>) -> Outcome<Pipeline> {
    let mut tokens = tokens.into_iter().peekable();
    let made = piped(&mut tokens)?;
    match tokens.next() {
        None => Ok(made),
        Some(_) => Err("there is a ) without (".to_owned()),
    }
}

type Tokens = Peekable<IntoIter<Token>>;

/// Up to a `)`, or the end.
fn piped(tokens: &mut Tokens) -> Outcome<Pipeline> {
    let (variables, declares) = variables(tokens)?;
    let mut commands = vec![Vec::new()];
    while let Some(token) = tokens.next_if(|token| *token != Token::Close) {
        let operand = match token {
            Token::Pipe => {
                commands.push(Vec::new());
                continue;
            }
            Token::Open => group(tokens)?,
            Token::Fields { joined: true, .. } => {
                return Err("a field follows a value that has none".to_owned());
            }
            Token::Fields { names, .. } if names.is_empty() => Operand::Dot,
            Token::Fields { names, .. } => Operand::Field(names),
            Token::Variable(name, fields) => Operand::Variable(name, fields),
            Token::Literal(value) => Operand::Literal(value),
            Token::Word(name) => Operand::Function(name),
            Token::Comma | Token::Declare | Token::Assign | Token::Close => {
                return Err("unexpected `,`, `:=` or `=` in an action".to_owned());
            }
        };
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err("a command is missing".to_owned());
    }
    Ok(Pipeline { variables, declares, commands })
}

fn group(tokens: &mut Tokens) -> Outcome<Operand> {
    let inner = piped(tokens)?;
    if tokens.next() != Some(Token::Close) {
        return Err("a ( is not closed".to_owned());
    }
    let fields = match tokens.next_if(|token| matches!(token, Token::Fields { joined: true, .. })) {
        Some(Token::Fields { names, .. }) => names,
        _ => Vec::new(),
    };
    Ok(Operand::Group(Box::new(inner), fields))
}

/// `$a :=`, `$a, $b :=`, `$a =`.
fn variables(tokens: &mut Tokens) -> Outcome<(Vec<String>, bool)> {
    let ahead: Vec<Token> = tokens.clone().take(4).collect();
    let name = |at: usize| match ahead.get(at) {
        Some(Token::Variable(name, fields)) if fields.is_empty() => Some(name.clone()),
        _ => None,
    };
    let (names, next) = match (name(0), ahead.get(1), name(2)) {
        (Some(first), Some(Token::Comma), Some(second)) => (vec![first, second], 3),
        (Some(first), _, _) => (vec![first], 1),
        _ => return Ok((Vec::new(), false)),
    };
    let declares = match ahead.get(next) {
        Some(Token::Declare) => true,
        Some(Token::Assign) => false,
        _ if next == 1 => return Ok((Vec::new(), false)),
        _ => return Err("a `:=` is missing".to_owned()),
    };
    tokens.by_ref().take(next + 1).for_each(drop);
    Ok((names, declares))
}
