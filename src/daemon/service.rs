//! The daemon as a service: alone, ready when it says so, gone when it is asked.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_daemon::config::Config;
use corten_daemon::listener::{Host, Listener};
use corten_daemon::notify::notify;
use corten_daemon::tls::Files;
use corten_daemon::{Daemon, Failure};
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Api;
use crate::engine::{Engine, Error, Result};

/// Threads for what may block: starts, pulls, archives. A stop takes one for as long as the container takes
/// to end, and somebody may stop all at once.
const BLOCKING: usize = 512;

/// How long one of these may have nothing to do.
const IDLE: Duration = Duration::from_secs(3);

/// How a daemon is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to listen.
    pub hosts: Vec<Host>,
    /// The group of Unix sockets.
    pub group: Option<String>,
    /// Certificates, with which TCP may be listened at.
    pub tls: Option<Files>,
    /// TCP without TLS, on loopback.
    pub insecure_loopback: bool,
    /// Labels of the daemon.
    pub labels: Vec<String>,
    /// The file that is read again on SIGHUP.
    pub config: Option<PathBuf>,
}

/// What is done with the log's level when the configuration is read again.
pub type Level<'a> = &'a (dyn Fn(&Config) + Send + Sync);

fn failed(error: impl ToString) -> Error {
    Error::refused(error.to_string())
}

impl From<corten_daemon::Error> for Error {
    fn from(error: corten_daemon::Error) -> Error {
        Error::invalid("daemon", error.to_string())
    }
}

/// Runs a daemon over `engine` until SIGTERM or SIGINT.
///
/// # Errors
/// Where another daemon has the state directory, or it cannot listen.
pub fn serve(engine: Engine, options: &Options, level: Level<'_>) -> Result<()> {
    let _alone = alone(&engine)?;
    corten_daemon::memory::frugal();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(IDLE)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
        .map_err(failed)?;
    let done = runtime.block_on(run(engine, options, level));
    // What still waits for a client or a registry is given up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// One daemon for a state directory: it answers for all containers.
fn alone(engine: &Engine) -> Result<Flock<File>> {
    let path = engine.root().join("daemon.lock");
    let file = corten_namespaces::lock::open(&path).map_err(failed)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let root = engine.root().display();
        Error::refused(format!("another daemon serves {root}: stop it, or choose another --root"))
    })
}

// ANCHOR: run
async fn run(engine: Engine, options: &Options, level: Level<'_>) -> Result<()> {
    let api = Api::new(engine).map_err(failed)?;
    api.set_labels(options.labels.clone());
    let listeners = listeners(options)?;
    let (stop, stopping) = watch::channel(false);
    let daemon = Daemon::new(Arc::new(api.clone()));
    let mut serving = tokio::spawn(daemon.serve(listeners, stopping));
    // Containers that shall always run come up while clients are let in.
    let again = api.clone();
    let restored = tokio::task::spawn_blocking(move || again.restore());
    tokio::spawn(async move {
        if let Ok(Err(Failure { message, .. })) = restored.await {
            tracing::warn!(message, "containers cannot be started again");
        }
        corten_daemon::memory::settle();
    });
    notify("READY=1");
    tracing::info!("ready");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload(&api, options, level),
            _ = &mut serving => return Ok(()),
        }
    }
    notify("STOPPING=1");
    tracing::info!("ending; containers go on");
    // Nobody listens where nobody serves any more.
    let _ = stop.send(true);
    let _ = serving.await;
    Ok(())
}
// ANCHOR_END: run

fn reload(api: &Api, options: &Options, level: Level<'_>) {
    let Some(path) = &options.config else { return };
    match Config::read(path) {
        Ok(config) => {
            level(&config);
            api.set_labels(config.labels);
            tracing::info!(path = %path.display(), "read the configuration again");
        }
        // What was right until now stays.
        Err(why) => tracing::error!(%why, "the configuration is left as it was"),
    }
}

fn listeners(options: &Options) -> Result<Vec<Listener>> {
    let tls = options.tls.as_ref().map(Files::read).transpose()?;
    let mut all = Vec::new();
    for host in &options.hosts {
        match host {
            Host::Unix(path) => all.push(Listener::unix(path, options.group.as_deref())?),
            Host::Activated => all.extend(Listener::activated(tls.as_ref())?),
            Host::Tcp(address) => {
                if tls.is_none() {
                    check_plain(address, options.insecure_loopback)?;
                }
                all.push(Listener::tcp(*address, tls.clone())?);
            }
        }
    }
    if all.is_empty() {
        return Err(Error::invalid("daemon", "has nowhere to listen: use -H"));
    }
    Ok(all)
}

// ANCHOR: plain
/// Whoever may speak to the daemon is root here.
fn check_plain(address: &SocketAddr, allowed: bool) -> Result<()> {
    let at = format!("-H tcp://{address}");
    if !address.ip().is_loopback() {
        return Err(Error::invalid(at, "needs --tlsverify: whoever reaches it would be root here"));
    }
    if !allowed {
        let why = "needs --tlsverify; or, to let every user of this machine be root, \
                   --insecure-loopback";
        return Err(Error::invalid(at, why));
    }
    tracing::warn!("{at} is without TLS: every user of this machine can be root");
    Ok(())
}
// ANCHOR_END: plain

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tcp_is_for_loopback_and_on_demand() {
        let loopback: SocketAddr = "127.0.0.1:2375".parse().unwrap();
        let world: SocketAddr = "0.0.0.0:2375".parse().unwrap();
        assert!(check_plain(&loopback, true).is_ok() && check_plain(&loopback, false).is_err());
        assert!(check_plain(&world, true).is_err());
    }
}
