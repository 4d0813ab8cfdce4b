//! Execs: made, started, waited for. They are kept in memory, as dockerd's are.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use corten_daemon::backend::{Exec, ExecStart, ExecStarted};
use corten_daemon::{Failure, Outcome};
use corten_supervisor::client::Client;
use corten_supervisor::protocol::{self, Operation, Outcome as Answer};
use corten_supervisor::record::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use super::watch::Watched;
use super::{Api, locked};
use crate::engine::Error;
use crate::engine::exec::Request;
use crate::engine::options::null::tolerant;
use crate::engine::state::new_id;

/// How long one that has ended is remembered.
const KEPT: Duration = Duration::from_secs(300);

/// How long the size of a terminal waits for its exec to run.
const STARTING: Duration = Duration::from_secs(5);

/// The status of one that cannot be run.
const CANNOT_INVOKE: u8 = 126;

/// All execs, by their ids.
#[derive(Debug, Default)]
pub(super) struct Execs(Mutex<HashMap<String, Kept>>);

/// How far one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Made,
    Starting,
    /// The supervisor's number for it, and its process.
    Running(u32, i32),
    /// Its status, and when.
    Ended(u8, Instant),
}

#[derive(Debug)]
struct Kept {
    container: String,
    wanted: Wanted,
    stage: watch::Sender<Stage>,
}

/// The body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wanted {
    #[serde(deserialize_with = "tolerant")]
    user: String,
    #[serde(deserialize_with = "tolerant")]
    privileged: bool,
    #[serde(deserialize_with = "tolerant")]
    tty: bool,
    #[serde(deserialize_with = "tolerant")]
    attach_stdin: bool,
    #[serde(deserialize_with = "tolerant")]
    attach_stdout: bool,
    #[serde(deserialize_with = "tolerant")]
    attach_stderr: bool,
    #[serde(deserialize_with = "tolerant")]
    detach_keys: String,
    #[serde(deserialize_with = "tolerant")]
    env: Vec<String>,
    #[serde(deserialize_with = "tolerant")]
    working_dir: String,
    #[serde(deserialize_with = "tolerant")]
    cmd: Vec<String>,
}

impl Wanted {
    fn request(&self) -> Request {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Request {
            command: self.cmd.clone(),
            env: self.env.clone(),
            cwd: some(&self.working_dir),
            user: some(&self.user),
            terminal: self.tty,
            privileged: self.privileged,
        }
    }
}

fn missing(id: &str) -> Failure {
    Failure::missing(format!("No such exec instance: {id}"))
}

impl Api {
    /// Those of a container that have not ended.
    pub(super) fn exec_ids(&self, container: &str) -> Vec<String> {
        let execs = locked(&self.0.execs.0);
        let own = execs.iter().filter(|(_, exec)| {
            exec.container == container && !matches!(*exec.stage.borrow(), Stage::Ended(..))
        });
        own.map(|(id, _)| id.clone()).collect()
    }

    /// A container has ended: none of its execs runs.
    pub(super) fn forget_execs_of(&self, container: &str) {
        let execs = locked(&self.0.execs.0);
        for exec in execs.values().filter(|exec| exec.container == container) {
            exec.stage.send_if_modified(|stage| {
                let lives = matches!(stage, Stage::Running(..) | Stage::Starting);
                if lives {
                    *stage = Stage::Ended(137, Instant::now());
                }
                lives
            });
        }
    }

    /// A container that runs, and is not frozen.
    fn ready(&self, name: &str) -> Outcome<String> {
        let (record, mut client) = self.running(name)?;
        let phase = client.status().map_err(Error::from)?.phase;
        match phase {
            Phase::Paused => Err(Failure::conflict(format!(
                "Container {name} is paused, unpause the container before exec"
            ))),
            Phase::Restarting => Err(Failure::conflict(format!(
                "Container {} is restarting, wait until the container is running",
                record.id
            ))),
            _ => Ok(record.id),
        }
    }

    fn exec_of<T>(&self, id: &str, look: impl FnOnce(&Kept) -> T) -> Outcome<T> {
        let execs = locked(&self.0.execs.0);
        execs.get(id).map(look).ok_or_else(|| missing(id))
    }

    /// Waits for its end.
    fn watch_exec(&self, id: String, client: Client, number: u32, over: oneshot::Sender<()>) {
        let api = self.clone();
        self.0.runtime.spawn(async move {
            let mut client = client;
            let status = match client.ask(Operation::WaitExec { exec: number }) {
                Ok(asked) => match Watched::new(client) {
                    Ok(mut watched) => match watched.answer(asked).await {
                        Some(Answer::ExecStatus(status)) => status,
                        _ => 137,
                    },
                    Err(_) => 137,
                },
                Err(_) => 137,
            };
            let ended = Stage::Ended(status, Instant::now());
            let _ = api.exec_of(&id, |exec| exec.stage.send_replace(ended));
            let _ = over.send(());
        });
    }
}

impl Exec for Api {
    fn create_exec(&self, container: &str, body: &Value) -> Outcome<String> {
        let wanted: Wanted = match body {
            Value::Null => Wanted::default(),
            body => super::create::read(body.clone())?,
        };
        let container = self.ready(container)?;
        if wanted.cmd.is_empty() {
            return Err(Failure::invalid("No exec command specified"));
        }
        if !wanted.detach_keys.is_empty() {
            corten_supervisor::detach::parse(&wanted.detach_keys)
                .map_err(|why| Failure::invalid(why.to_string()))?;
        }
        let id = new_id()?;
        let mut execs = locked(&self.0.execs.0);
        execs.retain(|_, exec| match *exec.stage.borrow() {
            Stage::Ended(_, when) => when.elapsed() < KEPT,
            _ => true,
        });
        let command = wanted.cmd.join(" ");
        execs.insert(
            id.clone(),
            Kept { container: container.clone(), wanted, stage: watch::Sender::new(Stage::Made) },
        );
        drop(execs);
        let record = self.find(&container)?;
        let action = format!("exec_create: {command}");
        self.engine().containers().note(&record, &action, &[("execID", id.clone())]);
        Ok(id)
    }

    fn check_exec(&self, id: &str, _: &ExecStart) -> Outcome<bool> {
        let (container, tty, stage) = self
            .exec_of(id, |exec| (exec.container.clone(), exec.wanted.tty, *exec.stage.borrow()))?;
        match stage {
            Stage::Made => {}
            Stage::Starting | Stage::Running(..) => {
                return Err(Failure::conflict(format!(
                    "Error: Exec command {id} is already running"
                )));
            }
            Stage::Ended(..) => {
                return Err(Failure::conflict(format!("Error: Exec command {id} has already run")));
            }
        }
        self.ready(&container)?;
        Ok(tty)
    }

    fn start_exec(&self, id: &str, start: &ExecStart) -> Outcome<ExecStarted> {
        let taken = self.exec_of(id, |exec| {
            let first = exec.stage.send_if_modified(|stage| {
                let first = *stage == Stage::Made;
                if first {
                    *stage = Stage::Starting;
                }
                first
            });
            first.then(|| (exec.container.clone(), exec.wanted.clone()))
        })?;
        let Some((container, wanted)) = taken else {
            return Err(Failure::conflict(format!("Error: Exec command {id} is already running")));
        };
        match self.run_exec(&container, &wanted, start) {
            Ok((client, (number, pid, streams))) => {
                let _ =
                    self.exec_of(id, |exec| exec.stage.send_replace(Stage::Running(number, pid)));
                let (over, ended) = oneshot::channel();
                self.watch_exec(id.to_owned(), client, number, over);
                Ok(ExecStarted { streams, ended: Some(ended) })
            }
            Err(failure) => {
                let ended = Stage::Ended(CANNOT_INVOKE, Instant::now());
                let _ = self.exec_of(id, |exec| exec.stage.send_replace(ended));
                Err(failure)
            }
        }
    }

    fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Outcome<()> {
        let (container, mut stage) =
            self.exec_of(id, |exec| (exec.container.clone(), exec.stage.subscribe()))?;
        // Docker's client asks for it as soon as it has asked for the start.
        let runs = self.0.runtime.block_on(async {
            let runs = stage.wait_for(|stage| !matches!(stage, Stage::Made | Stage::Starting));
            tokio::time::timeout(STARTING, runs).await.ok()?.ok().map(|stage| *stage)
        });
        match runs {
            Some(Stage::Running(number, _)) => {
                let (_, mut client) = self.running(&container)?;
                let size = Operation::Resize { rows, columns, exec: Some(number) };
                // One that has ended this very moment has no terminal any more.
                let _ = client.perform(size);
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(Failure::internal("timeout waiting for exec session ready")),
        }
    }

    fn inspect_exec(&self, id: &str) -> Outcome<Value> {
        self.exec_of(id, |exec| {
            let (stage, wanted) = (*exec.stage.borrow(), &exec.wanted);
            let (running, code, pid) = match stage {
                Stage::Made => (false, Value::Null, 0),
                Stage::Starting => (true, Value::Null, 0),
                Stage::Running(_, pid) => (true, Value::Null, pid),
                Stage::Ended(status, _) => (false, json!(status), 0),
            };
            let (program, arguments) =
                wanted.cmd.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
            let mut process = json!({"tty": wanted.tty, "entrypoint": program,
                "arguments": arguments, "privileged": wanted.privileged});
            if !wanted.user.is_empty() {
                process["user"] = json!(wanted.user);
            }
            json!({
                "ID": id,
                "Running": running,
                "ExitCode": code,
                "ProcessConfig": process,
                "OpenStdin": wanted.attach_stdin,
                "OpenStderr": wanted.attach_stderr,
                "OpenStdout": wanted.attach_stdout,
                "CanRemove": !running && !code.is_null(),
                "ContainerID": exec.container,
                "DetachKeys": wanted.detach_keys,
                "Pid": pid,
            })
        })
    }
}

type Running = (Client, (u32, i32, Option<std::os::fd::OwnedFd>));

impl Api {
    /// Runs it.
    fn run_exec(&self, container: &str, wanted: &Wanted, start: &ExecStart) -> Outcome<Running> {
        // Whatever it was, dockerd gives 126 for it.
        let failed = |error: Error| match &error {
            Error::Supervisor(corten_supervisor::Error::Refused(failure)) => {
                let why = super::failure::unstartable(
                    &failure.message,
                    failure.status.unwrap_or(CANNOT_INVOKE),
                );
                Failure::invalid(format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: {why}: \
                     unknown"
                ))
            }
            _ => Failure::from(error),
        };
        let request = wanted.request();
        let (mut process, mut client) =
            self.engine().exec_process(container, &request).map_err(failed)?;
        if let (true, Some([rows, columns])) = (wanted.tty, start.console_size)
            && rows > 0
        {
            process["consoleSize"] = json!({"height": rows, "width": columns});
        }
        let keys = match wanted.detach_keys.as_str() {
            "" if wanted.tty => corten_supervisor::detach::DEFAULT.to_vec(),
            "" => Vec::new(),
            text => corten_supervisor::detach::parse(text).unwrap_or_default(),
        };
        let attach = (!start.detach).then(|| protocol::Attach {
            stdin: wanted.attach_stdin,
            stdout: wanted.attach_stdout || wanted.tty,
            stderr: wanted.attach_stderr,
            wait: true,
            detach_keys: if wanted.attach_stdin { keys } else { Vec::new() },
        });
        let exec = protocol::Exec { process, attach, detach: false };
        let running = client.exec(exec).map_err(|error| failed(error.into()))?;
        Ok((client, running))
    }
}
