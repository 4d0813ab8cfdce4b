//! System calls that make or change an object of the kernel: how they are read, and what they mean.

use std::collections::HashMap;

use nix::libc::{self, c_long};

use super::memory::{SHOWN, beside, descriptor, gathered, is_ours, memory, printable, text};
use super::netlink::{filter, messages, route};
use super::object::{Event, Kind};

/// What must be known of earlier calls.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// Netlink sockets by process and descriptor, with their protocol.
    netlink: HashMap<(i32, u64), u64>,
    /// File systems that are being configured (fsopen(2)): what was said of them.
    filesystems: HashMap<(i32, u64), String>,
}

/// A call that has begun.
#[derive(Debug)]
pub(super) struct Call {
    number: c_long,
    raw: [u64; 6],
    name: &'static str,
    shown: Vec<String>,
}

/// A call that has ended, in words.
#[derive(Debug)]
pub(super) struct Told {
    pub call: &'static str,
    pub arguments: String,
    pub result: String,
    pub says: String,
    pub chapter: u8,
    pub events: Vec<Event>,
}

/// How an argument is shown.
#[derive(Debug, Clone, Copy)]
enum As {
    /// A number.
    Int,
    /// Bits.
    Hex,
    /// A text in the process's memory.
    Text,
    /// A descriptor: what it is open on.
    Fd,
    /// A path, from the directory that the argument before it names.
    At,
    /// Flags of clone(2) and its like.
    CloneFlags,
    /// A pointer to such flags: the first field of `clone_args`.
    CloneArgs,
    /// The content of a buffer, whose length is the next argument.
    Buffer,
}
use As::{At, Buffer, CloneArgs, CloneFlags, Fd, Hex, Int, Text};

/// The calls that are told of.
const CALLS: &[(c_long, &str, &[As])] = &[
    (libc::SYS_clone, "clone", &[CloneFlags]),
    (libc::SYS_clone3, "clone3", &[CloneArgs]),
    (libc::SYS_unshare, "unshare", &[CloneFlags]),
    (libc::SYS_setns, "setns", &[Fd, CloneFlags]),
    (libc::SYS_execve, "execve", &[Text]),
    (libc::SYS_execveat, "execveat", &[Fd, Text]),
    (libc::SYS_setsid, "setsid", &[]),
    (libc::SYS_memfd_create, "memfd_create", &[Text, Hex]),
    (libc::SYS_mount, "mount", &[Text, Text, Text, Hex]),
    (libc::SYS_umount2, "umount2", &[Text, Hex]),
    (libc::SYS_pivot_root, "pivot_root", &[Text, Text]),
    (libc::SYS_chroot, "chroot", &[Text]),
    (libc::SYS_fsopen, "fsopen", &[Text, Hex]),
    (libc::SYS_fsconfig, "fsconfig", &[Int, Int, Text, Text]),
    (libc::SYS_fsmount, "fsmount", &[Int, Hex, Hex]),
    (libc::SYS_open_tree, "open_tree", &[Fd, Text, Hex]),
    (libc::SYS_move_mount, "move_mount", &[Fd, Text, Fd, Text, Hex]),
    (libc::SYS_mount_setattr, "mount_setattr", &[Fd, Text, Hex]),
    (libc::SYS_mkdirat, "mkdirat", &[Fd, At, Hex]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir", &[Text, Hex]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir", &[Text]),
    (libc::SYS_unlinkat, "unlinkat", &[Fd, At, Hex]),
    (libc::SYS_mknodat, "mknodat", &[Fd, At, Hex]),
    (libc::SYS_renameat2, "renameat2", &[Fd, At, Fd, At]),
    (libc::SYS_renameat, "renameat", &[Fd, At, Fd, At]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename", &[Text, Text]),
    (libc::SYS_write, "write", &[Fd, Buffer]),
    (libc::SYS_pwrite64, "pwrite64", &[Fd, Buffer]),
    (libc::SYS_bpf, "bpf", &[Int]),
    (libc::SYS_sethostname, "sethostname", &[Buffer]),
    (libc::SYS_setdomainname, "setdomainname", &[Buffer]),
    (libc::SYS_setresuid, "setresuid", &[Int, Int, Int]),
    (libc::SYS_setresgid, "setresgid", &[Int, Int, Int]),
    (libc::SYS_setgroups, "setgroups", &[Int]),
    (libc::SYS_capset, "capset", &[]),
    (libc::SYS_prctl, "prctl", &[Int, Hex]),
    (libc::SYS_seccomp, "seccomp", &[Int, Hex]),
    (libc::SYS_keyctl, "keyctl", &[Int]),
    (libc::SYS_prlimit64, "prlimit64", &[Int, Int]),
    (libc::SYS_socket, "socket", &[Int, Hex, Int]),
    (libc::SYS_sendto, "sendto", &[Fd, Buffer]),
    (libc::SYS_sendmsg, "sendmsg", &[Fd]),
    (libc::SYS_kill, "kill", &[Int, Int]),
    (libc::SYS_pidfd_send_signal, "pidfd_send_signal", &[Fd, Int]),
];

/// Reads a call that begins; none where it is not told of. Its arguments are read now: execve(2) takes the
/// memory away that they are in.
pub(super) fn begin(pid: i32, number: i64, raw: [u64; 6]) -> Option<Call> {
    let (number, name, kinds) = CALLS.iter().find(|(known, ..)| *known == number)?;
    let mut shown = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let value = raw.get(at).copied().unwrap_or_default();
        let next = raw.get(at + 1).copied().unwrap_or_default();
        shown.push(match kind {
            Int => value.cast_signed().to_string(),
            Hex => format!("{value:#x}"),
            Text => text(pid, value),
            Fd => descriptor(pid, value),
            At => beside(&shown, &text(pid, value)),
            CloneFlags => flags(value),
            CloneArgs => {
                let bytes = memory(pid, value, 8);
                flags(bytes.try_into().map_or(0, u64::from_ne_bytes))
            }
            Buffer => printable(&memory(pid, value, usize::try_from(next).unwrap_or(0).min(SHOWN))),
        });
    }
    Some(Call { number: *number, raw, name, shown })
}

/// Reads what has come of a call; none where it is of no interest.
pub(super) fn end(pid: i32, call: Call, value: i64, context: &mut Context) -> Option<Told> {
    let failed = (-4095..0).contains(&value);
    let (says, chapter, events) = meaning(pid, &call, value, context)?;
    let result = match failed {
        true => nix::errno::Errno::from_raw(i32::try_from(-value).unwrap_or_default()).to_string(),
        false => value.to_string(),
    };
    let events = if failed { Vec::new() } else { events };
    let Call { name, mut shown, .. } = call;
    // What names nothing is left out.
    shown.retain(|argument| !argument.is_empty());
    Some(Told { call: name, arguments: shown.join(", "), result, says, chapter, events })
}

type Meaning = (String, u8, Vec<Event>);

fn meaning(pid: i32, call: &Call, value: i64, context: &mut Context) -> Option<Meaning> {
    let argument = |at: usize| call.shown.get(at).map(String::as_str).unwrap_or_default();
    let raw = |at: usize| call.raw.get(at).copied().unwrap_or_default();
    match call.number {
        libc::SYS_clone | libc::SYS_clone3 => {
            // A thread is nobody's container.
            if argument(0).contains("THREAD") || value <= 0 {
                return None;
            }
            let mut events = vec![Event::made(Kind::Process, value.to_string())];
            events.extend(namespaces(argument(0), value));
            let what = match events.len() {
                1 => "a process".to_owned(),
                many => format!("a process, in {} new namespaces", many - 1),
            };
            Some((what, 1, events))
        }
        libc::SYS_unshare => {
            let events = namespaces(argument(0), pid.into());
            let what = match events.len() {
                0 => "its root and working directory are its own".to_owned(),
                _ => "leaves namespaces for new ones".to_owned(),
            };
            Some((what, 1, events))
        }
        libc::SYS_setns => Some(("enters a namespace that is there".into(), 1, Vec::new())),
        libc::SYS_execve | libc::SYS_execveat => {
            let what = match is_ours(pid) {
                true => "becomes another part of the engine",
                false => "becomes the user's program: from here on it is not watched",
            };
            (value == 0).then(|| (what.into(), 5, Vec::new()))
        }
        libc::SYS_setsid => {
            Some(("a session of its own, without a terminal".into(), 5, Vec::new()))
        }
        libc::SYS_memfd_create => Some((
            "a file in memory: the supervisor's program cannot be changed".into(),
            5,
            Vec::new(),
        )),
        _ => mounts(call, &argument, &raw, context, (pid, value))
            .or_else(|| files(call, &argument))
            .or_else(|| rights(call, &argument, &raw))
            .or_else(|| network(call, &raw, context, (pid, value))),
    }
}

fn mounts<'a>(
    call: &Call,
    argument: &dyn Fn(usize) -> &'a str,
    raw: &dyn Fn(usize) -> u64,
    context: &mut Context,
    (pid, value): (i32, i64),
) -> Option<Meaning> {
    let key = |fd: u64| (pid, fd);
    match call.number {
        libc::SYS_mount => {
            let target = argument(1).to_owned();
            let (what, events) = match (argument(0), argument(2)) {
                ("", "") => ("changes a mount's flags or propagation".to_owned(), Vec::new()),
                (source, "") => (format!("{source} is seen there, too"), made(&target)),
                (_, kind) => (format!("a file system of the kind {kind}"), made(&target)),
            };
            Some((what, 1, events))
        }
        libc::SYS_umount2 => {
            let events = vec![Event::gone(Kind::Mount, argument(0))];
            Some(("takes a mount away".into(), 1, events))
        }
        libc::SYS_pivot_root => {
            Some(("the new root takes the old one's place".into(), 1, Vec::new()))
        }
        libc::SYS_chroot => Some(("paths begin there".into(), 1, Vec::new())),
        libc::SYS_fsopen => {
            if let Ok(fd) = u64::try_from(value) {
                context.filesystems.insert(key(fd), argument(0).to_owned());
            }
            let chapter = if argument(0) == "overlay" { 3 } else { 1 };
            Some((format!("begins a file system of the kind {}", argument(0)), chapter, Vec::new()))
        }
        libc::SYS_fsconfig => {
            let kind = context.filesystems.get(&key(raw(0))).cloned().unwrap_or_default();
            let chapter = if kind == "overlay" { 3 } else { 1 };
            let what = match (argument(2), argument(3)) {
                ("", _) => format!("the {kind} is made"),
                (name, "") => format!("{name} of the {kind}"),
                (name, value) => format!("{name} of the {kind}: {value}"),
            };
            Some((what, chapter, Vec::new()))
        }
        libc::SYS_fsmount => {
            let kind = context.filesystems.get(&key(raw(0))).cloned().unwrap_or_default();
            let chapter = if kind == "overlay" { 3 } else { 1 };
            Some((format!("the {kind} is a mount, that is nowhere yet"), chapter, Vec::new()))
        }
        libc::SYS_open_tree if raw(2) & 1 == 1 => {
            Some(("a copy of a mount, that is nowhere yet".into(), 1, Vec::new()))
        }
        libc::SYS_move_mount => {
            let place = beside(&[argument(2).to_owned()], argument(3));
            Some(("the mount is there".into(), 1, made(&place)))
        }
        libc::SYS_mount_setattr => {
            Some(("changes a mount's flags or propagation".into(), 1, Vec::new()))
        }
        _ => None,
    }
}

fn made(place: &str) -> Vec<Event> {
    vec![Event::made(Kind::Mount, place)]
}

fn files<'a>(call: &Call, argument: &dyn Fn(usize) -> &'a str) -> Option<Meaning> {
    const GROUPS: &str = "/sys/fs/cgroup";
    // Of the two arguments of an …at call the second has both.
    let path = match call.name {
        "mkdir" | "rmdir" => argument(0),
        _ => argument(1),
    };
    match call.name {
        "mkdir" | "mkdirat" if path.starts_with(GROUPS) => {
            Some(("a control group".into(), 2, vec![Event::made(Kind::Cgroup, path)]))
        }
        "rmdir" | "unlinkat" if path.starts_with(GROUPS) => {
            Some(("takes a control group away".into(), 2, vec![Event::gone(Kind::Cgroup, path)]))
        }
        "mknodat" => Some(("a device, or a file to mount on".into(), 4, Vec::new())),
        "rename" | "renameat" | "renameat2" => {
            let to = if call.name == "rename" { argument(1) } else { argument(3) };
            let events = vec![Event::made(Kind::File, to)];
            Some((format!("written down, whole or not at all: {to}"), 5, events))
        }
        "write" | "pwrite64" => {
            let (path, text) = (argument(0), argument(1));
            let name = path.rsplit('/').next().unwrap_or_default();
            let (what, chapter) = match path {
                _ if path.starts_with(GROUPS) && name == "cgroup.procs" => {
                    ("joins the control group".to_owned(), 2)
                }
                _ if path.starts_with(GROUPS) => (format!("limit {name}: {text}"), 2),
                _ if ["uid_map", "gid_map", "setgroups"].contains(&name)
                    && path.starts_with("/proc") =>
                {
                    (format!("the user namespace's {name}"), 1)
                }
                _ if path.starts_with("/proc/sys") => (format!("sysctl {name}: {text}"), 4),
                _ if path.starts_with("/proc") => (format!("{name}: {text}"), 4),
                _ => return None,
            };
            Some((what, chapter, Vec::new()))
        }
        _ => None,
    }
}

fn rights<'a>(
    call: &Call,
    argument: &dyn Fn(usize) -> &'a str,
    raw: &dyn Fn(usize) -> u64,
) -> Option<Meaning> {
    let security = |name: &str| vec![Event::made(Kind::Security, name)];
    let option = |number: libc::c_int| u64::try_from(number) == Ok(raw(0));
    Some(match call.number {
        libc::SYS_bpf if raw(0) == 5 => {
            ("a program that decides on devices".into(), 2, security("device program"))
        }
        libc::SYS_bpf if raw(0) == 8 => ("the control group has it".into(), 2, Vec::new()),
        libc::SYS_sethostname => (format!("the host name {}", argument(0)), 1, Vec::new()),
        libc::SYS_setdomainname => (format!("the domain name {}", argument(0)), 1, Vec::new()),
        libc::SYS_setresuid => ("the user".into(), 4, security("user")),
        libc::SYS_setresgid => ("the group".into(), 4, security("group")),
        libc::SYS_setgroups => ("further groups".into(), 4, Vec::new()),
        libc::SYS_capset => {
            ("keeps no more capabilities than it shall have".into(), 4, security("capabilities"))
        }
        libc::SYS_prctl if option(libc::PR_CAPBSET_DROP) => return None,
        libc::SYS_prctl if option(libc::PR_SET_NO_NEW_PRIVS) => {
            ("executing a program gives no further rights".into(), 4, security("no_new_privs"))
        }
        libc::SYS_prctl if option(libc::PR_SET_CHILD_SUBREAPER) => {
            ("orphans below it become its children".into(), 5, Vec::new())
        }
        libc::SYS_prctl if option(libc::PR_SET_DUMPABLE) => {
            ("nobody inside may look into it".into(), 4, Vec::new())
        }
        libc::SYS_prctl if option(libc::PR_SET_PDEATHSIG) => {
            ("ends with its parent".into(), 4, Vec::new())
        }
        libc::SYS_seccomp if raw(0) == 1 => {
            ("a filter for its system calls".into(), 4, security("seccomp filter"))
        }
        libc::SYS_keyctl if raw(0) == 1 => ("keys of its own".into(), 4, Vec::new()),
        libc::SYS_kill | libc::SYS_pidfd_send_signal if raw(1) != 0 => {
            (format!("the signal {}", raw(1)), 5, Vec::new())
        }
        _ => return None,
    })
}

/// Netlink: what the messages of one sendto(2) or sendmsg(2) ask for.
fn network(
    call: &Call,
    raw: &dyn Fn(usize) -> u64,
    context: &mut Context,
    (pid, value): (i32, i64),
) -> Option<Meaning> {
    const ROUTE: u64 = 0;
    const FILTER: u64 = 12;
    if call.number == libc::SYS_socket {
        if let (16, Ok(fd)) = (raw(0), u64::try_from(value)) {
            context.netlink.insert((pid, fd), raw(2));
        }
        return None;
    }
    let protocol = *context.netlink.get(&(pid, raw(0)))?;
    let bytes = match call.number {
        libc::SYS_sendto => memory(pid, raw(1), usize::try_from(raw(2)).unwrap_or(0).min(64 << 10)),
        libc::SYS_sendmsg => gathered(pid, raw(1)),
        _ => return None,
    };
    let mut said: Vec<&str> = Vec::new();
    for kind in messages(&bytes) {
        let word = match protocol {
            ROUTE => route(kind),
            FILTER => filter(kind),
            _ => None,
        };
        said.extend(word.filter(|word| !said.contains(word)));
    }
    let whom = match protocol {
        ROUTE => "rtnetlink",
        FILTER => "nftables",
        _ => return None,
    };
    let is_change = |word: &&&str| !word.starts_with("look");
    if said.iter().filter(is_change).count() == 0 {
        return None;
    }
    let events =
        said.iter().filter(is_change).map(|word| Event::made(Kind::Network, *word)).collect();
    Some((format!("{whom}: {}", said.join(", ")), 7, events))
}

/// The namespaces of flags of clone(2), as objects of the process `owner`.
fn namespaces(flags: &str, owner: i64) -> Vec<Event> {
    let known = ["user", "mnt", "uts", "ipc", "net", "pid", "cgroup", "time"];
    let has = |name: &&&str| flags.split('|').any(|flag| flag == **name);
    known
        .iter()
        .filter(has)
        .map(|name| Event::made(Kind::Namespace, format!("{name} of {owner}")))
        .collect()
}

/// Flags of clone(2) by what they are for: `mnt|pid|net`.
fn flags(value: u64) -> String {
    const KNOWN: [(libc::c_int, &str); 13] = [
        (libc::CLONE_NEWUSER, "user"),
        (libc::CLONE_NEWNS, "mnt"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWNET, "net"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
        (libc::CLONE_THREAD, "THREAD"),
        (libc::CLONE_FS, "FS"),
        (libc::CLONE_FILES, "FILES"),
        (libc::CLONE_PARENT, "PARENT"),
        (libc::CLONE_PIDFD, "PIDFD"),
        (libc::CLONE_VFORK, "VFORK"),
    ];
    let has = |flag: libc::c_int| value & u64::from(flag.cast_unsigned()) != 0;
    let mut names: Vec<&str> =
        KNOWN.iter().filter(|(flag, _)| has(*flag)).map(|(_, name)| *name).collect();
    // CLONE_INTO_CGROUP, which only clone3 has.
    if value & 0x2_0000_0000 != 0 {
        names.push("INTO_CGROUP");
    }
    names.join("|")
}
