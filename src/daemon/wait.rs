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
                self.0.runtime.spawn(heard_of(id, "die", 0, heard, tell));
            }
            Condition::Removed => {
                self.0.runtime.spawn(heard_of(id, "destroy", status, heard, tell));
            }
        }
        Ok(told)
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

/// What is heard of a container that does not run, or that shall be gone.
async fn heard_of(
    id: String,
    what: &'static str,
    mut status: i64,
    mut heard: Receiver<Arc<Entry>>,
    mut tell: oneshot::Sender<Exit>,
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
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
