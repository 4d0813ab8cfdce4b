//! What an instruction changes in an image's configuration, and nothing else: in a build, and in
//! `commit --change` and `import --change`.

use std::collections::BTreeMap;

use crate::config::{self, Config};
use crate::dockerfile::{self, Kind, Pair, instruction_of};
use crate::error::{Error, Result};
use crate::execute::describe;
use crate::expand::{Expanded, Rules, Variables, expand};

/// Arguments that were declared, with their values.
pub type Arguments = BTreeMap<String, Option<String>>;

/// The instructions that Docker takes for that.
const TAKEN: [&str; 11] = [
    "cmd",
    "entrypoint",
    "env",
    "expose",
    "healthcheck",
    "label",
    "onbuild",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];

/// A configuration that is being changed.
#[derive(Debug)]
pub struct Change<'a> {
    /// The configuration.
    pub config: &'a mut Config,
    /// Whether `CMD` was set by an instruction: then `ENTRYPOINT` leaves it.
    pub command_is_set: &'a mut bool,
    /// What variables mean, where the environment does not say.
    pub arguments: &'a Arguments,
    /// The escape character.
    pub escape: char,
}

/// The variables that an instruction sees: the environment goes before arguments.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a>(pub &'a Config, pub &'a Arguments);

impl Variables for Scope<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let environment = self.0.env(name).map(str::to_owned);
        environment.or_else(|| self.1.get(name).cloned().flatten())
    }
}

impl Change<'_> {
    // ANCHOR: make
    /// Changes the configuration; gives what the history says, or nothing for an instruction that
    /// does more than that.
    ///
    /// # Errors
    /// In Docker's words, what is wrong with the instruction.
    pub fn make(&mut self, kind: &Kind) -> Result<Option<String>> {
        let text = match kind {
            Kind::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                pairs.iter().for_each(|(name, value)| self.config.set_env(name, value));
                describe::pairs("ENV", &pairs)
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                self.config.labels.extend(pairs.iter().cloned());
                describe::pairs("LABEL", &pairs)
            }
            Kind::Cmd(command) => {
                let words = self.config.words(command);
                let text = format!("CMD {}", describe::quoted(&words));
                self.config.cmd = Some(words);
                *self.command_is_set = true;
                text
            }
            Kind::Entrypoint(command) => {
                let words = self.config.words(command);
                let text = format!("ENTRYPOINT {}", describe::quoted(&words));
                self.config.entrypoint = (!words.is_empty()).then_some(words);
                if !*self.command_is_set {
                    // They were arguments of another program.
                    self.config.cmd = None;
                }
                text
            }
            Kind::Expose(words) => self.expose(words)?,
            Kind::Healthcheck(health) => {
                self.config.set_health(health);
                describe::health(health)
            }
            Kind::Onbuild(text) => {
                self.config.on_build.push(text.clone());
                format!("ONBUILD {text}")
            }
            Kind::Shell(shell) => {
                self.config.shell.clone_from(shell);
                format!("SHELL [{}]", shell.join(" "))
            }
            Kind::StopSignal(word) => {
                let signal = self.word(word)?;
                if !config::is_signal(&signal) {
                    return Err(Error::refused(format!("Invalid signal: {signal}")));
                }
                self.config.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Kind::User(word) => {
                let user = self.word(word)?;
                self.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Kind::Volume(words) => {
                let volumes: Vec<String> =
                    words.iter().map(|word| self.word(word)).collect::<Result<_>>()?;
                let set = volumes.iter().map(|volume| (volume.clone(), serde_json::json!({})));
                self.config.volumes.extend(set);
                format!("VOLUME [{}]", volumes.join(" "))
            }
            Kind::Workdir(word) => {
                let path = self.word(word)?;
                if path.is_empty() {
                    return Err(Error::refused("cannot normalize nothing"));
                }
                self.config.working_dir = self.config.directory(&path);
                format!("WORKDIR {}", self.config.working_dir)
            }
            Kind::Add(_) | Kind::Arg(_) | Kind::Copy(_) | Kind::Maintainer(_) | Kind::Run(_) => {
                return Ok(None);
            }
        };
        Ok(Some(text))
    }
    // ANCHOR_END: make

    fn expose(&mut self, words: &[String]) -> Result<String> {
        // Docker sorts them before their variables are expanded.
        let mut words = words.to_vec();
        words.sort();
        let mut given = Vec::new();
        for word in &words {
            given.extend(self.expand(word)?.words);
        }
        for word in &given {
            let ports = config::ports(word).map_err(Error::refused)?;
            let ports = ports.into_iter().map(|port| (port, serde_json::json!({})));
            self.config.exposed_ports.extend(ports);
        }
        Ok(format!("EXPOSE {}", given.join(" ")))
    }

    /// A word with its variables expanded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn expand(&self, word: &str) -> Result<Expanded> {
        let scope = Scope(self.config, self.arguments);
        expand(word, Rules::new(self.escape), &scope).map_err(Error::refused)
    }

    fn word(&self, word: &str) -> Result<String> {
        Ok(self.expand(word)?.text)
    }

    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<Pair>> {
        pairs.iter().map(|(name, value)| Ok((self.word(name)?, self.word(value)?))).collect()
    }
}

/// Changes a configuration by instructions, as `docker commit --change` takes them.
///
/// # Errors
/// Which one is wrong, and why.
pub fn apply(config: &mut Config, instructions: &[String]) -> Result<()> {
    let (mut command_is_set, arguments) = (false, Arguments::new());
    for text in instructions {
        let about = |why: String| Error::invalid(format!("change `{text}`"), why);
        for line in dockerfile::lines_of(text).map_err(about)? {
            let name = line.split_whitespace().next().unwrap_or_default().to_lowercase();
            if !TAKEN.contains(&name.as_str()) {
                let message = format!("{name} is not a valid change command: it is none of ");
                return Err(Error::refused(message + &TAKEN.join(", ").to_uppercase()));
            }
            let instruction = instruction_of(&line).map_err(about)?;
            let command_is_set = &mut command_is_set;
            let mut change = Change { config, command_is_set, arguments: &arguments, escape: '\\' };
            change.make(&instruction.kind).map_err(|why| about(why.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(instructions: &[&str]) -> Config {
        let mut config = Config { cmd: Some(vec!["old".into()]), ..Config::default() };
        let instructions: Vec<String> = instructions.iter().map(|&text| text.into()).collect();
        apply(&mut config, &instructions).unwrap();
        config
    }

    #[test]
    fn commands_have_a_json_form_and_a_shell_form() {
        let config = changed(&["entrypoint  echo  a b", r#"CMD ["sh", "-l"]"#]);
        assert_eq!(config.cmd.unwrap(), ["sh", "-l"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "echo  a b"]);
        assert_eq!(changed(&["CMD [ -f x ]"]).cmd.unwrap(), ["/bin/sh", "-c", "[ -f x ]"]);
        assert_eq!(changed(&["ENTRYPOINT [\"x\"]"]).cmd, None, "it was another program's");
        let both = changed(&["CMD [\"a\"]", "ENTRYPOINT [\"x\"]"]);
        assert_eq!(both.cmd.unwrap(), ["a"]);
    }

    #[test]
    fn env_and_labels_are_pairs_with_quotes() {
        let config = changed(&[r#"ENV A=1 B="x y" C=a\ b D='\'"#, "ENV A two words", "ENV E="]);
        assert_eq!(config.env, ["A=two words", "B=x y", "C=a b", "D=\\", "E="]);
        let config = changed(&["LABEL a.b=c", r#"LABEL "with space"=v"#]);
        assert_eq!(
            (config.labels["a.b"].as_str(), config.labels["with space"].as_str()),
            ("c", "v")
        );
    }

    #[test]
    fn the_rest_is_set_and_lists_grow() {
        let config = changed(&[
            "ENV HOME=/srv\nUSER web:web",
            "STOPSIGNAL SIGQUIT",
            "WORKDIR $HOME",
            "WORKDIR app",
            "EXPOSE 80 53/udp",
            "",
            r#"VOLUME ["/data"]"#,
            "VOLUME /a /b",
            "ONBUILD RUN make",
            "HEALTHCHECK --interval=5s CMD true",
        ]);
        assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("web:web", "SIGQUIT"));
        assert_eq!(
            (config.working_dir.as_str(), config.on_build[0].as_str()),
            ("/srv/app", "RUN make")
        );
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/a", "/b", "/data"]);
        let health = json!({"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000u64});
        assert_eq!(config.healthcheck.unwrap(), health);
    }

    #[test]
    fn what_is_no_change_says_why() {
        for (instruction, why) in [
            ("RUN ls", "run is not a valid change command"),
            ("SHELL [\"a\"]", "shell is not a valid change command"),
            ("FOO ls", "foo is not a valid change command: it is none of CMD"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "`ENV A=1 B`: "),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
            ("STOPSIGNAL SIGNONE", "Invalid signal: SIGNONE"),
            ("EXPOSE http", "Invalid containerPort: http"),
            ("EXPOSE 80/ipx", "invalid proto: ipx"),
        ] {
            let changes = [instruction.to_owned()];
            let error = apply(&mut Config::default(), &changes).unwrap_err().to_string();
            assert!(error.contains(why), "{instruction}: {error}");
        }
    }
}
