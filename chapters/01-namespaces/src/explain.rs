//! The plan as text: the system calls that starting this container makes, in order, each with the
//! section of the book that explains it.

use std::fmt::Write as _;

use crate::mount::{Mount, Source, attribute};
use crate::namespace::Namespace;
use crate::plan::{Plan, Step};

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who makes the call.
    pub process: &'static str,
    /// The system calls with their arguments, as strace(1) would show them, abridged.
    pub calls: String,
    /// The section of chapter 1 that explains them.
    pub section: &'static str,
}

/// All that happens from clone3 to execve, in order.
pub fn lines(plan: &Plan) -> Vec<Line> {
    let flags: Vec<_> = plan.namespaces.iter().map(flag_name).collect();
    let flags = if flags.is_empty() { "0".to_owned() } else { flags.join("|") };
    let mut lines = vec![
        line("parent", "socketpair(AF_UNIX, SOCK_SEQPACKET)", "1.1"),
        line("parent", format!("clone3(flags={flags}|CLONE_PIDFD)"), "1.1"),
    ];
    if plan.namespaces.contains(Namespace::User) {
        for (file, map) in [("uid_map", &plan.uid_map), ("gid_map", &plan.gid_map)] {
            lines.push(line("parent", format!("write(/proc/PID/{file}, \"{map}\")"), "1.2"));
        }
    }
    lines.extend(plan.steps.iter().map(|step| {
        let (calls, section) = describe(step);
        line("child", calls, section)
    }));
    lines.push(line("parent", "recvmsg → end of file: the program runs", "1.9"));
    lines.push(line("parent", "waitid(P_PIDFD)", "1.9"));
    lines
}

/// The lines as a table for people.
pub fn render(plan: &Plan) -> String {
    let lines = lines(plan);
    let width = lines.iter().map(|l| l.calls.chars().count()).max().unwrap_or(0).min(84);
    let mut text = String::new();
    for (number, Line { process, calls, section }) in lines.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>3} {process:<6} {calls:<width$}  §{section}", number + 1);
    }
    text
}

fn line(process: &'static str, calls: impl Into<String>, section: &'static str) -> Line {
    Line { process, calls: calls.into(), section }
}

fn flag_name(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::User => "CLONE_NEWUSER",
        Namespace::Mount => "CLONE_NEWNS",
        Namespace::Pid => "CLONE_NEWPID",
        Namespace::Net => "CLONE_NEWNET",
        Namespace::Ipc => "CLONE_NEWIPC",
        Namespace::Uts => "CLONE_NEWUTS",
        Namespace::Cgroup => "CLONE_NEWCGROUP",
        Namespace::Time => "CLONE_NEWTIME",
    }
}

fn describe(step: &Step) -> (String, &'static str) {
    match step {
        Step::DieWithParent => ("prctl(PR_SET_PDEATHSIG, SIGKILL)".into(), "1.1"),
        Step::BecomeMappedRoot => {
            ("recv() ← the maps are written; setresgid(0,0,0); setresuid(0,0,0)".into(), "1.2")
        }
        Step::Join(namespaces, _) => (format!("setns(fd, {namespaces})"), "1.1"),
        Step::OffsetClocks(offsets) => {
            let offsets = offsets.to_string_lossy().trim_end().replace('\n', "; ");
            let calls = format!(
                "unshare(CLONE_NEWTIME); write(timens_offsets, \"{offsets}\"); setns(CLONE_NEWTIME)"
            );
            (calls, "1.1")
        }
        Step::HideProcess => ("prctl(PR_SET_DUMPABLE, 0)".into(), "1.1"),
        Step::IsolateMounts => {
            ("mount_setattr(/, AT_RECURSIVE, propagation=MS_PRIVATE)".into(), "1.3")
        }
        Step::AttachRoot(at, None) => {
            let at = at.to_string_lossy();
            (format!("open_tree({at}, OPEN_TREE_CLONE|AT_RECURSIVE); move_mount(→ {at})"), "1.3")
        }
        Step::AttachRoot(at, Some(_)) => {
            (format!("move_mount(detached mount → {})", at.to_string_lossy()), "1.3")
        }
        Step::KeepRoot => ("open(/, O_PATH)".into(), "1.3"),
        Step::Mount(mount) => (mount_calls(mount), "1.4"),
        Step::Device(target, _, number) => {
            let (major, minor) = (libc::major(*number), libc::minor(*number));
            (format!("mknodat({target}, S_IFCHR|0666, {major}:{minor})"), "1.4")
        }
        Step::Link(target, to) => (format!("symlinkat({}, {target})", to.to_string_lossy()), "1.4"),
        Step::Mask(target) => (format!("move_mount(/dev/null or empty tmpfs → {target})"), "1.4"),
        Step::WriteProtect(target) => (
            format!("open_tree({target}, CLONE); mount_setattr(ro); move_mount(→ {target})"),
            "1.4",
        ),
        Step::MakeDirectory(target) => (format!("mkdirat({target})"), "1.4"),
        Step::Terminal(rows, columns, _) => (
            format!(
                "openat2(/dev/pts/ptmx); TIOCGPTPEER; TIOCSWINSZ({rows}x{columns}); sendmsg(SCM_RIGHTS)"
            ),
            "1.6",
        ),
        Step::PivotRoot => (
            "fchdir(root); pivot_root(\".\", \".\"); umount2(\".\", MNT_DETACH); chdir(/)".into(),
            "1.5",
        ),
        Step::Chroot => ("fchdir(root); chroot(\".\")".into(), "1.5"),
        Step::WriteProtectRoot => ("mount_setattr(/, ro)".into(), "1.5"),
        Step::Hostname(name) => (format!("sethostname(\"{}\")", name.to_string_lossy()), "1.1"),
        Step::Domainname(name) => (format!("setdomainname(\"{}\")", name.to_string_lossy()), "1.1"),
        Step::LoopbackUp => ("ioctl(SIOCSIFFLAGS, lo, IFF_UP)".into(), "1.1"),
        Step::Limit(limit) => {
            (format!("prlimit64({}, {}:{})", limit.name, limit.soft, limit.hard), "1.8")
        }
        Step::Umask(mask) => (format!("umask({mask:04o})"), "1.8"),
        Step::Stdio(number, _) => (format!("dup2(fd, {number})"), "1.6"),
        Step::Session => ("setsid(); ioctl(TIOCSCTTY); dup2(→ 0, 1, 2)".into(), "1.6"),
        Step::Fork => ("fork(); the parent stays and collects orphans".into(), "1.7"),
        Step::BoundCapabilities(_) => ("prctl(PR_CAPBSET_DROP, …)".into(), "1.8"),
        Step::Credentials(user, _) => (
            format!(
                "setgroups({:?}); setresgid({}); setresuid({})",
                user.groups, user.gid, user.uid
            ),
            "1.8",
        ),
        Step::Capabilities(_) => ("capset()".into(), "1.8"),
        Step::NoNewPrivileges => ("prctl(PR_SET_NO_NEW_PRIVS, 1)".into(), "1.8"),
        Step::CloseDescriptors => ("close_range(3, ∞, CLOSE_RANGE_CLOEXEC)".into(), "1.8"),
        Step::WorkingDirectory(path) => {
            (format!("chdir({}); getcwd() begins with /", path.to_string_lossy()), "1.8")
        }
        Step::ResetSignals => ("rt_sigaction(all, SIG_DFL); rt_sigprocmask(none)".into(), "1.9"),
        Step::Execute(program) => {
            let words: Vec<_> =
                program.argv.strings().iter().map(|word| word.to_string_lossy()).collect();
            (format!("execve({})", words.join(" ")), "1.9")
        }
    }
}

fn mount_calls(mount: &Mount) -> String {
    let attributes = attribute::names(mount.attributes);
    let target = &mount.target;
    match &mount.source {
        Source::FileSystem { kind, options } => {
            let kind = kind.to_string_lossy();
            let options: Vec<_> = options
                .iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
                    None => key.to_string_lossy().into_owned(),
                })
                .collect();
            let config = if options.is_empty() {
                String::new()
            } else {
                format!(" fsconfig({});", options.join(","))
            };
            format!("fsopen({kind});{config} fsmount({attributes}); move_mount(→ {target})")
        }
        Source::Bind { source, .. } => {
            let set = if attributes.is_empty() {
                String::new()
            } else {
                format!(" mount_setattr({attributes});")
            };
            format!("open_tree({}, CLONE);{set} move_mount(→ {target})", source.to_string_lossy())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, NamespaceSet, Process, Rootfs};

    fn plan(namespaces: &[Namespace]) -> Plan {
        let namespaces: NamespaceSet = namespaces.iter().copied().collect();
        let switch = crate::config::RootSwitch::Pivot;
        let config = Config {
            namespaces,
            rootfs: Some(Rootfs { path: "/rootfs".into(), mount: None, switch }),
            process: Process { args: vec!["true".into()], ..Process::default() },
            ..Config::default()
        };
        Plan::new(config).unwrap()
    }

    /// Golden: a change of the order of system calls is to be seen in review, because the order is
    /// what the chapter is about.
    #[test]
    fn the_order_of_a_container_s_system_calls() {
        use Namespace::{Cgroup, Ipc, Mount, Net, Pid, Uts};
        let text = render(&plan(&[Mount, Pid, Net, Ipc, Uts, Cgroup]));
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/explain.txt");
        if std::env::var_os("CORTEN_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap(), "CORTEN_BLESS=1 rewrites {path}");
    }
}
