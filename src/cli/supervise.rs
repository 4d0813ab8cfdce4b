//! How a container is supervised: the options of `run` and `create` that chapter 5 stands behind.

use std::time::Duration;

use clap::Args;
use corten_supervisor::log::Options;
use corten_supervisor::settings::{Health, Restart, Stop};

use crate::engine::state::{LogChoice, Supervision};
use crate::engine::{Error, Result};

#[derive(Debug, Args)]
pub(super) struct Supervise {
    /// Start the container again when it has ended: no, always, unless-stopped, on-failure:N
    #[arg(long, value_name = "POLICY", default_value = "no")]
    restart: String,
    /// The signal that asks the container to end
    #[arg(long, value_name = "SIGNAL", default_value = "SIGTERM")]
    stop_signal: String,
    /// Seconds until it is killed then; -1 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 10, allow_negative_numbers = true)]
    stop_timeout: i64,
    /// Where its output goes: json-file, local or none
    #[arg(long, value_name = "DRIVER", default_value = "json-file")]
    log_driver: String,
    /// An option of the log driver
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// A shell command that says whether the container is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// From one health check to the next (as in 30s, 1m30s)
    #[arg(long, value_name = "TIME", default_value = "30s")]
    health_interval: String,
    /// The longest that a health check may take
    #[arg(long, value_name = "TIME", default_value = "30s")]
    health_timeout: String,
    /// Failures in a row that make the container unhealthy
    #[arg(long, value_name = "N", default_value_t = 3)]
    health_retries: u32,
    /// At first, failures do not count
    #[arg(long, value_name = "TIME", default_value = "0s")]
    health_start_period: String,
    /// From one health check to the next during the start period
    #[arg(long, value_name = "TIME", default_value = "5s")]
    health_start_interval: String,
}

impl Supervise {
    pub(super) fn parse(&self) -> Result<Supervision> {
        let health = match &self.health_cmd {
            None => None,
            Some(command) => Some(Health {
                command: vec!["/bin/sh".into(), "-c".into(), command.clone()],
                interval: duration(&self.health_interval)?,
                timeout: duration(&self.health_timeout)?,
                start_period: duration(&self.health_start_period)?,
                start_interval: duration(&self.health_start_interval)?,
                retries: self.health_retries,
            }),
        };
        let mut log = LogChoice { driver: self.log_driver.clone(), ..LogChoice::default() };
        for option in &self.log_opt {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                Error::invalid(format!("log option `{option}`"), "must be NAME=VALUE")
            })?;
            log.options.insert(name.to_owned(), value.to_owned());
        }
        // In dockerd's words; what it finds at the start only is found here.
        Options::parse(&log.driver, &log.options)?;
        Ok(Supervision {
            restart: restart(&self.restart)?,
            stop: Stop {
                signal: corten_runtime::kill::signal(&self.stop_signal)?,
                timeout: self.stop_timeout,
            },
            log: Some(log),
            health,
        })
    }
}

fn restart(text: &str) -> Result<Restart> {
    let bad = |why: &str| Error::invalid(format!("restart policy `{text}`"), why);
    match text.split_once(':') {
        None if text == "no" => Ok(Restart::No),
        None if text == "always" => Ok(Restart::Always),
        None if text == "unless-stopped" => Ok(Restart::UnlessStopped),
        None if text == "on-failure" => Ok(Restart::OnFailure { maximum: 0 }),
        Some(("on-failure", maximum)) => match maximum.parse() {
            Ok(maximum) => Ok(Restart::OnFailure { maximum }),
            Err(_) => Err(bad("has no number after the colon")),
        },
        _ => Err(bad("must be no, always, unless-stopped or on-failure[:N]")),
    }
}

/// As Go's time.ParseDuration reads it: `1m30s`, `500ms`, `1.5h`.
fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::invalid(format!("time `{text}`"), "must be like 30s, 500ms or 1m30s");
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        seconds += number.parse::<f64>().map_err(|_| bad())? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5h").unwrap(), Duration::from_secs(5400));
        for bad in ["5", "s", "1x", "-1s", "1..2s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn policies_are_docker_s() {
        assert_eq!(restart("on-failure:3").unwrap(), Restart::OnFailure { maximum: 3 });
        assert_eq!(restart("unless-stopped").unwrap(), Restart::UnlessStopped);
        for bad in ["", "on-failure:", "always:3", "never"] {
            assert!(restart(bad).is_err(), "{bad}");
        }
    }
}
