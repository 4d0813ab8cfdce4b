//! From a bundle to the plan.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use corten_namespaces::error::Context;
use corten_namespaces::{Namespace, NamespaceSet};
use oci_spec::runtime as oci;
use oci_spec::runtime::LinuxNamespaceType;

use super::root;
use super::step::Terminal;
use super::{Create, Options, RuntimeHooks, Step};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::process::Process;
use crate::program::Program;
use crate::state::State;
use crate::{cgroup, clock, idmap, label, notify, rdt, seccomp};

impl Create {
    // ANCHOR: new
    /// Checks what the bundle asks for and turns it into a plan. Nothing is changed yet, so nothing
    /// has to be undone where this fails.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field, and what opening sources says.
    pub fn new(id: ContainerId, bundle: &Bundle, options: Options) -> Result<Create> {
        let spec = &bundle.spec;
        let linux = spec
            .linux()
            .as_ref()
            .ok_or_else(|| Error::invalid("linux", "is missing from config.json"))?;
        let mut process = match spec.process() {
            Some(process) => Process::plan(process)?,
            None => return Err(Error::invalid("process", "is missing from config.json")),
        };
        let mut warnings = std::mem::take(&mut process.warnings);
        if !bundle.unknown_capabilities.is_empty() {
            warnings.push(crate::process::unavailable(&bundle.unknown_capabilities));
        }
        let ways = Ways::new(linux)?;
        let state = state(&id, bundle, spec)?;
        let manager = &options.cgroup_manager;
        let cgroup = cgroup::Plan::new(&id, linux, &state.annotations, manager)?;
        let mut plan = Create {
            id,
            config: bundle.text.clone(),
            namespaces: ways.made,
            through: Vec::new(),
            pid_namespace: ways.pid,
            maps: ways.maps,
            rdt: linux
                .intel_rdt()
                .as_ref()
                .map(|rdt| rdt::Plan::new(&state.id, rdt))
                .transpose()?,
            devices: devices(linux, ways.made)?,
            hooks: hooks(spec),
            steps: Vec::with_capacity(64),
            notes: Vec::new(),
            oom_score_adj: process.oom_score_adj,
            listener: None,
            cgroup,
            state,
            options,
            warnings,
        };
        plan.enter(ways.joined, linux)?;
        root::furnish(&mut plan, bundle, linux, &process)?;
        plan.name(spec, linux)?;
        plan.finish(process, bundle, linux)?;
        Ok(plan)
    }
    // ANCHOR_END: new

    /// The steps before anything is mounted: into the namespaces.
    fn enter(&mut self, joined: Vec<(Namespace, OwnedFd)>, linux: &oci::Linux) -> Result<()> {
        self.steps.push(Step::DieWithParent);
        if joined.iter().any(|(kind, _)| *kind == Namespace::User) {
            // What is made by clone3 shall belong to the joined user namespace, so a process in
            // between joins it first.
            self.through = joined;
        } else {
            self.steps.extend(joined.into_iter().map(|(kind, fd)| Step::Join(kind, fd)));
        }
        if self.namespaces.contains(Namespace::User) {
            self.steps.push(Step::BecomeMappedRoot);
        }
        // A device can be moved into a namespace only when that is there.
        if self.namespaces.contains(Namespace::Net) && self.devices.is_empty() {
            self.namespaces = self.namespaces.without(Namespace::Net);
            self.steps.push(Step::NewNetwork);
        }
        if self.namespaces.contains(Namespace::Time) {
            let offsets = offsets(linux.time_offsets());
            self.namespaces = self.namespaces.without(Namespace::Time);
            let offsets = std::ffi::CString::new(offsets).unwrap_or_default();
            self.steps.push(Step::OffsetClocks(offsets));
        }
        self.steps.push(Step::HideProcess);
        if !self.options.no_new_keyring {
            let name = std::ffi::CString::new(format!("_ses.{}", self.id)).unwrap_or_default();
            self.steps.push(Step::Keyring(name));
        }
        Ok(())
    }

    fn name(&mut self, spec: &oci::Spec, linux: &oci::Linux) -> Result<()> {
        let c = |text: &str, what: &str| {
            std::ffi::CString::new(text).map_err(|_| Error::invalid(what, "holds a NUL byte"))
        };
        let set = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        if let Some(name) = set(spec.hostname()) {
            self.steps.push(Step::Hostname(c(&name, "hostname")?));
        }
        if let Some(name) = set(spec.domainname()) {
            self.steps.push(Step::Domainname(c(&name, "domainname")?));
        }
        let own = |namespace: &oci::LinuxNamespace| {
            namespace.typ() == LinuxNamespaceType::Network
                && namespace.path().as_ref().is_none_or(|path| path.as_os_str().is_empty())
        };
        if linux.namespaces().iter().flatten().any(own) {
            self.steps.push(Step::LoopbackUp);
        }
        let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
        sysctls.sort();
        for (name, value) in sysctls {
            let path = root::sysctl(name, linux.namespaces().as_deref().unwrap_or_default())?;
            self.steps.push(Step::Sysctl(path, value.clone()));
        }
        Ok(())
    }

    // ANCHOR: finish
    /// From a furnished root to execve. What needs rights comes first; then they are given up; what
    /// runs as the container's user comes last. The filter is loaded when only execve is left, so a
    /// profile need not allow what a runtime does.
    fn finish(&mut self, process: Process, bundle: &Bundle, linux: &oci::Linux) -> Result<()> {
        let mut env = process.env.clone();
        if let Some(fds) = self.options.listen_fds {
            env.extend([format!("LISTEN_FDS={fds}"), "LISTEN_PID=1".to_owned()]);
            self.options.preserve_fds += fds as i32;
        }
        if self.options.notify.is_some() {
            env.push(format!("NOTIFY_SOCKET={}", notify::INSIDE));
        }
        match (process.terminal, self.options.console.take()) {
            (Some(size), Some(socket)) => {
                let uid = process.user.uid;
                let terminal = Terminal { size, uid, socket, console: true };
                self.before_switch(Step::Terminal(terminal));
            }
            (None, Some(_)) => {
                let why = "is given, but process.terminal is not set: no terminal will come";
                return Err(Error::invalid("--console-socket", why));
            }
            (Some(_), None) => {
                let why = "is set, so a --console-socket is needed to send it to";
                return Err(Error::invalid("process.terminal", why));
            }
            (None, None) => {}
        }
        let (mut tail, note) = settings(&process, linux)?;
        self.notes.extend(note);
        self.steps.append(&mut tail);
        let program = Program::new(&process.args, &env)?;
        let start_hooks = start_hooks(bundle);
        let (filter, listener) = seccomp::of(bundle, &self.options.root)?;
        self.listener = listener;
        let keep_admin = filter.is_some() && !process.no_new_privileges;
        self.steps.extend(rights(process, keep_admin));
        self.steps.push(Step::FindProgram);
        self.steps.push(Step::CloseDescriptors(3 + self.options.preserve_fds));
        self.steps.push(Step::AwaitStart(None));
        self.steps.extend(start_hooks.map(Step::StartHooks));
        self.steps.push(Step::ResetSignals);
        self.steps.extend(self.options.init.then_some(Step::BlockSignals));
        self.steps.extend(filter.map(Step::Seccomp));
        self.steps.push(Step::Execute(program));
        Ok(())
    }
    // ANCHOR_END: finish

    /// Puts a step before the one that makes the root `/`, and so after those that make things
    /// read-only: a terminal that is something else (CVE-2025-52565) cannot be written then.
    fn before_switch(&mut self, step: Step) {
        let switch = self.steps.iter().position(|step| matches!(step, Step::SwitchRoot(_)));
        self.steps.insert(switch.unwrap_or(self.steps.len()), step);
    }
}

/// How the container comes by its namespaces.
struct Ways {
    made: NamespaceSet,
    joined: Vec<(Namespace, OwnedFd)>,
    pid: Option<OwnedFd>,
    maps: Option<(corten_namespaces::idmap::IdMap, corten_namespaces::idmap::IdMap)>,
}

impl Ways {
    fn new(linux: &oci::Linux) -> Result<Ways> {
        let mut ways =
            Ways { made: NamespaceSet::EMPTY, joined: Vec::new(), pid: None, maps: None };
        for namespace in linux.namespaces().iter().flatten() {
            let kind = kind(namespace.typ());
            let Some(path) = namespace.path().as_ref().filter(|p| !p.as_os_str().is_empty()) else {
                ways.made = ways.made.with(kind);
                continue;
            };
            let file = std::fs::File::open(path).on("open the namespace", path)?;
            let found = corten_namespaces::sys::ns::kind(std::os::fd::AsRawFd::as_raw_fd(&file))
                .on("ask for the kind of namespace of", path)?;
            // The flags fit.
            if found as u64 != kind.flag() {
                let what = format!("linux.namespaces: {}", path.display());
                return Err(Error::invalid(what, format!("is no {kind} namespace")));
            }
            ways.joined.push((kind, file.into()));
        }
        ways.joined.sort_by_key(|(kind, _)| *kind);
        let joins_user = ways.joined.iter().any(|(kind, _)| *kind == Namespace::User);
        if !joins_user && let Some(at) = ways.joined.iter().position(|(k, _)| *k == Namespace::Pid)
        {
            ways.pid = Some(ways.joined.remove(at).1);
        }
        if ways.made.contains(Namespace::User) {
            let maps =
                |m: &Option<Vec<oci::LinuxIdMapping>>| idmap::map(m.as_deref().unwrap_or_default());
            ways.maps = Some((maps(linux.uid_mappings())?, maps(linux.gid_mappings())?));
        }
        Ok(ways)
    }
}

/// Chapter 1's name of a kind.
pub(crate) fn kind(kind: LinuxNamespaceType) -> Namespace {
    match kind {
        LinuxNamespaceType::Mount => Namespace::Mount,
        LinuxNamespaceType::Cgroup => Namespace::Cgroup,
        LinuxNamespaceType::Uts => Namespace::Uts,
        LinuxNamespaceType::Ipc => Namespace::Ipc,
        LinuxNamespaceType::User => Namespace::User,
        LinuxNamespaceType::Pid => Namespace::Pid,
        LinuxNamespaceType::Network => Namespace::Net,
        LinuxNamespaceType::Time => Namespace::Time,
    }
}

fn offsets(offsets: &Option<std::collections::HashMap<String, oci::LinuxTimeOffset>>) -> String {
    let line = |(clock, offset): (&String, &oci::LinuxTimeOffset)| {
        format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
    };
    offsets.iter().flatten().map(line).collect()
}

/// What is set of the process while it has all rights.
fn settings(process: &Process, linux: &oci::Linux) -> Result<(Vec<Step>, Vec<String>)> {
    let mut steps = Vec::new();
    let mut notes = Vec::new();
    if let (Some(cpus), _) = &process.affinity {
        notes.push(format!("affinity: {}", crate::process::mask(cpus)));
    }
    if let Some(attributes) = process.scheduler {
        steps.push(Step::Scheduler(attributes));
    }
    steps.extend(process.io_priority.map(|(class, level)| Step::IoPriority(class, level)));
    if let Some(personality) = linux.personality() {
        steps.push(Step::Personality(root::personality(personality)?));
    }
    if let Some(policy) = linux.memory_policy() {
        let (mode, nodes) = root::memory_policy(policy)?;
        steps.push(Step::MemoryPolicy(mode, nodes));
    }
    Ok((steps, notes))
}

// ANCHOR: rights
/// Gives up rights. An execve gives root what the bounding set holds, and other users what is
/// ambient, whatever the process had before: so keeping CAP_SYS_ADMIN for the filter until then
/// gives the program nothing.
pub(crate) fn rights(process: Process, keep_admin: bool) -> Vec<Step> {
    let mut steps = Vec::with_capacity(16);
    steps.extend(process.limits.into_iter().map(Step::Limit));
    steps.push(Step::Session);
    steps.extend(label::steps(process.apparmor.as_deref(), process.selinux.as_deref()));
    steps.push(Step::Umask(process.umask.unwrap_or(0o022)));
    steps.push(Step::BoundCapabilities(process.capabilities.bounding));
    steps.push(Step::WorkingDirectory(process.cwd.clone(), false));
    steps.push(Step::Credentials(process.user));
    steps.push(Step::Capabilities(process.capabilities, keep_admin));
    if process.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.push(Step::WorkingDirectory(process.cwd, true));
    steps
}
// ANCHOR_END: rights

fn hooks(spec: &oci::Spec) -> RuntimeHooks {
    let Some(hooks) = spec.hooks() else { return RuntimeHooks::default() };
    #[allow(deprecated)]
    let prestart = hooks.prestart().clone().unwrap_or_default();
    RuntimeHooks {
        prestart,
        create_runtime: hooks.create_runtime().clone().unwrap_or_default(),
        poststart: hooks.poststart().clone().unwrap_or_default(),
    }
}

fn start_hooks(bundle: &Bundle) -> Option<Vec<oci::Hook>> {
    let mut hooks = bundle.spec.hooks().as_ref()?.start_container().clone()?;
    let env = bundle.spec.process().as_ref().and_then(|process| process.env().clone());
    // They run in the container as the program does, so they have its environment unless they
    // have one of their own.
    for hook in hooks.iter_mut().filter(|hook| hook.env().is_none()) {
        hook.set_env(env.clone());
    }
    (!hooks.is_empty()).then_some(hooks)
}

fn devices(linux: &oci::Linux, made: NamespaceSet) -> Result<Vec<(String, Option<String>)>> {
    let devices = linux.net_devices().iter().flatten();
    let mut devices: Vec<_> =
        devices.map(|(name, device)| (name.clone(), device.name().clone())).collect();
    devices.sort();
    if !devices.is_empty() && !made.contains(Namespace::Net) {
        let joined = linux.namespaces().iter().flatten().any(|namespace| {
            namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_some()
        });
        if !joined {
            let why = "are set, but there is no network namespace to move them to";
            return Err(Error::invalid("linux.netDevices", why));
        }
    }
    Ok(devices)
}

fn state(id: &ContainerId, bundle: &Bundle, spec: &oci::Spec) -> Result<State> {
    let annotations: BTreeMap<String, String> =
        spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(State {
        oci_version: spec.version().clone(),
        id: id.to_string(),
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs()?,
        created: clock::now(),
        owner: owner(),
        annotations,
        init: None,
        complete: false,
        cgroup: None,
        mounts_before: None,
        rdt: None,
        stdio: Vec::new(),
    })
}

/// The caller's name, by /etc/passwd.
fn owner() -> String {
    let uid = nix::unistd::getuid();
    if uid.is_root() {
        return "root".to_owned();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid.as_raw())).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}
