//! `corten-vm`: boots the lab VM from the command line.
#![deny(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use corten_vm::{
    Cgroup, Error, Input, Job, JobStatus, Kernel, TestBinary, TestOutcome, TestResult, Vm,
    VmBuilder,
};

/// Boots a real Linux kernel in QEMU and runs things in it as root. Nothing that happens in it can
/// harm this machine.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetches the kernels that are not in the cache yet
    Kernels,
    /// Gives a prompt in the VM; `exit` powers it off. Reads commands from a pipe too
    Shell {
        #[command(flatten)]
        machine: MachineArgs,
    },
    /// Runs one command in the VM and exits with its status
    Exec {
        #[command(flatten)]
        machine: MachineArgs,
        /// With the programs of this machine that `shell` has, those that are installed
        #[arg(long)]
        usual_tools: bool,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Runs the T1 and T2 tests of Rust test binaries in the VM
    Test {
        #[command(flatten)]
        machine: MachineArgs,
        /// Only tests whose name holds this
        #[arg(long, default_value = "")]
        filter: String,
        /// Test binaries, as `cargo test --no-run` names them
        #[arg(required = true)]
        binaries: Vec<PathBuf>,
    },
    /// Says what is missing on this machine and how to get it
    Doctor,
}

#[derive(Args)]
struct MachineArgs {
    /// 6.1, 6.12 or the directory of an unpacked kernel package
    #[arg(long, default_value = "6.1")]
    kernel: Kernel,
    /// v2, v1 or hybrid
    #[arg(long, default_value = "v2")]
    cgroup: Cgroup,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// A program built here, to have in the VM's PATH
    #[arg(long = "bin", value_name = "PATH")]
    bins: Vec<PathBuf>,
    /// An installed program of this machine, to have in the VM
    #[arg(long = "tool", value_name = "PATH")]
    tools: Vec<PathBuf>,
    /// A file or directory of this machine, to have in the VM
    #[arg(long = "file", value_name = "HOST:GUEST")]
    files: Vec<String>,
    /// Seconds that the command, or the VM, may take (shell: 8 hours)
    #[arg(long)]
    limit: Option<u64>,
}

impl MachineArgs {
    fn vm(self, default_limit: u64) -> Result<VmBuilder, Error> {
        let mut vm = Vm::builder()?
            .kernel(self.kernel)
            .cgroup(self.cgroup)
            .memory_mib(self.memory)
            .cpus(self.cpus)
            .limit(Duration::from_secs(self.limit.unwrap_or(default_limit)));
        for path in self.bins {
            vm = vm.binary(path)?;
        }
        for path in self.tools {
            vm = vm.tool(path)?;
        }
        for pair in self.files {
            let (host, guest) = pair.split_once(':').ok_or_else(|| Error::Invalid {
                what: format!("--file {pair}"),
                why: "write HOST:GUEST".to_owned(),
            })?;
            vm = vm.file(host, guest)?;
        }
        Ok(vm)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("corten-vm: {error}");
            // As docker and env: the tool itself has failed, not what it ran.
            ExitCode::from(125)
        }
    }
}

fn run(command: Command) -> Result<u8, Error> {
    match command {
        Command::Kernels => kernels(),
        Command::Shell { machine } => shell(machine),
        Command::Exec { mut machine, usual_tools, argv } => {
            let limit = machine.limit.take().unwrap_or(300);
            let job = Job::new(argv).limit(Duration::from_secs(limit));
            let job = if std::io::stdin().is_terminal() { job } else { job.input(Input::Host) };
            let vm = machine.vm(limit + 60)?;
            one_job(if usual_tools { vm.usual_tools()? } else { vm }.job(job))
        }
        Command::Test { machine, filter, binaries } => test(machine, &filter, binaries),
        Command::Doctor => Ok(doctor()),
    }
}

fn kernels() -> Result<u8, Error> {
    for kernel in Kernel::MATRIX {
        let files = kernel.fetch()?;
        println!("{kernel}: {} in {}", files.release, files.image.display());
    }
    Ok(0)
}

/// A shell's limit: a working day.
const DAY: u64 = 8 * 3600;

fn shell(machine: MachineArgs) -> Result<u8, Error> {
    let interactive = std::io::stdin().is_terminal();
    let vm = machine.vm(DAY)?.usual_tools()?;
    let job = if interactive {
        corten_vm::restore_terminal_on_signals()?;
        eprintln!(
            "corten-vm: booting; `exit` powers the VM off, /rootfs is a root to try things on"
        );
        Job::new([login_shell(), "-l"]).input(Input::Terminal)
    } else {
        Job::new([login_shell()]).input(Input::Host)
    };
    one_job(vm.job(job.limit(Duration::from_secs(DAY))))
}

/// Debian's busybox takes its own commands before those in PATH, so the shell is bash where this
/// machine has it.
fn login_shell() -> &'static str {
    const BASH: &str = "/usr/bin/bash";
    if std::path::Path::new(BASH).exists() { BASH } else { "sh" }
}

fn one_job(vm: VmBuilder) -> Result<u8, Error> {
    let outcome = vm.run(&mut std::io::stdout())?;
    match outcome.jobs.first().map(|job| job.status) {
        Some(JobStatus::Exited(status)) => Ok(status),
        // As timeout(1).
        Some(JobStatus::TimedOut) => Ok(124),
        _ => Ok(125),
    }
}

fn test(machine: MachineArgs, filter: &str, binaries: Vec<PathBuf>) -> Result<u8, Error> {
    let binaries: Vec<TestBinary> = binaries
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            TestBinary { path, name }
        })
        .collect();
    let limit = Duration::from_secs(60);
    let vm = machine.vm(1200)?;
    let run = {
        let wanted = |_: &TestBinary, name: &str| name.contains(filter);
        corten_vm::run_tests(vm, &binaries, &wanted, limit, &mut print_result)?
    };
    let passed = run.results.iter().filter(|r| r.outcome == TestOutcome::Passed).count();
    println!("{passed} of {} tests passed", run.results.len());
    if let Some(death) = &run.death {
        eprintln!("corten-vm: {death}");
    }
    if run.results.is_empty() {
        eprintln!("corten-vm: no test of these binaries belongs into this VM");
        return Ok(1);
    }
    Ok(u8::from(!run.success()))
}

fn print_result(result: &TestResult) {
    let word = match result.outcome {
        TestOutcome::Passed => "ok",
        TestOutcome::Failed => "FAILED",
        TestOutcome::TimedOut => "TIMED OUT",
        TestOutcome::Lost => "LOST WITH THE VM",
        TestOutcome::NotRun => "NOT RUN",
    };
    let seconds = result.time.as_secs_f64();
    println!("test {} {} ... {word} ({seconds:.2} s)", result.binary, result.name);
    if result.outcome != TestOutcome::Passed {
        for line in result.output.lines() {
            println!("    {line}");
        }
    }
    // A closed pipe ends the program at the next line anyway.
    let _ = std::io::stdout().flush();
}

fn doctor() -> u8 {
    let findings = corten_vm::doctor();
    for finding in &findings {
        match &finding.remedy {
            None => println!("ok       {}", finding.what),
            Some(remedy) => println!("MISSING  {}: {remedy}", finding.what),
        }
    }
    u8::from(findings.iter().any(|finding| finding.remedy.is_some()))
}
