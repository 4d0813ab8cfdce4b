//! Containers: made, started, looked at, changed, removed; their files.

use std::path::Path;

use corten_daemon::backend::{
    Attach, Attached, Condition, Containers, Create, Created, Download, Exit, Filters, List, Logs,
    LogsWanted, Stats, Top, Unpack, Upload,
};
use corten_daemon::{Failure, Outcome};
use corten_supervisor::protocol::Operation;
use corten_supervisor::record::Phase;
use corten_unionfs::extract::Extract;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::watch::pairs;
use super::{Api, create};
use crate::engine::Error;
use crate::engine::files::Scope;
use crate::engine::networks::links;
use crate::engine::options::RestartPolicy;
use crate::engine::options::host::Resources;
use crate::engine::record::Record;
use crate::engine::update::Update;
use crate::engine::user::Accounts;

impl Api {
    /// A container, by its name or the beginning of its id.
    pub(super) fn find(&self, name: &str) -> Outcome<Record> {
        Ok(self.engine().containers().find(name)?.0)
    }

    /// Does something to one that runs.
    fn tell(&self, name: &str, operation: Operation) -> Outcome<()> {
        let (_, mut client) = self.running(name)?;
        client.perform(operation).map_err(|error| Error::from(error).into())
    }

    /// The supervisor of one that runs.
    pub(super) fn running(
        &self,
        name: &str,
    ) -> Outcome<(Record, corten_supervisor::client::Client)> {
        let id = self.find(name)?.id;
        self.engine().supervisor(&id).map_err(|error| match error {
            Error::NotRunning { .. } => Failure::conflict(format!("Container {id} is not running")),
            other => other.into(),
        })
    }

    fn kill_now(&self, name: &str) -> Outcome<()> {
        let (record, mut client) = self.running(name)?;
        match client.stop(Some(nix::libc::SIGKILL), Some(0)) {
            Err(error) if self.engine().containers().shims.is_alive(&record.id) => {
                return Err(Error::from(error).into());
            }
            _ => {}
        }
        Ok(self.engine().tidy(&record.id)?)
    }

    fn phase(&self, id: &str) -> Option<Phase> {
        let mut client = self.engine().containers().shims.connect(id).ok()?;
        Some(client.status().ok()?.phase)
    }
}

/// A signal by name or number.
fn signal(text: Option<&str>) -> Outcome<Option<i32>> {
    let read = |text: &str| {
        corten_runtime::kill::signal(text)
            .map_err(|_| Failure::invalid(format!("Invalid signal: {text}")))
    };
    text.map(read).transpose()
}

impl Containers for Api {
    fn list(&self, wanted: &List) -> Outcome<String> {
        self.listed(wanted)
    }

    fn create(&self, wanted: &Create) -> Outcome<Created> {
        self.make(wanted)
    }

    fn inspect(&self, name: &str, size: bool) -> Outcome<Value> {
        let record = self.find(name)?;
        let mut own = self.engine().inspect(&record.id, size)?;
        let execs = self.exec_ids(&record.id);
        own["ExecIDs"] = if execs.is_empty() { Value::Null } else { json!(execs) };
        Ok(own)
    }

    fn start(&self, name: &str) -> Outcome<bool> {
        let id = self.find(name)?.id;
        if self.phase(&id) == Some(Phase::Paused) {
            let text = "cannot start a paused container, try unpause instead";
            return Err(Failure::conflict(text));
        }
        self.launch(&id)
    }

    fn stop(&self, name: &str, by: Option<&str>, timeout: Option<i64>) -> Outcome<bool> {
        let (id, by) = (self.find(name)?.id, signal(by)?);
        if !self.engine().containers().shims.is_alive(&id) {
            return Ok(false);
        }
        self.engine().stop(&id, by, timeout)?;
        Ok(true)
    }

    fn restart(&self, name: &str, by: Option<&str>, timeout: Option<i64>) -> Outcome<()> {
        let (record, by) = (self.find(name)?, signal(by)?);
        self.engine().stop(&record.id, by, timeout)?;
        self.launch(&record.id)?;
        self.engine().containers().note(&record, "restart", &[]);
        Ok(())
    }

    fn kill(&self, name: &str, by: Option<&str>) -> Outcome<()> {
        let number = signal(by)?.unwrap_or(nix::libc::SIGKILL);
        let told = match number {
            // No process survives that, so it has ended when this is answered, and is not restarted.
            nix::libc::SIGKILL | 0 => self.kill_now(name),
            number => self.tell(name, Operation::Signal { number, all: false }),
        };
        told.map_err(|failure| match failure.status {
            409 => {
                let text = format!("Cannot kill container: {name}: {}", failure.message);
                Failure::conflict(text)
            }
            _ => failure,
        })
    }

    fn pause(&self, name: &str) -> Outcome<()> {
        let (record, mut client) = self.running(name)?;
        let phase = client.status().map_err(Error::from)?.phase;
        match phase {
            Phase::Paused => {
                Err(Failure::conflict(format!("Container {} is already paused", record.id)))
            }
            Phase::Restarting => Err(Failure::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                record.id
            ))),
            _ => Ok(client.perform(Operation::Pause).map_err(Error::from)?),
        }
    }

    fn unpause(&self, name: &str) -> Outcome<()> {
        let record = self.find(name)?;
        if self.phase(&record.id) != Some(Phase::Paused) {
            return Err(Failure::internal(format!("Container {} is not paused", record.id)));
        }
        self.tell(&record.id, Operation::Resume)
    }

    fn rename(&self, name: &str, to: &str) -> Outcome<()> {
        let record = self.find(name)?;
        if to.is_empty() {
            return Err(Failure::invalid("Neither old nor new names may be empty"));
        }
        if record.name.as_deref() == Some(to) {
            let text = "Renaming a container with the same name as its current name";
            return Err(Failure::invalid(text));
        }
        create::check_name(to).map_err(|_| {
            Failure::invalid(format!(
                "Error when allocating new name: Invalid container name (/{to}), only \
                 [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
            ))
        })?;
        let renamed = self.engine().rename(&record.id, to);
        renamed.map_err(|error| {
            let taken = matches!(error, Error::NameTaken { .. });
            let failure = self.of_making(error);
            match taken {
                true => Failure {
                    message: format!("Error when allocating new name: {}", failure.message),
                    ..failure
                },
                false => failure,
            }
        })
    }

    fn update(&self, name: &str, body: &Value) -> Outcome<Vec<String>> {
        let mut body = body.clone();
        let restart = body.get_mut("RestartPolicy").map(Value::take).filter(|r| !r.is_null());
        let restart: Option<RestartPolicy> = restart.map(create::read).transpose()?;
        let resources: Resources = match body {
            Value::Null => Resources::default(),
            body => create::read(body)?,
        };
        let restart = restart.filter(|policy| !policy.name.is_empty());
        let id = self.find(name)?.id;
        Ok(self.engine().update(&id, &Update { resources, restart })?)
    }

    fn remove(&self, name: &str, force: bool, volumes: bool, link: bool) -> Outcome<()> {
        if link {
            return match links::named(name) {
                Some((container, alias)) => Ok(self.engine().unlink(container, alias)?),
                None => Err(Failure::internal(
                    "Conflict, cannot remove the default link name of the container",
                )),
            };
        }
        let record = self.find(name)?;
        let done = self.engine().remove_container(&record.id, force, volumes);
        done.map_err(|error| match error {
            Error::Running { .. } => {
                let paused = self.phase(&record.id) == Some(Phase::Paused);
                let (state, remedy) = match paused {
                    true => ("paused", "Unpause and then stop the container before attempting removal or force remove"),
                    false => ("running", "Stop the container before attempting removal or force remove"),
                };
                Failure::conflict(format!(
                    "You cannot remove a {state} container {}. {remedy}",
                    record.id
                ))
            }
            other => other.into(),
        })?;
        self.forget_waiting(&record.id);
        self.forget_execs_of(&record.id);
        Ok(())
    }

    fn prune_containers(&self, filters: &Filters) -> Outcome<(Vec<String>, u64)> {
        Ok(self.engine().prune_containers(&pairs(filters))?)
    }

    fn top(&self, name: &str, arguments: &[String]) -> Outcome<Top> {
        let record = self.find(name)?;
        if !self.engine().containers().shims.is_alive(&record.id) {
            return Err(Failure::conflict(format!("Container {} is not running", record.id)));
        }
        let lines = self.engine().top(&record, arguments).map_err(|error| match error {
            // What ps has said itself.
            Error::Invalid { why, .. } if why.starts_with("error: ") => {
                Failure::internal(format!("ps: {why}"))
            }
            Error::Invalid { why, .. } => Failure::internal(why),
            other => other.into(),
        })?;
        let mut lines = lines.iter();
        let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let titles = lines.next().map(words).unwrap_or_default();
        let rows = lines.map(|line| {
            // The last column is the command, with spaces in it.
            let mut cells = words(line);
            if cells.len() > titles.len() && !titles.is_empty() {
                let rest = cells.split_off(titles.len() - 1).join(" ");
                cells.push(rest);
            }
            cells
        });
        Ok(Top { processes: rows.collect(), titles })
    }

    fn changes(&self, name: &str) -> Outcome<Vec<(String, u8)>> {
        let id = self.find(name)?.id;
        let changes = self.engine().changes(&id)?;
        let shown = |(kind, path): (crate::engine::changes::Changed, std::path::PathBuf)| {
            (path.to_string_lossy().into_owned(), kind.number())
        };
        Ok(changes.into_iter().map(shown).collect())
    }

    fn resize(&self, name: &str, rows: u16, columns: u16) -> Outcome<()> {
        // Without a terminal there is nothing to be done, and nothing wrong.
        match self.find(name)?.config.tty {
            true => self.tell(name, Operation::Resize { rows, columns, exec: None }),
            false => self.running(name).map(drop),
        }
    }

    fn stat_path(&self, name: &str, path: &str) -> Outcome<Value> {
        let files = self.engine().files(name, Scope::Whole)?;
        Ok(json!(files.stat(Path::new(path))?))
    }

    fn read_path(&self, name: &str, path: &str) -> Outcome<(Value, Download)> {
        let files = self.engine().files(name, Scope::Whole)?;
        let part = files.part(Path::new(path))?;
        let stat = json!(part.stat);
        let write = move |to: &mut dyn std::io::Write| {
            let written = part.write(to);
            // The mounts are there until here.
            drop(files);
            Ok(written?)
        };
        Ok((stat, Box::new(write)))
    }

    fn write_path(&self, name: &str, wanted: &Unpack, archive: Upload<'_>) -> Outcome<()> {
        let files = self.engine().files(name, Scope::Whole)?;
        let mut how = Extract { keep_kinds: wanted.no_overwrite, ..Extract::default() };
        // Without a user of the container's, files belong to whom the archive says.
        if wanted.copy_owners && !files.record.config.user.is_empty() {
            let user = Accounts::read(files.root())?.resolve(&files.record.config.user)?.user;
            how.owner = Some((user.uid, user.gid));
        }
        files.extract(Path::new(&wanted.path), archive, &how)?;
        Ok(())
    }

    fn export(&self, name: &str) -> Outcome<Download> {
        let (api, id) = (self.clone(), self.find(name)?.id);
        Ok(Box::new(move |to| Ok(api.engine().export(&id, to)?)))
    }

    fn attach(&self, name: &str, wanted: &Attach) -> Outcome<Attached> {
        self.attach_to(name, wanted)
    }

    fn logs(&self, name: &str, wanted: &LogsWanted) -> Outcome<Logs> {
        self.logs_of(name, wanted)
    }

    fn wait(&self, name: &str, condition: Condition) -> Outcome<oneshot::Receiver<Exit>> {
        self.wait_for(name, condition)
    }

    fn stats(&self, name: &str, stream: bool, one_shot: bool) -> Outcome<Stats> {
        self.stats_of(name, stream, one_shot)
    }
}
