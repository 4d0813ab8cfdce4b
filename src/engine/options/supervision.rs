//! What the supervisor is told: restarts, stopping, health, the log, as chapter 5 has them.

use std::time::Duration;

use corten_supervisor::settings::{Health, Restart, Stop};

use super::check::signal;
use super::config::{Config, Test};
use super::host::{HostConfig, LogConfig};
use crate::engine::error::Result;
use crate::engine::record::{LogChoice, Supervision};

/// From a configuration that is merged and checked.
///
/// # Errors
/// For a signal or a check that is none.
pub fn supervision(config: &Config, host: &HostConfig) -> Result<Supervision> {
    let policy = &host.restart_policy;
    let stop = Stop::default();
    Ok(Supervision {
        restart: match policy.name.as_str() {
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" => Restart::OnFailure {
                maximum: u32::try_from(policy.maximum_retry_count).unwrap_or(0),
            },
            _ => Restart::No,
        },
        stop: Stop {
            signal: match config.stop_signal.as_str() {
                "" => stop.signal,
                text => signal(text)?,
            },
            timeout: config.stop_timeout.unwrap_or(stop.timeout),
        },
        log: (host.log_config != LogConfig::default()).then(|| LogChoice::of(&host.log_config)),
        health: health(config)?,
    })
}

fn health(config: &Config) -> Result<Option<Health>> {
    let Some(health) = &config.healthcheck else { return Ok(None) };
    let command = match health.test() {
        None | Some(Test::None) => return Ok(None),
        Some(Test::Program(words)) => words,
        Some(Test::Shell(text)) => {
            let shell = match &config.shell[..] {
                [] => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                shell => shell.to_vec(),
            };
            [shell, vec![text]].concat()
        }
    };
    // Docker's defaults, for what nobody says.
    let time = |own: i64, seconds| match u64::try_from(own) {
        Ok(0) | Err(_) => Duration::from_secs(seconds),
        Ok(own) => Duration::from_nanos(own),
    };
    Ok(Some(Health {
        command,
        interval: time(health.interval, 30),
        timeout: time(health.timeout, 30),
        start_period: time(health.start_period, 0),
        start_interval: time(health.start_interval, 5),
        retries: u32::try_from(health.retries).ok().filter(|n| *n > 0).unwrap_or(3),
    }))
}
