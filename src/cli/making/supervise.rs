//! How a container is supervised: the options that chapter 5 stands behind.

use clap::Args;
use corten_supervisor::log::Options;

use super::value::{nanoseconds, pairs};
use crate::cli::{Error, Result};
use crate::engine::options::config::Health;
use crate::engine::options::{Config, HostConfig, LogConfig, RestartPolicy};

#[derive(Debug, Args)]
#[command(next_help_heading = "Supervision")]
pub(super) struct Supervise {
    /// Start the container again when it has ended: no, always, unless-stopped, on-failure:N
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,
    /// The signal that asks the container to end; the image's or SIGTERM otherwise
    #[arg(long, value_name = "SIGNAL", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// Seconds until it is killed then; -1 for never; 10 otherwise
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Where its output goes: json-file, local or none
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    log_driver: String,
    /// An option of the log driver
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// A shell command that says whether the container is well
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_healthcheck")]
    health_cmd: Option<String>,
    /// From one health check to the next (as in 30s, 1m30s); 30s otherwise
    #[arg(long, value_name = "TIME", conflicts_with = "no_healthcheck")]
    health_interval: Option<String>,
    /// The longest that a health check may take; 30s otherwise
    #[arg(long, value_name = "TIME", conflicts_with = "no_healthcheck")]
    health_timeout: Option<String>,
    /// Failures in a row that make the container unhealthy; 3 otherwise
    #[arg(long, value_name = "N", conflicts_with = "no_healthcheck")]
    health_retries: Option<i64>,
    /// At first, for so long, failures do not count
    #[arg(long, value_name = "TIME", conflicts_with = "no_healthcheck")]
    health_start_period: Option<String>,
    /// From one health check to the next during the start period; 5s otherwise
    #[arg(long, value_name = "TIME", conflicts_with = "no_healthcheck")]
    health_start_interval: Option<String>,
    /// Not even the image's health check
    #[arg(long)]
    no_healthcheck: bool,
}

impl Supervise {
    pub(super) fn fill(&self, config: &mut Config, host: &mut HostConfig) -> Result<()> {
        host.restart_policy = restart(&self.restart)?;
        config.stop_signal.clone_from(&self.stop_signal);
        config.stop_timeout = self.stop_timeout;
        if let Some(option) = self.log_opt.iter().find(|option| !option.contains('=')) {
            let what = format!("log option `{option}`");
            return Err(Error::invalid(what, "must be NAME=VALUE"));
        }
        host.log_config =
            LogConfig { driver: self.log_driver.clone(), config: pairs(&self.log_opt) };
        // In dockerd's words; what it finds at the start only is found here.
        Options::parse(host.log_config.driver(), &host.log_config.config)?;
        config.healthcheck = self.health()?;
        Ok(())
    }

    fn health(&self) -> Result<Option<Health>> {
        if self.no_healthcheck {
            return Ok(Some(Health { test: vec!["NONE".to_owned()], ..Health::default() }));
        }
        let time = |text: &Option<String>| text.as_deref().map_or(Ok(0), nanoseconds);
        let shell = |text: &String| vec!["CMD-SHELL".to_owned(), text.clone()];
        let health = Health {
            test: self.health_cmd.as_ref().map(shell).unwrap_or_default(),
            interval: time(&self.health_interval)?,
            timeout: time(&self.health_timeout)?,
            retries: self.health_retries.unwrap_or(0),
            start_period: time(&self.health_start_period)?,
            start_interval: time(&self.health_start_interval)?,
        };
        Ok((health != Health::default()).then_some(health))
    }
}

/// `on-failure:3` and its like; whether there is such a policy is for the engine to say.
pub(in crate::cli) fn restart(text: &str) -> Result<RestartPolicy> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, count.parse().ok()),
        None => (text, Some(0)),
    };
    let why = "has no number after the colon";
    let maximum_retry_count =
        count.ok_or_else(|| Error::invalid(format!("restart policy `{text}`"), why))?;
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_may_have_a_number() {
        let policy = restart("on-failure:3").unwrap();
        assert_eq!((policy.name.as_str(), policy.maximum_retry_count), ("on-failure", 3));
        assert_eq!(restart("always").unwrap().maximum_retry_count, 0);
        assert!(restart("on-failure:").is_err());
    }
}
