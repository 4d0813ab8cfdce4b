//! Ends: waited for on a supervisor's socket, or heard of from the hub.

use std::sync::Arc;

use corten_daemon::Outcome;
use corten_daemon::backend::{Condition, Exit};
use corten_supervisor::journal::Entry;
use corten_supervisor::protocol::{Operation, Outcome as Answer};
use corten_supervisor::record::Phase;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use super::Api;
use super::watch::Watched;
use crate::engine::Error;

impl Api {
    pub(super) fn wait_for(
        &self,
        name: &str,
        condition: Condition,
    ) -> Outcome<oneshot::Receiver<Exit>> {
        // Before the look: what happens after it is heard.
        let heard = self.0.hub.listen();
        let view = self.engine().view(name)?;
        let (tell, told) = oneshot::channel();
        let runs = ["running", "paused", "restarting"].contains(&view.word());
        let status = i64::from(view.exit_code());
        let id = view.record.id;
        match condition {
            // One that is restarted then has not been running for a moment: dockerd tells of that.
            Condition::NotRunning | Condition::NextExit if runs => {
                self.0.runtime.spawn(self.clone().ended(id, tell));
            }
            Condition::NotRunning => {
                let _ = tell.send(Exit { status, error: None });
            }
            Condition::NextExit => {
                let look = self.clone().has_been(id.clone(), status, "die");
                self.0.runtime.spawn(heard_of(id, "die", 0, heard, tell, look));
            }
            Condition::Removed => {
                let look = self.clone().has_been(id.clone(), status, "destroy");
                self.0.runtime.spawn(heard_of(id, "destroy", status, heard, tell, look));
            }
        }
        Ok(told)
    }

    /// Sees whether what is waited for has been already, and with which status; `last` is the one that
    /// a container had which is gone.
    fn has_been(
        self,
        id: String,
        last: i64,
        what: &'static str,
    ) -> impl Fn() -> Option<i64> + Clone {
        move || match self.engine().view(&id) {
            Ok(view) if what == "die" && view.word() == "exited" => Some(view.exit_code().into()),
            Ok(_) => None,
            Err(Error::NoSuchContainer { .. }) => Some(last),
            Err(_) => None,
        }
    }

    /// The end of a container that runs: its supervisor tells.
    async fn ended(self, id: String, mut tell: oneshot::Sender<Exit>) {
        let (api, of) = (self.clone(), id.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut client = api.engine().containers().shims.connect(&of).ok()?;
            let asked = client.ask(Operation::Wait { next: true }).ok()?;
            Some((client, asked))
        });
        if let Ok(Some((client, asked))) = asked.await
            && let Ok(mut watched) = Watched::new(client)
        {
            let answer = tokio::select! {
                answer = watched.answer(asked) => answer,
                () = tell.closed() => return,
            };
            if let Some(Answer::Exit(exit)) = answer {
                // Who has waited finds it ended, and on no network any more; unless it runs again.
                let done = tokio::task::spawn_blocking(move || self.settled(&id));
                let _ = done.await;
                let _ = tell.send(Exit { status: exit.status.into(), error: None });
                return;
            }
        }
        // It has ended between the look and the question, or its supervisor was killed.
        let look = tokio::task::spawn_blocking(move || {
            let view = self.engine().view(&id).ok()?;
            Some(i64::from(view.exit_code()))
        });
        let status = look.await.ok().flatten().unwrap_or(137);
        let _ = tell.send(Exit { status, error: None });
    }
}

impl Api {
    /// Puts a container in order that has ended for good; one that will be restarted is left alone.
    fn settled(&self, id: &str) {
        let goes_on = self.engine().containers().shims.connect(id).is_ok_and(|mut client| {
            client.status().is_ok_and(|status| status.phase != Phase::Exited)
        });
        if !goes_on && let Err(why) = self.engine().tidy(id) {
            tracing::warn!(%why, id, "a container cannot be put in order");
        }
    }
}

/// What is heard of a container that does not run, or that shall be gone. Where more has happened than
/// could be heard, `look` sees whether it was that.
async fn heard_of(
    id: String,
    what: &'static str,
    mut status: i64,
    mut heard: Receiver<Arc<Entry>>,
    mut tell: oneshot::Sender<Exit>,
    look: impl Fn() -> Option<i64> + Clone + Send + 'static,
) {
    loop {
        let entry = tokio::select! {
            entry = heard.recv() => entry,
            () = tell.closed() => return,
        };
        match entry {
            Ok(entry) if entry.kind == "container" && entry.actor.id == id => {
                if let Some(code) = entry.actor.attributes.get("exitCode") {
                    status = code.parse().unwrap_or(status);
                }
                if entry.action == what {
                    let _ = tell.send(Exit { status, error: None });
                    return;
                }
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {
                if let Ok(Some(seen)) = tokio::task::spawn_blocking(look.clone()).await {
                    let _ = tell.send(Exit { status: seen, error: None });
                    return;
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_supervisor::journal::Actor;

    use super::*;

    /// Whoever waits for the end of a container, and is overtaken by what happens to others.
    #[tokio::test]
    async fn an_end_that_was_missed_is_seen() {
        let (hub, heard) = tokio::sync::broadcast::channel(1);
        let (tell, told) = oneshot::channel();
        let entry = Arc::new(Entry {
            kind: "image".to_owned(),
            action: "pull".to_owned(),
            actor: Actor::default(),
            scope: "local".to_owned(),
            time: 0,
            time_nano: 0,
        });
        (0..3).for_each(|_| drop(hub.send(Arc::clone(&entry))));
        tokio::spawn(heard_of("id".to_owned(), "destroy", 0, heard, tell, || Some(3)));
        assert_eq!(told.await.unwrap().status, 3);
    }
}
