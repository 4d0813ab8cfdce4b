//! Running blocks: a shell on this machine, or one boot of the lab VM for all its blocks.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::defaults::Defaults;
use super::rootfs::RootFs;
use super::{Block, MARK, PATIENCE};
use crate::error::{Context, Error, Result};
use crate::layout::Layout;

/// The user of blocks with the attribute `user`.
const USER: u32 = 1000;

/// The outputs of each block's commands, in the order of `blocks`.
pub(super) fn run(layout: &Layout, blocks: &[Block<'_>]) -> Result<Vec<Vec<String>>> {
    let binaries = binaries()?;
    let in_vm: Vec<&Block<'_>> = blocks.iter().filter(|block| block.in_vm).collect();
    let rootfs = if in_vm.len() < blocks.len() { Some(RootFs::make()?) } else { None };
    let mut from_vm =
        if in_vm.is_empty() { Vec::new() } else { vm(&in_vm, &binaries)? }.into_iter();
    let defaults = Defaults::look();
    let outputs = blocks
        .iter()
        .map(|block| match &rootfs {
            Some(rootfs) if !block.in_vm => host(layout, block, &binaries, rootfs.path()),
            _ => Ok(from_vm.next().unwrap_or_default()),
        })
        .collect::<Result<_>>();
    let restored = defaults.restore();
    // Of two failures the first is the reason.
    let outputs = outputs?;
    restored.map(|()| outputs)
}

/// The directory of the project's built programs: where this one is.
fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe().on("find", "corten-book")?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// The commands with a mark after each. The shell is left with what it had printed between marks.
fn script(block: &Block<'_>) -> String {
    let mark = "printf '\\036'\n";
    let steps = block.steps.iter().map(|step| format!("{}\n{mark}", step.command));
    format!("exec 2>&1\n{mark}{}", steps.collect::<String>())
}

/// What stands between the marks, the text before the first left out.
fn between_marks(text: &str) -> Vec<String> {
    let mut parts: Vec<&str> = text.split(MARK).skip(1).collect();
    // What follows the last mark is empty, or belongs to a command that never ended.
    parts.pop();
    parts.into_iter().map(|part| part.replace('\r', "")).collect()
}

fn host(layout: &Layout, block: &Block<'_>, binaries: &Path, rootfs: &Path) -> Result<Vec<String>> {
    let path = std::env::var("PATH").unwrap_or_default();
    // bash reads a pipe byte by byte: a command that starts another shell leaves it the rest.
    let shell = ["bash", "--norc", "--noprofile", "-s"];
    let is_user = block.fence.attribute("user").is_some();
    // Containers that sessions start are on networks; this machine's is none of theirs.
    let apart = ["unshare", "--net", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"];
    let line = if is_user { shell.to_vec() } else { [&apart[..], &shell[..]].concat() };
    let mut command = Command::new(line[0]);
    command
        .args(&line[1..])
        .current_dir(&layout.repo)
        .env("PATH", format!("{}:{path}", binaries.display()))
        .env("LC_ALL", "C.UTF-8")
        .env("ROOTFS", rootfs)
        // A `cd` whose directory could not be made leads nowhere, and not home.
        .env("HOME", "/nonexistent")
        .env("PS1", "");
    if is_user {
        command.uid(USER).gid(USER).env("HOME", "/tmp").current_dir("/tmp");
    }
    let output = finish(command, &script(block), block.id)?;
    Ok(between_marks(&output))
}

fn vm(blocks: &[&Block<'_>], binaries: &Path) -> Result<Vec<Vec<String>>> {
    let program = binaries.join("corten-vm");
    if !program.is_file() {
        let message = format!("{}: not built: cargo build -p corten-vm", program.display());
        return Err(Error::Usage(message));
    }
    let mut command = Command::new(program);
    // As in `./x lab shell`.
    command.args(["exec", "--usual-tools"]);
    for file in named_binaries(blocks, binaries) {
        command.arg("--bin").arg(file);
    }
    for tool in blocks.iter().filter_map(|block| block.fence.attribute("tools")) {
        for name in tool.split('+') {
            command.arg("--tool").arg(installed(name)?);
        }
    }
    // Each block gets a shell of its own; the second mark of a pair ends it.
    let shells = blocks.iter().map(|block| format!("(cd /\n{})\nprintf '\\035'\n", script(block)));
    command.args(["--", "bash", "-c", &shells.collect::<String>()]);
    let output = finish(command, "", "vm")?;
    Ok(output.split('\u{1d}').map(between_marks).collect())
}

/// Where the program `name` of this machine is.
pub(super) fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| Error::Usage(format!("{name}: not in PATH, install it")))
}

/// The project's own programs that the blocks' commands name.
fn named_binaries(blocks: &[&Block<'_>], binaries: &Path) -> Vec<PathBuf> {
    let mut named: Vec<PathBuf> = blocks
        .iter()
        .flat_map(|block| &block.steps)
        .flat_map(|step| step.command.split(|c: char| !(c.is_alphanumeric() || c == '-')))
        .filter(|word| word.starts_with("corten"))
        .map(|word| binaries.join(word))
        .filter(|file| file.is_file())
        .collect();
    named.sort();
    named.dedup();
    named
}

/// Runs `command` in a process group of its own with `input`, and returns what it prints; kills the
/// whole group when it takes too long.
fn finish(mut command: Command, input: &str, what: &str) -> Result<String> {
    let program = command.get_program().to_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().on("run", &program)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).on("write to", &program)?;
    }
    let Some(mut stdout) = child.stdout.take() else { return Ok(String::new()) };
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is what there is.
        _ = stdout.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let deadline = Instant::now() + PATIENCE;
    while !reader.is_finished() {
        if Instant::now() > deadline {
            end_group(&mut child);
            let seconds = PATIENCE.as_secs();
            return Err(Error::Usage(format!("replay {what}: no end after {seconds} s")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait().on("wait for", &program)?;
    reader.join().map_err(|_| Error::Usage(format!("replay {what}: its output was lost")))
}

/// Kills the process group that `child` leads.
pub(crate) fn end_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    // An error means that the group is gone already.
    _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    _ = child.wait();
}
