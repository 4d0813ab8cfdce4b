//! Instructions that change nothing but the configuration: `ENV`, `LABEL`, `CMD` and the like.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::describe;
use super::stage::{Effect, Stage};
use crate::cache::Depends;
use crate::config;
use crate::dockerfile::Kind;
use crate::error::{Error, Result};
use crate::progress::Event;

impl Stage<'_> {
    /// An instruction that changes nothing but the configuration.
    pub(super) fn configure(&mut self, kind: &Kind) -> Result<()> {
        let text = self.change(kind)?;
        let created_by = describe::nop(&self.state.config, &text);
        let created = |name: &String| (name.clone(), String::new());
        let arguments = match kind {
            Kind::Arg(list) => list.iter().map(|(name, _)| created(name)).collect(),
            _ => BTreeMap::new(),
        };
        let depends = Depends {
            instruction: text,
            parent: self.state.digest(),
            settings: arguments,
            ..Depends::default()
        };
        self.cached(Effect { created_by, depends }, |stage| {
            stage.pretend_container();
            Ok(None)
        })
    }

    /// The classic builder makes a container for each change of the configuration, and says so.
    pub(super) fn pretend_container(&self) {
        if !self.session.options.classic {
            return;
        }
        let bytes: [u8; 6] = std::array::from_fn(|index| {
            let seed = self.number as u128 + self.state.history.len() as u128 * 977;
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() as u128;
            ((now ^ (seed * 0x9e37_79b9_7f4a_7c15)) >> (index * 8)) as u8
        });
        let (number, container) = (self.number, crate::tree::hex(&bytes));
        self.tell(Event::Running { number, container: container.clone() });
        self.tell(Event::Removed { number, container });
    }

    /// Changes the configuration; gives what the history says.
    fn change(&mut self, kind: &Kind) -> Result<String> {
        Ok(match kind {
            Kind::Env(pairs) => {
                let pairs = self.pairs(pairs)?;
                pairs.iter().for_each(|(name, value)| self.state.config.set_env(name, value));
                describe::pairs("ENV", &pairs)
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                self.state.config.labels.extend(pairs.iter().cloned());
                describe::pairs("LABEL", &pairs)
            }
            Kind::Arg(list) => self.declare(list)?,
            Kind::Cmd(command) => {
                let words = self.state.config.words(command);
                let text = format!("CMD {}", describe::quoted(&words));
                self.state.config.cmd = Some(words);
                self.command_is_set = true;
                text
            }
            Kind::Entrypoint(command) => {
                let words = self.state.config.words(command);
                let text = format!("ENTRYPOINT {}", describe::quoted(&words));
                self.state.config.entrypoint = (!words.is_empty()).then_some(words);
                if !self.command_is_set {
                    self.state.config.cmd = None;
                }
                text
            }
            Kind::Expose(words) => {
                // Docker sorts them before their variables are expanded.
                let mut words = words.clone();
                words.sort();
                let mut given = Vec::new();
                for word in &words {
                    given.extend(self.expand(word)?.words);
                }
                for word in &given {
                    let ports = config::ports(word).map_err(Error::refused)?;
                    let ports = ports.into_iter().map(|port| (port, serde_json::json!({})));
                    self.state.config.exposed_ports.extend(ports);
                }
                format!("EXPOSE {}", given.join(" "))
            }
            Kind::Healthcheck(health) => {
                let before = self.state.config.healthcheck.as_ref();
                let test = before.and_then(|before| before.get("Test")?.as_array().cloned());
                let words: Vec<_> = test.iter().flatten().filter_map(|w| w.as_str()).collect();
                if health.test != ["NONE"] && !words.is_empty() && words != ["NONE"]
                    || health.test == ["NONE"] && !words.is_empty()
                {
                    let text =
                        format!("Note: overriding previous HEALTHCHECK: [{}]", words.join(" "));
                    self.tell(Event::Note { number: self.number, text });
                }
                self.state.config.set_health(health);
                describe::health(health)
            }
            Kind::Maintainer(name) => {
                self.state.author.clone_from(name);
                format!("MAINTAINER {name}")
            }
            Kind::Onbuild(text) => {
                self.state.config.on_build.push(text.clone());
                format!("ONBUILD {text}")
            }
            Kind::Shell(shell) => {
                self.state.config.shell.clone_from(shell);
                format!("SHELL [{}]", shell.join(" "))
            }
            Kind::StopSignal(word) => {
                let signal = self.word(word)?;
                if !config::is_signal(&signal) {
                    return Err(Error::refused(format!("Invalid signal: {signal}")));
                }
                self.state.config.stop_signal.clone_from(&signal);
                format!("STOPSIGNAL {signal}")
            }
            Kind::User(word) => {
                let user = self.word(word)?;
                self.state.config.user.clone_from(&user);
                format!("USER {user}")
            }
            Kind::Volume(words) => {
                let volumes: Vec<String> =
                    words.iter().map(|word| self.word(word)).collect::<Result<_>>()?;
                let set = volumes.iter().map(|volume| (volume.clone(), serde_json::json!({})));
                self.state.config.volumes.extend(set);
                format!("VOLUME [{}]", volumes.join(" "))
            }
            Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_) => String::new(),
        })
    }

    /// `ARG`.
    fn declare(&mut self, list: &[(String, Option<String>)]) -> Result<String> {
        let mut said = Vec::new();
        let session = self.session;
        for (name, usual) in list {
            let name = self.word(name)?;
            session.lock().consumed.insert(name.clone());
            let given = session.options.arguments.get(&name).cloned();
            let usual = usual.as_deref().map(|value| self.word(value)).transpose()?;
            said.push(match &usual {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            let global = || session.plan.globals.get(&name).cloned();
            let value = given.or(usual).or_else(global);
            // Declared again without a value, it keeps the one that it has.
            if value.is_some() || !self.arguments.contains_key(&name) {
                self.arguments.insert(name, value);
            }
        }
        Ok(format!("ARG {}", said.join(" ")))
    }
}
