//! What a user asks for over what the image says, by the rules of moby's daemon/commit.go.

use super::config::{Config, Health, Words};
use crate::engine::error::{Error, Result};

impl Config {
    /// Fills in from the image's configuration what this one does not say.
    ///
    /// # Errors
    /// Where neither has a command.
    pub fn merge(&mut self, image: &Config) -> Result<()> {
        let fill = |own: &mut String, image: &String| {
            if own.is_empty() {
                own.clone_from(image);
            }
        };
        fill(&mut self.user, &image.user);
        fill(&mut self.working_dir, &image.working_dir);
        fill(&mut self.stop_signal, &image.stop_signal);
        for (port, empty) in &image.exposed_ports {
            self.exposed_ports.entry(port.clone()).or_insert(*empty);
        }
        for (path, empty) in &image.volumes {
            self.volumes.entry(path.clone()).or_insert(*empty);
        }
        for (name, value) in &image.labels {
            self.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        for variable in &image.env {
            if !self.env.iter().any(|own| name(own) == name(variable)) {
                self.env.push(variable.clone());
            }
        }
        if self.shell.is_empty() {
            self.shell.clone_from(&image.shell);
        }
        self.merge_command(image);
        self.merge_health(image.healthcheck.as_ref());
        if self.entrypoint.is_empty() && self.cmd.is_empty() {
            return Err(Error::refused("no command specified"));
        }
        Ok(())
    }

    /// An entry point of the user's drops the image's `Cmd`, too: that was meant as arguments of
    /// the image's. `[""]` drops the image's entry point and puts nothing in its place.
    fn merge_command(&mut self, image: &Config) {
        if self.entrypoint.is_empty() {
            if self.cmd.is_empty() {
                self.cmd.clone_from(&image.cmd);
                self.args_escaped = image.args_escaped;
            }
            if self.entrypoint.0.is_none() {
                self.entrypoint.clone_from(&image.entrypoint);
            }
        }
        if self.entrypoint.list() == [""] {
            self.entrypoint = Words(None);
        }
    }

    fn merge_health(&mut self, image: Option<&Health>) {
        let Some(image) = image else { return };
        let Some(own) = &mut self.healthcheck else {
            self.healthcheck = Some(image.clone());
            return;
        };
        if own.test.is_empty() {
            own.test.clone_from(&image.test);
        }
        for (own, image) in [
            (&mut own.interval, image.interval),
            (&mut own.timeout, image.timeout),
            (&mut own.retries, image.retries),
            (&mut own.start_period, image.start_period),
            (&mut own.start_interval, image.start_interval),
        ] {
            if *own == 0 {
                *own = image;
            }
        }
    }

    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        self.entrypoint.list().iter().chain(self.cmd.list()).cloned().collect()
    }
}

fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or(variable)
}
