//! The same commands for a daemon's containers.

use std::os::fd::OwnedFd;

use corten_daemon::backend::{Backend, Condition, ExecStart, LogsWanted};
use corten_supervisor::detach;
use corten_supervisor::front::Front;
use corten_supervisor::reader;
use serde_json::{Value, json};

use super::{
    AttachArgs, ExecArgs, KillArgs, LogsArgs, Many, Proxy, RenameArgs, StartArgs, StopArgs, each,
    print,
};
use crate::cli::making::Streams;
use crate::cli::remote::{self, accompany, attach, exec_status, follow};
use crate::cli::{Error, Result};

impl Many {
    pub(in crate::cli) fn remote_wait(&self, engine: &dyn Backend, debug: bool) -> u8 {
        each(&self.containers, debug, |container| {
            let end = engine.wait(container, Condition::NotRunning)?;
            let lost = |_| Error::refused("the daemon has gone");
            print(&format!("{}\n", end.blocking_recv().map_err(lost)?.status))
        })
    }
}

impl StartArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        if !self.attach && !self.interactive {
            return Ok(self.many.each(debug, |name| Ok(engine.start(name).map(drop)?)));
        }
        let [name] = &self.many.containers[..] else {
            return Err(Error::invalid("start -a", "takes one container at a time"));
        };
        let own = engine.inspect(name, false)?;
        if own["State"]["Running"] == json!(true) {
            return Err(Error::invalid(name, "is running: use `corten attach`"));
        }
        let id = remote::text(&own, "Id");
        let stand = Stand::new(&own, self.interactive, &self.detach_keys, &self.proxy)?;
        let streams = stand.attach(engine, id)?;
        let removed = own["HostConfig"]["AutoRemove"] == json!(true);
        let condition = if removed { Condition::Removed } else { Condition::NextExit };
        let end = engine.wait(id, condition)?;
        engine.start(id)?;
        Ok(accompany(engine, id, &stand.front, streams, end)?.unwrap_or(0))
    }
}

/// Where a person stands before a container that is there.
struct Stand<'a> {
    front: Front,
    stdin: bool,
    keys: Option<&'a str>,
}

impl<'a> Stand<'a> {
    /// Before the container that `own` tells of; its input only where that is wanted, and open.
    fn new(own: &Value, wants_stdin: bool, keys: &'a str, proxy: &Proxy) -> Result<Stand<'a>> {
        let is = |name: &str| own["Config"][name] == json!(true);
        let (tty, stdin) = (is("Tty"), wants_stdin && is("OpenStdin"));
        let front = front(tty, stdin, keys)?.passing_signals(proxy.passes());
        Ok(Stand { front, stdin, keys: tty.then_some(keys) })
    }

    fn attach(&self, engine: &dyn Backend, id: &str) -> Result<OwnedFd> {
        attach(engine, id, Streams::to_all(self.stdin), self.keys)
    }
}

/// A person before a container, who leaves it by `keys` where she has its terminal.
pub(in crate::cli) fn front(tty: bool, stdin: bool, keys: &str) -> Result<Front> {
    let keys = if tty && stdin { detach::parse(keys)? } else { Vec::new() };
    Ok(Front::new(tty, stdin)?.leaving_by(keys))
}

impl StopArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend, debug: bool, restart: bool) -> u8 {
        let signal = self.signal.as_deref();
        self.many.each(debug, |name| {
            match restart {
                true => engine.restart(name, signal, self.timeout)?,
                false => drop(engine.stop(name, signal, self.timeout)?),
            }
            Ok(())
        })
    }
}

impl KillArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend, debug: bool) -> u8 {
        self.many.each(debug, |name| Ok(engine.kill(name, Some(&self.signal))?))
    }
}

impl RenameArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        Ok(engine.rename(&self.container, &self.name)?)
    }
}

impl AttachArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<u8> {
        let own = engine.inspect(&self.container, false)?;
        let (id, state) = (remote::text(&own, "Id"), &own["State"]);
        if state["Running"] != json!(true) {
            return Err(Error::refused("You cannot attach to a stopped container, start it first"));
        }
        if state["Paused"] == json!(true) {
            return Err(Error::refused(
                "You cannot attach to a paused container, unpause it first",
            ));
        }
        let stand = Stand::new(&own, !self.no_stdin, &self.detach_keys, &self.proxy)?;
        let end = engine.wait(id, Condition::NotRunning)?;
        let streams = stand.attach(engine, id)?;
        Ok(accompany(engine, id, &stand.front, streams, end)?.unwrap_or(0))
    }
}

impl ExecArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<u8> {
        self.check()?;
        let attached = !self.detach;
        let body = json!({
            "AttachStdin": attached && self.interactive,
            "AttachStdout": attached,
            "AttachStderr": attached,
            "Tty": self.tty,
            "Cmd": self.command,
            "Env": self.variables()?,
            "DetachKeys": self.detach_keys,
            "WorkingDir": self.workdir.clone().unwrap_or_default(),
            "User": self.user.clone().unwrap_or_default(),
            "Privileged": self.privileged,
        });
        let exec = engine.create_exec(&self.container, &body)?;
        let wanted = ExecStart { detach: self.detach, tty: self.tty, console_size: None };
        let front = front(self.tty, self.interactive, &self.detach_keys)?.of_exec(0);
        let Some(streams) = engine.start_exec(&exec, &wanted)?.streams else { return Ok(0) };
        exec_status(engine, &self.container, &exec, &front, streams)
    }
}

impl LogsArgs {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let now = corten_supervisor::record::now();
        let moment = |text: &Option<String>| {
            let moment = text.as_deref().map(|text| reader::moment(text, now)).transpose();
            moment.map(|time| time.map(remote::timestamp))
        };
        let logs = engine.logs(
            &self.container,
            &LogsWanted {
                follow: self.follow,
                stdout: true,
                stderr: true,
                since: moment(&self.since)?,
                until: moment(&self.until)?,
                timestamps: self.timestamps,
                details: self.details,
                tail: self.tail()?,
            },
        )?;
        follow(logs.tty, logs.feed)
    }
}
