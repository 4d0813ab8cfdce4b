//! `corten daemon`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use corten_daemon::config::Config;
use corten_daemon::listener::Host;
use corten_daemon::tls::Files;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

use crate::cli::{Error, Result};
use crate::daemon::{Options, serve};
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Daemon {
    /// Where to listen: unix://PATH, tcp://ADDRESS:PORT, fd:// for systemd's sockets; may be repeated
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A configuration file, in TOML or as dockerd's daemon.json; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The group that may use Unix sockets; corten or docker otherwise, where there is one
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Listen at TCP with certificates of both sides
    #[arg(long)]
    tlsverify: bool,
    /// The certificate of who signs the clients'
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The server's certificate
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The server's key
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
    /// Listen at TCP on loopback without TLS: every user of this machine can be root then
    #[arg(long)]
    insecure_loopback: bool,
    /// How much to tell: error, warn, info or debug
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Labels that `docker info` shows
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
}

type Reload = Handle<LevelFilter, Registry>;

impl Daemon {
    /// The configuration file, read.
    pub(super) fn config(&self) -> Result<Config> {
        Ok(self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?)
    }

    /// Serves at `usual`, where nobody says where else.
    pub(super) fn execute(&self, config: &Config, usual: &str, engine: Engine) -> Result<()> {
        let level = self.log(config)?;
        for name in config.unknown.keys() {
            tracing::warn!(name, "the configuration says what is not known here");
        }
        // Also told to whoever makes a container; here for who looks after the machine.
        for obstacle in engine.networks()?.obstacles().unwrap_or_default() {
            tracing::warn!("{obstacle}");
        }
        let again = move |config: &Config| match level_of(None, config) {
            Ok(new) => drop(level.modify(|level| *level = new)),
            Err(why) => tracing::error!(%why, "the log's level stays"),
        };
        Ok(serve(engine, &self.options(config, usual)?, &again)?)
    }

    fn options(&self, config: &Config, usual: &str) -> Result<Options> {
        let mut hosts = if self.hosts.is_empty() { &config.hosts } else { &self.hosts }.clone();
        if hosts.is_empty() {
            hosts.push(usual.to_owned());
        }
        let own = |path: &Option<PathBuf>, of: &Option<PathBuf>, name: &str| {
            let path = path.as_ref().or(of.as_ref());
            path.cloned().ok_or_else(|| Error::invalid("--tlsverify", format!("needs {name} FILE")))
        };
        let tls = match self.tlsverify || config.tlsverify {
            true => Some(Files {
                ca: own(&self.tlscacert, &config.tlscacert, "--tlscacert")?,
                cert: own(&self.tlscert, &config.tlscert, "--tlscert")?,
                key: own(&self.tlskey, &config.tlskey, "--tlskey")?,
            }),
            false => None,
        };
        let hosts: std::result::Result<Vec<Host>, corten_daemon::Error> =
            hosts.iter().map(|host| host.parse()).collect();
        Ok(Options {
            hosts: hosts?,
            group: self.group.clone().or_else(|| config.group.clone()),
            tls,
            insecure_loopback: self.insecure_loopback,
            labels: if self.labels.is_empty() { &config.labels } else { &self.labels }.clone(),
            config: self.config.clone(),
        })
    }

    /// Lines on standard error, which a service manager keeps.
    fn log(&self, config: &Config) -> Result<Arc<Reload>> {
        let level = level_of(self.log_level.as_deref(), config)?;
        let (filter, handle) = reload::Layer::new(level);
        let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
        // Only in tests is there another one already.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        Ok(Arc::new(handle))
    }
}

fn level_of(asked: Option<&str>, config: &Config) -> Result<LevelFilter> {
    let usual = if config.debug { "debug" } else { "info" };
    let text = asked.or(config.log_level.as_deref()).unwrap_or(usual);
    text.parse().map_err(|_| {
        Error::invalid(format!("--log-level {text}"), "is none of error, warn, info, debug")
    })
}
