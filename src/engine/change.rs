//! `corten import --change`: the Dockerfile instructions that set an image's configuration.

use std::collections::HashMap;

use oci_spec::image::Config;

use super::error::{Error, Result};
use super::options::check::signal;
use super::path;

/// Applies one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR,
/// in the forms of a Dockerfile.
///
/// # Errors
/// [`Error::Invalid`] for another instruction, or one without an argument.
pub fn apply(config: &mut Config, instruction: &str) -> Result<()> {
    let bad = |why: &str| Error::invalid(format!("change `{instruction}`"), why);
    let text = instruction.trim();
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    if rest.is_empty() && !name.is_empty() {
        return Err(bad("has no argument"));
    }
    match name.to_ascii_uppercase().as_str() {
        "CMD" => drop(config.set_cmd(Some(command(rest)))),
        "ENTRYPOINT" => drop(config.set_entrypoint(Some(command(rest)))),
        "STOPSIGNAL" => {
            signal(rest)?;
            config.set_stop_signal(Some(rest.to_owned()));
        }
        "USER" => drop(config.set_user(Some(rest.to_owned()))),
        "WORKDIR" => {
            let base = config.working_dir().clone().unwrap_or_default();
            let path = path::lexical(&std::path::Path::new(&base).join(rest));
            config.set_working_dir(Some(path.display().to_string()));
        }
        "ENV" => {
            let mut env = config.env().clone().unwrap_or_default();
            for (name, value) in pairs(rest).map_err(|why| bad(&why))? {
                env.retain(|old| old.split('=').next() != Some(&name));
                env.push(format!("{name}={value}"));
            }
            config.set_env(Some(env));
        }
        "LABEL" => {
            let mut labels: HashMap<_, _> = config.labels().clone().unwrap_or_default();
            labels.extend(pairs(rest).map_err(|why| bad(&why))?);
            config.set_labels(Some(labels));
        }
        "EXPOSE" => {
            let mut ports = config.exposed_ports().clone().unwrap_or_default();
            for word in words(rest).map_err(|why| bad(&why))? {
                let port = port(&word).ok_or_else(|| {
                    bad("has a port that is not NUMBER[/tcp|/udp|/sctp], as in 80/tcp")
                })?;
                ports.retain(|old| *old != port);
                ports.push(port);
            }
            config.set_exposed_ports(Some(ports));
        }
        "VOLUME" => {
            let mut volumes = config.volumes().clone().unwrap_or_default();
            let list = match json(rest) {
                Some(list) => list,
                None => words(rest).map_err(|why| bad(&why))?,
            };
            for volume in list {
                volumes.retain(|old| *old != volume);
                volumes.push(volume);
            }
            config.set_volumes(Some(volumes));
        }
        _ => {
            return Err(bad("is none of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, \
                            VOLUME, WORKDIR"));
        }
    }
    Ok(())
}

/// `["a", "b"]` as it is, anything else through the shell.
fn command(text: &str) -> Vec<String> {
    json(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn json(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn port(text: &str) -> Option<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = matches!(protocol, "tcp" | "udp" | "sctp");
    let number: u16 = number.parse().ok()?;
    (known && number > 0).then(|| format!("{number}/{protocol}"))
}

/// `A=1 B="x y"`, or the older form `A the rest`.
fn pairs(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let words = words(text);
    let is_pair = |word: &str| word.contains('=');
    let modern = match &words {
        Ok(words) => words.first().is_some_and(|word| is_pair(word)),
        Err(_) => text.split(char::is_whitespace).next().is_some_and(is_pair),
    };
    if !modern {
        let (name, value) =
            text.split_once(char::is_whitespace).ok_or("is not NAME=VALUE, as in A=1")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("has `{word}`, which is not NAME=VALUE")),
    };
    words?.into_iter().map(pair).collect()
}

/// Splits at white space outside of quotes; a backslash takes the next character as it is, but
/// not in single quotes.
fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (c, Some(q)) if c == q => quote = None,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(instructions: &[&str]) -> Config {
        let mut config = Config::default();
        for instruction in instructions {
            apply(&mut config, instruction).unwrap();
        }
        config
    }

    fn strings(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|&s| s.to_owned()).collect())
    }

    #[test]
    fn commands_have_a_json_form_and_a_shell_form() {
        let config = changed(&[r#"CMD ["sh", "-l"]"#, "entrypoint  echo  a b"]);
        assert_eq!(config.cmd(), &strings(&["sh", "-l"]));
        assert_eq!(config.entrypoint(), &strings(&["/bin/sh", "-c", "echo  a b"]));
        assert_eq!(changed(&["CMD [ -f x ]"]).cmd(), &strings(&["/bin/sh", "-c", "[ -f x ]"]));
    }

    #[test]
    fn env_and_labels_are_pairs_with_quotes() {
        let config = changed(&[r#"ENV A=1 B="x y" C=a\ b D='\'"#, "ENV A two words", "ENV E="]);
        assert_eq!(config.env(), &strings(&["B=x y", "C=a b", "D=\\", "A=two words", "E="]));
        let config = changed(&["LABEL a.b=c", r#"LABEL "with space"=v"#]);
        let labels = config.labels().as_ref().unwrap();
        assert_eq!((labels["a.b"].as_str(), labels["with space"].as_str()), ("c", "v"));
    }

    #[test]
    fn the_rest_is_set_and_lists_grow() {
        let config = changed(&[
            "USER web:web",
            "STOPSIGNAL SIGQUIT",
            "WORKDIR /srv",
            "WORKDIR app",
            "EXPOSE 80 53/udp",
            "EXPOSE 80/tcp",
            r#"VOLUME ["/data"]"#,
            "VOLUME /a /b",
        ]);
        assert_eq!(config.user().as_deref(), Some("web:web"));
        assert_eq!(config.stop_signal().as_deref(), Some("SIGQUIT"));
        assert_eq!(config.working_dir().as_deref(), Some("/srv/app"));
        assert_eq!(config.exposed_ports(), &strings(&["53/udp", "80/tcp"]));
        assert_eq!(config.volumes(), &strings(&["/data", "/a", "/b"]));
    }

    #[test]
    fn what_is_no_change_says_why() {
        for (instruction, why) in [
            ("RUN ls", "is none of CMD"),
            ("", "is none of CMD"),
            ("CMD", "no argument"),
            ("ENV A", "is not NAME=VALUE"),
            ("ENV A=1 B", "`B`, which is not NAME=VALUE"),
            ("ENV A=\"x", "quote that is not closed"),
            ("ENV A=x\\", "ends in a backslash"),
            ("STOPSIGNAL SIGNONE", "SIGNONE"),
            ("EXPOSE http", "a port that is not"),
            ("EXPOSE 80/ipx", "a port that is not"),
            ("EXPOSE 0", "a port that is not"),
        ] {
            let error = apply(&mut Config::default(), instruction).unwrap_err().to_string();
            assert!(error.contains(why), "{instruction}: {error}");
        }
    }
}
