//! From logical lines to typed instructions.

use std::collections::BTreeSet;

use super::flags::{self, Flags, Takes};
use super::words::{self, json, pairs, plain_words};
use super::{
    CommandLine, Copy, Dockerfile, Health, Instruction, Kind, Line, MountSpec, Run, Span, Stage,
    heredoc, lines,
};
use crate::error::Error;

/// The instructions, for the hint at one that there is not.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile; `name` is what the user calls it.
///
/// # Errors
/// [`Error::Syntax`] with the place.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, Error> {
    let lines::Lines { source, directives, lines, warnings } = lines::read(name, text)?;
    let escape = directives.escape;
    let mut file = Dockerfile {
        name: name.to_owned(),
        source,
        directives,
        arguments: Vec::new(),
        stages: Vec::new(),
        contexts: BTreeSet::new(),
        warnings,
    };
    for line in lines {
        match read(&line, escape).map_err(|wrong| wrong.into_error(&file, &line))? {
            Read::From(stage) => file.stages.push(stage),
            Read::Other(instruction) => match (file.stages.last_mut(), &instruction.kind) {
                (Some(stage), _) => stage.instructions.push(instruction),
                (None, Kind::Arg(_)) => file.arguments.push(instruction),
                (None, _) => {
                    let message = "no build stage in current context: begin with FROM";
                    return Err(file.error(instruction.at, message));
                }
            },
        }
    }
    if file.stages.is_empty() {
        let line = file.source.len().max(1);
        let message = match file.arguments.is_empty() {
            true => "file with no instructions: begin with FROM",
            false => "no build stage in current context: begin with FROM",
        };
        return Err(file.error(Span { line, column: 1, end: line }, message));
    }
    Ok(file)
}

/// Reads one instruction that is no stage's beginning: a trigger of an image.
///
/// # Errors
/// What is wrong with it.
pub fn instruction_of(text: &str) -> Result<Instruction, String> {
    let mut lines = lines::read("ONBUILD", text).map_err(|error| error.classic())?.lines;
    let line = match lines.pop() {
        Some(line) if lines.is_empty() => line,
        _ => return Err(format!("is not one instruction: {text}")),
    };
    match read(&line, '\\') {
        Ok(Read::Other(instruction)) => Ok(instruction),
        Ok(Read::From(_)) => Err("FROM isn't allowed as an ONBUILD trigger".to_owned()),
        Err(wrong) => Err(wrong.message),
    }
}

enum Read {
    From(Stage),
    Other(Instruction),
}

/// What is wrong, and at which byte of the line.
struct Wrong {
    message: String,
    offset: Option<usize>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Wrong {
        Wrong { message, offset: None }
    }
}

impl From<&str> for Wrong {
    fn from(message: &str) -> Wrong {
        message.to_owned().into()
    }
}

impl Wrong {
    fn into_error(self, file: &Dockerfile, line: &Line) -> Error {
        let at = self.offset.map_or(line.at, |offset| line.position(offset));
        file.error(at, self.message)
    }
}

/// The parts of an instruction.
struct Parts<'a> {
    name: String,
    flags: Vec<String>,
    rest: &'a str,
    line: &'a Line,
    escape: char,
}

impl Parts<'_> {
    fn flags(&self, known: &[(&'static str, Takes)]) -> Result<Flags, Wrong> {
        Flags::read(&self.flags, known).map_err(|message| {
            let wrong = |flag: &&String| {
                let name = flag.split('=').next().unwrap_or_default();
                message.contains(name) || message.contains(name.trim_start_matches('-'))
            };
            let flag = self.flags.iter().rev().find(wrong);
            let name = flag.and_then(|flag| flag.split('=').next());
            Wrong { offset: name.and_then(|name| self.line.text.rfind(name)), message }
        })
    }

    fn none(&self) -> Result<(), Wrong> {
        self.flags(&[]).map(drop)
    }

    /// The one argument of an instruction that is text.
    fn text(&self) -> Result<String, Wrong> {
        self.none()?;
        match self.rest {
            "" => Err(format!("{} requires exactly one argument", self.name).into()),
            text => Ok(text.to_owned()),
        }
    }

    /// Words, or the strings of a JSON array.
    fn list(&self) -> Result<Vec<String>, Wrong> {
        Ok(json(self.rest)?.unwrap_or_else(|| plain_words(self.rest)))
    }

    fn command(&self) -> Result<CommandLine, Wrong> {
        let heredocs = self.line.heredocs.clone();
        Ok(match json(self.rest)? {
            Some(words) => CommandLine { words, exec: true, heredocs },
            None if self.rest.is_empty() => CommandLine { heredocs, ..CommandLine::default() },
            None => CommandLine { words: vec![self.rest.to_owned()], exec: false, heredocs },
        })
    }
}

fn read(line: &Line, escape: char) -> Result<Read, Wrong> {
    let trimmed = line.text.trim();
    let (name, rest) = trimmed.split_once(words::is_blank).unwrap_or((trimmed, ""));
    let upper = name.to_ascii_uppercase();
    if !NAMES.contains(&upper.as_str()) {
        let near = NAMES.iter().map(|known| (distance(known, &upper), known)).min();
        let hint = match near {
            Some((distance, known)) if distance <= 2 => format!(" (did you mean {known}?)"),
            _ => String::new(),
        };
        return Err(format!("unknown instruction: {name}{hint}").into());
    }
    let (flags, rest) = flags::split(rest.trim());
    let parts = Parts { name: upper, flags, rest: rest.trim(), line, escape };
    if parts.name == "FROM" {
        return from(&parts).map(Read::From);
    }
    let kind = kind(&parts)?;
    Ok(Read::Other(Instruction { at: line.at, text: trimmed.to_owned(), kind }))
}

fn kind(parts: &Parts<'_>) -> Result<Kind, Wrong> {
    Ok(match parts.name.as_str() {
        "ADD" => Kind::Add(copy(parts)?),
        "COPY" => Kind::Copy(copy(parts)?),
        "ARG" => Kind::Arg(arguments(parts)?),
        "CMD" => {
            parts.none()?;
            Kind::Cmd(parts.command()?)
        }
        "ENTRYPOINT" => {
            parts.none()?;
            Kind::Entrypoint(parts.command()?)
        }
        "ENV" => {
            parts.none()?;
            Kind::Env(pairs(parts.rest, "ENV", parts.escape)?)
        }
        "LABEL" => {
            parts.none()?;
            Kind::Label(pairs(parts.rest, "LABEL", parts.escape)?)
        }
        "EXPOSE" => {
            parts.none()?;
            let ports = plain_words(parts.rest);
            if ports.is_empty() {
                return Err("EXPOSE requires at least one argument".into());
            }
            Kind::Expose(ports)
        }
        "HEALTHCHECK" => Kind::Healthcheck(healthcheck(parts)?),
        "MAINTAINER" => Kind::Maintainer(parts.text()?),
        "ONBUILD" => Kind::Onbuild(onbuild(parts)?),
        "RUN" => Kind::Run(run(parts)?),
        "SHELL" => {
            parts.none()?;
            match json(parts.rest)? {
                Some(shell) if !shell.is_empty() => Kind::Shell(shell),
                Some(_) => return Err("SHELL requires at least one argument".into()),
                None => {
                    return Err("SHELL requires the arguments to be in JSON form, as in SHELL \
                                [\"/bin/bash\", \"-c\"]"
                        .into());
                }
            }
        }
        "STOPSIGNAL" => Kind::StopSignal(parts.text()?),
        "USER" => Kind::User(parts.text()?),
        "VOLUME" => Kind::Volume(volumes(parts)?),
        _ => Kind::Workdir(parts.text()?),
    })
}

fn from(parts: &Parts<'_>) -> Result<Stage, Wrong> {
    let flags = parts.flags(&[("platform", Takes::Text)])?;
    let words = plain_words(parts.rest);
    let name = match words.as_slice() {
        [_] => None,
        [_, word, name] if word.eq_ignore_ascii_case("as") => {
            let lower = name.to_ascii_lowercase();
            let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
            let first = lower.starts_with(|c: char| c.is_ascii_lowercase());
            if !first || !lower.chars().all(rest) {
                return Err(Wrong {
                    message: format!(
                        "invalid name for build stage: {name:?}, name can't start with a number \
                         or contain symbols"
                    ),
                    offset: parts.line.text.rfind(name.as_str()),
                });
            }
            Some(lower)
        }
        _ => return Err("FROM requires either one or three arguments".into()),
    };
    Ok(Stage {
        name,
        base: words.into_iter().next().unwrap_or_default(),
        platform: flags.text("platform"),
        at: parts.line.at,
        text: parts.line.text.trim().to_owned(),
        instructions: Vec::new(),
    })
}

fn copy(parts: &Parts<'_>) -> Result<Copy, Wrong> {
    let is_add = parts.name == "ADD";
    let mut known = vec![
        ("chown", Takes::Text),
        ("chmod", Takes::Text),
        ("link", Takes::Bool),
        ("exclude", Takes::List),
    ];
    match is_add {
        true => known.extend([
            ("checksum", Takes::Text),
            ("keep-git-dir", Takes::Bool),
            ("unpack", Takes::Bool),
        ]),
        false => known.extend([("from", Takes::Text), ("parents", Takes::Bool)]),
    }
    let mut words = parts.list()?;
    if words.len() < 2 {
        return Err(format!(
            "{} requires at least two arguments, but only one was provided. Destination could not \
             be determined",
            parts.name
        )
        .into());
    }
    let flags = parts.flags(&known)?;
    let destination = words.pop().unwrap_or_default();
    if heredoc::parse(&destination).is_some() {
        return Err(format!("{} cannot accept a heredoc as a destination", parts.name).into());
    }
    let (mut sources, mut contents) = (Vec::new(), Vec::new());
    for word in words {
        let announced = heredoc::parse(&word);
        let known = announced.and_then(|announced| {
            parts.line.heredocs.iter().find(|heredoc| heredoc.name == announced.name)
        });
        match known {
            Some(heredoc) => contents.push(heredoc.clone()),
            None => sources.push(word),
        }
    }
    Ok(Copy {
        sources,
        contents,
        destination,
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.is_on("link"),
        parents: flags.is_on("parents"),
        exclude: flags.list("exclude"),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.is_on("keep-git-dir"),
        unpack: flags.text("unpack").map(|value| value == "true"),
    })
}

fn arguments(parts: &Parts<'_>) -> Result<Vec<(String, Option<String>)>, Wrong> {
    parts.none()?;
    let words = words::words(parts.rest, parts.escape);
    if words.is_empty() {
        return Err("ARG requires at least one argument".into());
    }
    let argument = |word: String| match word.split_once('=') {
        Some(("", _)) => Err("ARG names can not be blank".into()),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((word, None)),
    };
    words.into_iter().map(argument).collect()
}

fn onbuild(parts: &Parts<'_>) -> Result<String, Wrong> {
    parts.none()?;
    if parts.rest.is_empty() {
        return Err("ONBUILD requires at least one argument".into());
    }
    let mut text = parts.rest.to_owned();
    let name = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        "MAINTAINER" | "FROM" => {
            return Err(format!("{name} isn't allowed as an ONBUILD trigger").into());
        }
        _ => {}
    }
    let mut line = Line::alone(&text);
    line.heredocs.clone_from(&parts.line.heredocs);
    read(&line, parts.escape).map_err(|wrong| Wrong { offset: None, ..wrong })?;
    for heredoc in &parts.line.heredocs {
        text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    Ok(text)
}

fn run(parts: &Parts<'_>) -> Result<Run, Wrong> {
    let flags = parts.flags(&[
        ("mount", Takes::List),
        ("network", Takes::Text),
        ("security", Takes::Text),
        ("device", Takes::List),
    ])?;
    let command = parts.command()?;
    if command.words.is_empty() {
        return Err("RUN requires at least one argument".into());
    }
    for (flag, known) in
        [("network", &["default", "none", "host"][..]), ("security", &["sandbox", "insecure"])]
    {
        if let Some(value) = flags.text(flag)
            && !known.contains(&value.as_str())
        {
            let message =
                format!("unsupported value for {flag}: {value:?}: write {}", known.join(" or "));
            return Err(Wrong { offset: parts.line.text.find(&value), message });
        }
    }
    if !flags.list("device").is_empty() {
        return Err("RUN --device needs CDI devices, which Corten does not have".into());
    }
    let mounts = flags.list("mount");
    for mount in mounts.iter().filter(|mount| !mount.contains('$')) {
        MountSpec::parse(mount)
            .map_err(|message| Wrong { offset: parts.line.text.find("--mount"), message })?;
    }
    let (network, security) = (flags.text("network"), flags.text("security"));
    Ok(Run { command, mounts, network, security })
}

fn volumes(parts: &Parts<'_>) -> Result<Vec<String>, Wrong> {
    parts.none()?;
    let volumes = parts.list()?;
    if volumes.is_empty() {
        return Err("VOLUME requires at least one argument".into());
    }
    let volumes: Vec<String> = volumes.iter().map(|volume| volume.trim().to_owned()).collect();
    if volumes.iter().any(String::is_empty) {
        return Err("VOLUME specified can not be an empty string".into());
    }
    Ok(volumes)
}

/// The shortest time that a health check may name, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

fn healthcheck(parts: &Parts<'_>) -> Result<Health, Wrong> {
    let (name, rest) = parts.rest.split_once(char::is_whitespace).unwrap_or((parts.rest, ""));
    let rest = rest.trim();
    let upper = name.to_ascii_uppercase();
    if upper == "NONE" {
        parts.none()?;
        if !rest.is_empty() {
            return Err("HEALTHCHECK NONE takes no arguments".into());
        }
        return Ok(Health { test: vec![upper], ..Health::default() });
    }
    let times = ["interval", "timeout", "start-period", "start-interval"];
    let mut known: Vec<_> = times.iter().map(|&name| (name, Takes::Text)).collect();
    known.push(("retries", Takes::Text));
    let flags = parts.flags(&known)?;
    let test = match (upper.as_str(), json(rest)?) {
        ("", _) => return Err("HEALTHCHECK requires at least one argument".into()),
        ("CMD", None) if rest.is_empty() => {
            return Err("Missing command after HEALTHCHECK CMD".into());
        }
        ("CMD", Some(words)) if words.is_empty() => {
            return Err("Missing command after HEALTHCHECK CMD".into());
        }
        ("CMD", Some(words)) => [vec![upper], words].concat(),
        ("CMD", None) => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        _ => return Err(format!("Unknown type {upper:?} in HEALTHCHECK (try CMD)").into()),
    };
    let time = |name: &str| -> Result<i64, Wrong> {
        let Some(text) = flags.text(name) else { return Ok(0) };
        match words::duration(&text)? {
            0 => Ok(0),
            short if short < SHORTEST => {
                Err(format!("Interval {name:?} cannot be less than 1ms").into())
            }
            long => Ok(long),
        }
    };
    let retries = match flags.text("retries") {
        None => 0,
        Some(text) => {
            let number: i32 = text
                .parse()
                .map_err(|_| format!("--retries: {text:?} is no number: write it as 3"))?;
            if number < 0 {
                return Err(format!("--retries cannot be negative ({number})").into());
            }
            number.into()
        }
    };
    Ok(Health {
        test,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    })
}

/// How many letters must be changed, added or taken to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.iter().enumerate() {
            let (above, left) = (row[j + 1], row[j]);
            let change = before + usize::from(x != *y);
            before = above;
            row[j + 1] = change.min(above + 1).min(left + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
