//! Containers that run: one task each, which waits on the supervisor's socket and puts things in order
//! when all is over.

use std::os::fd::AsFd;

use corten_daemon::Outcome;
use corten_supervisor::client::{Asked, Client};
use corten_supervisor::protocol::{Operation, Outcome as Answer};
use tokio::io::unix::AsyncFd;

use super::{Api, locked};
use crate::engine::filter::Filters;
use crate::engine::record::{Record, State};

/// A connection to a supervisor, for the runtime.
pub(super) struct Watched {
    client: Client,
    ready: AsyncFd<std::os::fd::OwnedFd>,
}

impl Watched {
    /// Waits on `client`'s socket from now on.
    pub(super) fn new(client: Client) -> std::io::Result<Watched> {
        let own = client.as_fd().try_clone_to_owned()?;
        Ok(Watched { ready: corten_daemon::readable(own)?, client })
    }

    // ANCHOR: answer
    /// The answer; `None` where the supervisor is gone without one.
    pub(super) async fn answer(&mut self, asked: Asked) -> Option<Answer> {
        loop {
            match self.client.is_answered(&asked) {
                Ok(true) => return self.client.answer(asked).ok().map(|(answer, _)| answer),
                Ok(false) if self.is_gone() => return None,
                Ok(false) => {}
                Err(_) => return None,
            }
            let Ok(mut guard) = self.ready.readable().await else { return None };
            guard.clear_ready();
        }
    }
    // ANCHOR_END: answer

    fn is_gone(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.client.as_fd(), PollFlags::POLLHUP)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl Api {
    /// Takes over the containers that run already.
    pub(super) fn adopt(&self) -> Outcome<()> {
        // Of all that there are, those that run are few.
        for id in self.engine().containers().started()? {
            let Ok(mut client) = self.engine().containers().shims.connect(&id) else { continue };
            if let Ok((record, _)) = self.engine().containers().find(&id)
                && let Ok(ended) = client.ask(Operation::Wait { next: false })
            {
                self.watch(record, client, ended);
            }
        }
        Ok(())
    }

    /// Puts a container in order when it has ended: this process does it, and no other is started.
    pub(super) fn watch(&self, record: Record, client: Client, ended: Asked) {
        let api = self.clone();
        locked(&self.0.watched).insert(record.id.clone());
        self.0.runtime.spawn(async move {
            let exit = match Watched::new(client) {
                Ok(mut watched) => match watched.answer(ended).await {
                    Some(Answer::Exit(exit)) => Some(*exit),
                    _ => None,
                },
                Err(why) => {
                    tracing::warn!(%why, id = record.id, "a container cannot be watched");
                    locked(&api.0.watched).remove(&record.id);
                    return;
                }
            };
            let done = tokio::task::spawn_blocking(move || {
                let ended = api.engine().end(&record, exit);
                locked(&api.0.watched).remove(&record.id);
                if let Err(why) = ended {
                    tracing::warn!(%why, id = record.id, "a container cannot be put in order");
                }
                api.forget_execs_of(&record.id);
            });
            let _ = done.await;
        });
    }

    /// Starts the containers that shall always run.
    pub(super) fn restore(&self) -> Outcome<()> {
        for (record, state) in self.engine().containers().list()? {
            if matches!(state, State::Exited { .. }) {
                match self.engine().shall_run(&record, &state) {
                    Ok(true) => {
                        if let Err(why) = self.launch(&record.id) {
                            tracing::warn!(id = record.id, %why, "a container cannot be started again");
                        }
                    }
                    Ok(false) => {}
                    Err(why) => tracing::warn!(id = record.id, %why, "a container cannot be read"),
                }
            }
        }
        Ok(())
    }
}

/// Filters of a request for the engine.
pub(super) fn pairs(filters: &corten_daemon::backend::Filters) -> Vec<String> {
    let pairs = filters.iter();
    pairs
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
        .collect()
}

/// The same, checked.
pub(super) fn checked(
    filters: &corten_daemon::backend::Filters,
    known: &[&str],
) -> Outcome<Filters> {
    Ok(Filters::parse(&pairs(filters), known)?)
}
