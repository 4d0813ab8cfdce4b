//! `run` and `explain`.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use corten_cgroups::error::Context;
use corten_cgroups::launch::{self, Exit, Running};
use corten_cgroups::plan::Step;
use corten_cgroups::{
    Cgroup, Hierarchy, OomEvent, OomEvents, Owner, Placement, Plan, Result, bpf::Program,
};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::limit::LimitArgs;
use super::show;

/// Where the group is and who owns it.
#[derive(Debug, Args)]
struct GroupArgs {
    /// The group; without it, one of a new name below the caller's own.
    #[arg(short, long, value_name = "GROUP")]
    name: Option<PathBuf>,
    /// Give the group to a user, who may then make groups in it (v2).
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    delegate: Option<Owner>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// Print what was used when the command has ended.
    #[arg(long)]
    stat: bool,
    /// Leave the group, with whatever still runs in it.
    #[arg(long)]
    keep: bool,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// Print the eBPF program that v2 would be given for the device rules, too.
    #[arg(long)]
    program: bool,
    /// The command: not used, so that `run` can be replaced by `explain`.
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    _command: Vec<String>,
}

fn owner(text: &str) -> std::result::Result<Owner, String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok(Owner { uid, gid }),
        _ => Err("is not UID:GID, in numbers".into()),
    }
}

impl GroupArgs {
    fn plan(self) -> Result<Plan> {
        let name = format!("corten-{}", std::process::id());
        let placement = Placement::parse(self.name.as_deref(), &name)?;
        let limits = self.limits.limits()?;
        let plan = Plan::create(&Hierarchy::detect()?, &placement, &limits)?;
        match self.delegate {
            Some(owner) => plan.delegate(owner),
            None => Ok(plan),
        }
    }
}

impl ExplainArgs {
    /// Prints the plan.
    pub fn explain(self) -> Result<u8> {
        let program = self.program;
        let plan = self.group.plan()?;
        print!("{plan}");
        let rules = plan.steps.iter().find_map(|step| match step {
            Step::DeviceProgram(_, rules) => Some(rules),
            _ => None,
        });
        if let Some(rules) = rules.filter(|_| program) {
            print!("\n{}", Program::new(rules));
        }
        Ok(0)
    }
}

impl RunArgs {
    /// Runs the command in its group and gives its exit status.
    pub fn run(self) -> Result<u8> {
        // Before anything is made, so that none of them can end us with a group left behind.
        let signals = Signals::block()?;
        let plan = self.group.plan()?;
        for ignored in &plan.ignored {
            eprintln!("corten-cgroups: {}: has no effect: {}", ignored.limit, ignored.why);
        }
        let group = Made { cgroup: plan.execute()?, keep: self.keep };
        let mut events = group.cgroup.oom_events().ok();
        let running = launch::start(&group.cgroup, &self.command)?;
        let (exit, killed) = wait(&running, &signals, events.as_mut())?;
        if killed > 0 {
            let name = plan.targets.first().and_then(|target| target.path.file_name());
            let name = Path::new(name.unwrap_or_default()).display();
            eprintln!("corten-cgroups: {name}: out of memory, {killed} killed");
        }
        if self.stat {
            eprint!("{}", show::stats(&group.cgroup.stats()?));
        }
        Ok(exit.status())
    }
}

/// The group of a run, which is emptied and removed on every way out.
struct Made {
    cgroup: Cgroup,
    keep: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        let gone = self.cgroup.kill().and_then(|()| self.cgroup.remove(Duration::from_secs(10)));
        if let Err(error) = gone {
            eprintln!("corten-cgroups: {error}");
        }
    }
}

/// The signals that ask us to end, as a descriptor.
struct Signals(SignalFd);

impl Signals {
    fn block() -> Result<Signals> {
        let set: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM]
            .into_iter()
            .collect();
        set.thread_block().during("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).during("make a signalfd").map(Signals)
    }

    /// The signal that came. One from the keyboard has come to the command as well.
    fn next(&self) -> Option<i32> {
        let signal = self.0.read_signal().ok()??;
        let from_the_kernel = signal.ssi_code == libc::SI_KERNEL;
        (!from_the_kernel).then(|| i32::try_from(signal.ssi_signo).unwrap_or(libc::SIGTERM))
    }
}

// ANCHOR: wait
/// Waits for the end of the command, passes signals on, and counts OOM kills.
fn wait(
    running: &Running,
    signals: &Signals,
    mut events: Option<&mut OomEvents>,
) -> Result<(Exit, u64)> {
    let mut killed = 0;
    loop {
        let mut fds = vec![
            PollFd::new(running.pidfd(), PollFlags::POLLIN),
            PollFd::new(signals.0.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(events.as_ref().map(|events| PollFd::new(events.as_fd(), events.interest())));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.during("wait for the command")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready[1]
            && let Some(signal) = signals.next()
        {
            // ESRCH: it has just ended.
            let _ = corten_namespaces::sys::pidfd_send_signal(running.pidfd(), signal);
        }
        // Also when the command has ended: the kernel counts the kill before the victim is gone.
        if let Some(events) = events.as_deref_mut()
            && let OomEvent::Killed(new) = events.take()?
        {
            killed += new;
        }
        if ready[0] {
            return Ok((running.wait()?, killed));
        }
    }
}
// ANCHOR_END: wait
