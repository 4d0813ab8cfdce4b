//! Flags of an instruction: `--name=value` before its arguments.

/// Splits the flags off `text`: the flags, without quotes and escapes, and the rest.
pub fn split(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let (word, length) = word(rest);
        rest = rest.get(length..).unwrap_or_default();
        if word == "--" {
            return (flags, rest);
        }
        flags.push(word);
    }
}

/// The first word, and how many bytes it took.
fn word(text: &str) -> (String, usize) {
    let (mut word, mut quote) = (String::new(), None);
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, at),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('\\', _) => word.extend(characters.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

/// What an instruction's flags may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One value.
    Text,
    /// `true`, `false`, or nothing for `true`.
    Bool,
    /// As many values as it is there.
    List,
}

/// Flags that were read.
#[derive(Debug, Default)]
pub struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Reads `given` by what is `known`.
    ///
    /// # Errors
    /// A sentence in Docker's words.
    pub fn read(given: &[String], known: &[(&'static str, Takes)]) -> Result<Flags, String> {
        let mut flags = Flags::default();
        for flag in given {
            let text = flag.strip_prefix("--").unwrap_or(flag);
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            };
            let Some(&(name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let list: Vec<String> =
                    known.iter().map(|(known, _)| format!("--{known}")).collect();
                let hint = match list.is_empty() {
                    true => "this instruction has no flags".to_owned(),
                    false => format!("known here: {}", list.join(", ")),
                };
                return Err(format!("unknown flag: --{name} ({hint})"));
            };
            if takes != Takes::List && flags.text(name).is_some() {
                return Err(format!("duplicate flag specified: {name}"));
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true",
                (Takes::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                    "true" => "true",
                    "false" => "false",
                    _ => {
                        return Err(format!(
                            "expecting boolean value for flag {name}, not: {value}"
                        ));
                    }
                },
                (_, None) => return Err(format!("missing a value on flag: {name}")),
                (_, Some(value)) => value,
            };
            flags.0.push((name, value.to_owned()));
        }
        Ok(flags)
    }

    /// The value of a flag.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    /// Whether a flag is there and not `false`.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value == "true")
    }

    /// All values of a flag.
    pub fn list(&self, name: &str) -> Vec<String> {
        let these = self.0.iter().filter(|(known, _)| *known == name);
        these.map(|(_, value)| value.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_where_the_arguments_begin() {
        let (flags, rest) = split("--a=1 --b=\"x y\"  src --c=2");
        assert_eq!((flags, rest), (vec!["--a=1".to_owned(), "--b=x y".into()], "src --c=2"));
        assert_eq!(split("-- --a=1").1, " --a=1");
        assert_eq!(split("--a=\\\"q").0, ["--a=\"q"]);
        assert_eq!(split("-x").0, [""; 0]);
    }

    #[test]
    fn what_is_no_flag_is_said() {
        let known = [("from", Takes::Text), ("link", Takes::Bool), ("exclude", Takes::List)];
        let why = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|&flag| flag.to_owned()).collect();
            Flags::read(&given, &known).unwrap_err()
        };
        assert!(why(&["--form=x"]).starts_with("unknown flag: --form (known here: --from, "));
        assert_eq!(why(&["--from=a", "--from=b"]), "duplicate flag specified: from");
        assert_eq!(why(&["--from"]), "missing a value on flag: from");
        assert_eq!(why(&["--link=x"]), "expecting boolean value for flag link, not: x");
        let given = ["--exclude=a".to_owned(), "--exclude=b".to_owned(), "--link".to_owned()];
        let flags = Flags::read(&given, &known).unwrap();
        assert_eq!(flags.list("exclude"), ["a", "b"]);
        assert!(flags.is_on("link") && flags.text("from").is_none());
    }
}
