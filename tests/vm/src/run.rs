//! One life of a VM, from the start of QEMU to its end.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::accel;
use crate::builder::{Ended, Outcome, PANIC, PowerCut, VmBuilder};
use crate::error::{Context, Error, Result};
use crate::image;
use crate::job::{Input, JobList, JobResult};
use crate::mark::{JobStatus, Mark, MarkReader, Piece};
use crate::qemu::{self, Accel, Machine};
use crate::terminal;

/// The guest kills a job at its limit; if that has not worked so much later, the VM goes.
const GRACE: Duration = Duration::from_secs(15);

/// So long the guest has for powering off once all jobs are done.
const POWER_OFF: Duration = Duration::from_secs(10);

/// So much of a job's output and of the console is kept.
const KEPT_OUTPUT: usize = 8 << 20;
const KEPT_CONSOLE: usize = 64 << 10;

/// What happens in a VM, as it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// The VM ended so before the guest was set up, and is booted again.
    BootsAgain(&'a Outcome),
    /// The guest is set up.
    Booted,
    /// The job with this index begins.
    Started(usize),
    /// A job has written something. Before the first job, and after the last, the index is `None`.
    Output(Option<usize>, &'a [u8]),
    /// The job with this index has ended.
    Finished(usize, &'a JobResult),
}

enum Message {
    Stream(Vec<u8>),
    Console(Vec<u8>),
}

/// What is known of the running VM.
struct Watch<'a> {
    observer: &'a mut dyn FnMut(Event<'_>),
    vm: &'a VmBuilder,
    marks: MarkReader,
    outcome: Outcome,
    started: Instant,
    current: Option<(usize, Instant)>,
    /// The end of the output, as long as the text that cuts the power.
    recent: Vec<u8>,
    /// Where the VM is to be killed: what for, and when.
    doom: (Ended, Instant),
    done: bool,
}

/// How often an emulator is started that ends before the guest is set up.
const BOOTS: u32 = 3;

/// Boots again where the guest did not get so far that anything of ours has run. On a loaded host 2 boots of
/// 160 of Linux 6.12 died under QEMU 7.2 with a thread for each processor. One found its timer late, which is
/// not looked at any more; the other died of a trap that its own patching of jump labels had set and taken away
/// ("Oops: int3"), as if the translator had kept what another processor had overwritten. What the emulator has
/// read of this process's input is gone, so a VM that has it is not booted again.
pub(crate) fn run(vm: &VmBuilder, observer: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    let boots = if vm.wants(Input::Host) || vm.wants(Input::Terminal) { 1 } else { BOOTS };
    for _ in 1..boots {
        match run_once(vm, observer) {
            Err(Error::Died(outcome)) if outcome.died_in_boot() => {
                observer(Event::BootsAgain(&outcome));
            }
            other => return other,
        }
    }
    run_once(vm, observer)
}

fn run_once(vm: &VmBuilder, observer: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    let accel = match vm.accel {
        Some(accel) => accel,
        None => accel::best()?,
    };
    let kernel = vm.kernel.fetch()?;
    let nonce = nonce()?;
    let list = JobList {
        nonce: &nonce,
        cgroup: &vm.cgroup.to_string(),
        address: vm.network.as_ref().map(|(_, address)| address.as_str()),
        size: terminal::size(),
        scratch: vm.scratch.is_some(),
        jobs: &vm.jobs,
    };
    let initramfs = qemu::nameless_file(&image::initramfs(&kernel, &list.to_shell()?)?)?;
    let (jobs, jobs_theirs) = qemu::channel()?;
    let stdin = vm.wants(Input::Host).then(qemu::channel).transpose()?;
    let terminal = vm.wants(Input::Terminal).then(qemu::channel).transpose()?;
    let network = vm.network.as_ref().map(|(network, _)| network.connect()).transpose()?;
    let fd = |fd: &OwnedFd| fd.as_raw_fd();
    let machine = Machine {
        program: vm.emulator.clone().unwrap_or_else(|| qemu::program().into()),
        accel,
        memory_mib: vm.memory_mib,
        cpus: vm.cpus,
        root: vm.image.build(&kernel)?,
        kernel: kernel.image,
        initramfs: fd(&initramfs),
        scratch: vm.scratch.clone(),
        jobs: fd(&jobs_theirs),
        stdin: stdin.as_ref().map(|(_, theirs)| fd(theirs)),
        terminal: terminal.as_ref().map(|(_, theirs)| fd(theirs)),
        network: network.as_ref().map(|(theirs, number)| (fd(theirs), *number)),
    };
    let mut inherited = vec![&initramfs, &jobs_theirs];
    inherited.extend(stdin.iter().chain(&terminal).map(|(_, theirs)| theirs));
    inherited.extend(network.iter().map(|(theirs, _)| theirs));
    let mut watch = Watch::new(vm, observer, &nonce, accel);
    let mut qemu = Killed(machine.start(&inherited)?);
    drop((jobs_theirs, network));
    let stdin = stdin.map(|(ours, _)| ours);
    let terminal = terminal.map(|(ours, _)| ours);

    let messages = read_all(&mut qemu.0, &jobs)?;
    let raw = terminal::connect(stdin, terminal)?;
    let ended = watch.until_the_end(&messages, &jobs);
    if ended.is_none() {
        watch.outcome.emulator = qemu.ended();
    }
    drop(qemu);
    drop(raw);
    watch.close(ended, &messages)
}

impl VmBuilder {
    fn wants(&self, input: Input) -> bool {
        self.jobs.iter().any(|job| job.input == input)
    }
}

impl<'a> Watch<'a> {
    fn new(
        vm: &'a VmBuilder,
        observer: &'a mut dyn FnMut(Event<'_>),
        nonce: &str,
        accel: Accel,
    ) -> Self {
        let nothing =
            JobResult { status: JobStatus::NotRun, output: Vec::new(), time: Duration::ZERO };
        let outcome = Outcome {
            jobs: vec![nothing; vm.jobs.len()],
            ended: Ended::Lost,
            release: None,
            boot_guest: None,
            boot_wall: None,
            wall: Duration::ZERO,
            accel,
            emulator: None,
            console: String::new(),
        };
        let started = Instant::now();
        Watch {
            observer,
            vm,
            marks: MarkReader::new(nonce),
            outcome,
            started,
            current: None,
            recent: Vec::new(),
            doom: (Ended::Limit, started + vm.limit),
            done: false,
        }
    }

    /// Follows the VM until QEMU has closed its ends, or must be killed: then for what reason.
    fn until_the_end(&mut self, messages: &Receiver<Message>, jobs: &UnixStream) -> Option<Ended> {
        loop {
            let (reason, deadline) = self.next_deadline();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(reason);
            }
            match messages.recv_timeout(left) {
                Ok(message) => {
                    if let Some(reason) = self.take(message, jobs) {
                        return Some(reason);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Some(reason),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn next_deadline(&self) -> (Ended, Instant) {
        let (reason, mut deadline) = self.doom;
        if let Some((index, since)) = self.current {
            let limit = since + self.vm.jobs[index].limit + GRACE;
            if limit < deadline {
                deadline = limit;
                return (Ended::Limit, deadline);
            }
        }
        (reason, deadline)
    }

    fn take(&mut self, message: Message, jobs: &UnixStream) -> Option<Ended> {
        let bytes = match message {
            Message::Console(bytes) => {
                self.outcome.console.push_str(&String::from_utf8_lossy(&bytes));
                keep_end(&mut self.outcome.console);
                return None;
            }
            Message::Stream(bytes) => bytes,
        };
        for piece in self.marks.push(&bytes) {
            match piece {
                Piece::Output(bytes) => {
                    if self.output(&bytes) {
                        return Some(Ended::PowerCut);
                    }
                }
                Piece::Mark(mark) => self.mark(mark, jobs),
            }
        }
        None
    }

    /// Passes output on; whether it is the moment to cut the power.
    fn output(&mut self, bytes: &[u8]) -> bool {
        let index = self.current.map(|(index, _)| index);
        (self.observer)(Event::Output(index, bytes));
        if let Some(index) = index {
            let output = &mut self.outcome.jobs[index].output;
            output.extend_from_slice(bytes);
            let excess = output.len().saturating_sub(KEPT_OUTPUT);
            output.drain(..excess);
        }
        let Some(PowerCut::AfterOutput(text)) = &self.vm.power_cut else { return false };
        self.recent.extend_from_slice(bytes);
        let hit = self.recent.windows(text.len().max(1)).any(|part| part == text.as_bytes());
        let excess = self.recent.len().saturating_sub(text.len());
        self.recent.drain(..excess);
        hit
    }

    fn mark(&mut self, mark: Mark, mut jobs: &UnixStream) {
        let now = Instant::now();
        match mark {
            Mark::Boot { uptime, release } => {
                self.outcome.boot_wall = Some(now - self.started);
                self.outcome.boot_guest = Duration::try_from_secs_f64(uptime).ok();
                self.outcome.release = Some(release);
                if let Some(PowerCut::After(delay)) = self.vm.power_cut {
                    self.doom = (Ended::PowerCut, now + delay);
                }
                (self.observer)(Event::Booted);
            }
            Mark::Start(index) if index < self.outcome.jobs.len() => {
                self.outcome.jobs[index].status = JobStatus::Lost;
                self.current = Some((index, now));
                (self.observer)(Event::Started(index));
            }
            Mark::End(index, status) if self.current.is_some_and(|(i, _)| i == index) => {
                self.finish_job(status);
            }
            Mark::Done => {
                self.done = true;
                self.doom = (Ended::PowerOff, now + POWER_OFF);
                // The guest waits for this line; if it is gone already, that is as good.
                let _ = jobs.write_all(b"all read\n");
            }
            // A guest that contradicts itself is not believed.
            Mark::Start(_) | Mark::End(..) => {}
        }
    }

    fn finish_job(&mut self, status: JobStatus) {
        if let Some((index, since)) = self.current.take() {
            let job = &mut self.outcome.jobs[index];
            job.status = status;
            job.time = since.elapsed();
            (self.observer)(Event::Finished(index, job));
        }
    }

    /// QEMU is gone: reads what it has left and says how it ended.
    fn close(mut self, ended: Option<Ended>, messages: &Receiver<Message>) -> Result<Outcome> {
        for message in messages {
            if let Message::Console(bytes) = message {
                self.outcome.console.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        let rest = self.marks.finish();
        if !rest.is_empty() {
            self.output(&rest);
        }
        self.finish_job(JobStatus::Lost);
        self.outcome.wall = self.started.elapsed();
        let panicked = self.outcome.console.contains(PANIC);
        self.outcome.ended = match ended {
            _ if self.done => Ended::PowerOff,
            Some(reason) => reason,
            None if panicked => Ended::Panic,
            None => Ended::Lost,
        };
        let asked_to_cut = self.vm.power_cut.is_some();
        match self.outcome.ended {
            Ended::PowerOff if !asked_to_cut => Ok(self.outcome),
            Ended::PowerCut => Ok(self.outcome),
            _ => Err(Error::Died(Box::new(self.outcome))),
        }
    }
}

/// Reads everything that comes from QEMU, in threads that end when QEMU does.
fn read_all(qemu: &mut Child, jobs: &UnixStream) -> Result<Receiver<Message>> {
    let (sender, receiver) = channel();
    let stream = jobs.try_clone().on("duplicate", "a socket")?;
    pump(stream, sender.clone(), Message::Stream);
    if let Some(console) = qemu.stdout.take() {
        pump(console, sender.clone(), Message::Console);
    }
    if let Some(messages) = qemu.stderr.take() {
        pump(messages, sender, Message::Console);
    }
    Ok(receiver)
}

fn pump(mut from: impl Read + Send + 'static, to: Sender<Message>, as_a: fn(Vec<u8>) -> Message) {
    thread::spawn(move || {
        let mut block = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut block) {
            if to.send(as_a(block[..length].to_vec())).is_err() {
                return;
            }
        }
    });
}

fn keep_end(text: &mut String) {
    let mut excess = text.len().saturating_sub(KEPT_CONSOLE);
    while !text.is_char_boundary(excess) {
        excess += 1;
    }
    text.drain(..excess);
}

/// 128 bits from the kernel, in hexadecimal.
fn nonce() -> Result<String> {
    let path = "/dev/urandom";
    let mut bytes = [0; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).on("read", path)?;
    Ok(crate::cache::hex(&bytes))
}

/// A process that is killed and waited for when this value goes, on every path.
struct Killed(Child);

impl Killed {
    /// How it ended by itself. It has closed all that it had, so that does not take long.
    fn ended(&mut self) -> Option<ExitStatus> {
        for _ in 0..100 {
            if let Some(status) = self.0.try_wait().ok()? {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only where the process has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
