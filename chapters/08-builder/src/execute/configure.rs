//! Instructions that change nothing but the configuration: `ENV`, `LABEL`, `CMD` and the like.

use std::collections::BTreeMap;

use super::describe;
use super::stage::{Effect, Stage};
use super::staying::Nominal;
use crate::cache::Depends;
use crate::change::Change;
use crate::dockerfile::{Health, Kind};
use crate::error::Result;
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
            instruction: text.clone(),
            parent: self.state.digest(),
            settings: arguments,
            ..Depends::default()
        };
        self.cached(Effect { created_by, depends }, |stage| {
            stage.nominal_container(&Nominal::Configuration(&text))?;
            Ok(None)
        })
    }

    /// Changes the configuration; gives what the history says.
    pub(super) fn change(&mut self, kind: &Kind) -> Result<String> {
        match kind {
            Kind::Arg(list) => return self.declare(list),
            Kind::Maintainer(name) => {
                self.state.author.clone_from(name);
                return Ok(format!("MAINTAINER {name}"));
            }
            Kind::Healthcheck(health) => self.note_health(health),
            _ => {}
        }
        let change = Change {
            config: &mut self.state.config,
            command_is_set: &mut self.command_is_set,
            arguments: &self.arguments,
            escape: self.session.file.directives.escape,
        };
        Ok({ change }.make(kind)?.unwrap_or_default())
    }

    /// Says that a check which the base has counts no more.
    fn note_health(&self, health: &Health) {
        let before = self.state.config.healthcheck.as_ref();
        let test = before.and_then(|before| before.get("Test")?.as_array().cloned());
        let words: Vec<_> = test.iter().flatten().filter_map(|word| word.as_str()).collect();
        if !words.is_empty() && (health.test == ["NONE"] || words != ["NONE"]) {
            let text = format!("Note: overriding previous HEALTHCHECK: [{}]", words.join(" "));
            self.tell(Event::Note { number: self.number, text });
        }
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
