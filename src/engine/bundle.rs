//! At each start: what a container's supervisor and its runtime are told, from what was decided
//! when it was made.

use std::path::{Path, PathBuf};

use corten_namespaces::Root as Tree;
use corten_supervisor::log::attributes::Subject;
use corten_supervisor::log::{Driver, Options};
use corten_supervisor::settings::{Cgroups, Log, Root, Settings, SharedMemory, Subpath};
use oci_spec::runtime::Spec;

use super::Engine;
use super::error::{Error, Result};
use super::networks::Connected;
use super::oci::{self, Neighbours, Place, Wanted};
use super::options::check;
use super::options::limit;
use super::options::supervision::supervision;
use super::options::{IpcMode, MountType, NetworkMode};
use super::record::{LogChoice, Record};
use super::state::Owned;
use super::user::Accounts;
use super::volumes::MountPoint;

/// Where in its bundle a container finds the shared memory of another one.
const MEMORY: &str = "shm";

/// All that a container's supervisor reads.
#[derive(Debug)]
pub(super) struct Bundle {
    /// `settings.json`.
    pub settings: Settings,
    /// `config.json`.
    pub spec: Spec,
}

/// Where a container writes that is a step of a build.
#[derive(Debug)]
pub(super) struct Upper {
    /// The directory.
    pub directory: PathBuf,
    /// Chapter 3's driver for it.
    pub driver: &'static str,
}

impl Engine {
    // ANCHOR: assemble
    /// Prepares a start: what the container mounts is there, its volumes are filled, its files are
    /// written, its users are known. `window` is the size of the caller's terminal; what the container
    /// writes goes to its own directory, or to `upper`.
    pub(super) fn assemble(
        &self,
        owned: &Owned,
        window: (u16, u16),
        upper: Option<&Upper>,
    ) -> Result<Bundle> {
        let record = &owned.record;
        check::devices(&record.host_config)?;
        self.check_init(record)?;
        let mut points = record.mount_points.clone();
        let _held = self.volumes.attach(&mut points)?;
        // Its root as it will be: with what it wrote in earlier runs.
        let writable = upper.map_or(owned.directory(), |upper| &upper.directory);
        let tree = Tree::from_fd(self.tree(&record.layers, Some(writable))?, "root");
        let accounts = Accounts::read(&tree)?;
        self.volumes.fill(&points, &tree)?;
        drop(tree);
        let mut host = record.host_config.clone();
        if host.console_size == [0, 0] {
            host.console_size = [window.0.into(), window.1.into()];
        }
        let linked = self.linked(record)?;
        host.extra_hosts.extend(linked.hosts);
        let mut config = record.config.clone();
        // What it was told itself counts for more.
        config.env.splice(0..0, linked.variables);
        if let Some((hostname, domainname)) = self.names_of_network(record)? {
            (config.hostname, config.domainname) = (hostname, domainname);
        }
        let Connected { namespace, addresses } = self.connect(record)?;
        let wanted = Wanted {
            id: &record.id,
            config: &config,
            host: &host,
            accounts: &accounts,
            mounts: &points,
            place: &self.place(&record.id),
            machine: self.machine()?,
            network: namespace.as_deref(),
            neighbours: self,
        };
        oci::files::write(&wanted, &addresses)?;
        let spec = oci::generate(&wanted)?;
        let mut settings = self.settings(owned, &points)?;
        if let (Some(upper), Some(root)) = (upper, &mut settings.root) {
            upper.driver.clone_into(&mut root.driver);
            root.writable.clone_from(&upper.directory);
        }
        Ok(Bundle { settings, spec })
    }
    // ANCHOR_END: assemble

    /// The names of a container that has another's network: that one's. `None` where it has names of its
    /// own, or the machine's.
    pub(super) fn names_of_network(&self, record: &Record) -> Result<Option<(String, String)>> {
        let host = &record.host_config;
        let NetworkMode::Container(other) = host.network()? else { return Ok(None) };
        if host.host_uts()? {
            return Ok(None);
        }
        let (other, _) = self.containers.find(&other)?;
        let hostname =
            oci::hostname_of(&other.config, &other.host_config, &other.id, self.machine()?)?;
        Ok(Some((hostname, other.config.domainname)))
    }

    /// That the program is there which is to be an init: it must run in any image, so it is linked statically,
    /// which this one need not be.
    fn check_init(&self, record: &Record) -> Result<()> {
        let init = self.place(&record.id).init;
        if !oci::has_init(&record.host_config)? || init.ends_with("corten-supervisor") {
            return Ok(());
        }
        let what = "an init (--init)";
        let why = format!(
            "needs the program corten-supervisor beside {}: ./x install puts both in one place",
            init.display()
        );
        Err(Error::invalid(what, why))
    }

    /// Where the parts of a container are.
    pub(super) fn place(&self, id: &str) -> Place {
        let directory = self.containers.directory_of(id);
        Place {
            rootfs: directory.join("rootfs"),
            init: corten_supervisor::launch::program_path(),
            // Where others find it, it would be mounted on the host.
            shm: None,
            directory,
        }
    }

    /// What the supervisor is told.
    fn settings(&self, owned: &Owned, points: &[MountPoint]) -> Result<Settings> {
        let (record, directory) = (&owned.record, owned.directory());
        let supervision = supervision(&record.config, &record.host_config)?;
        let log = log(record, directory)?;
        let machine = self.machine()?;
        let grouped = machine.cgroups;
        if !grouped {
            limit::need_groups(&record.host_config.resources)?;
        }
        Ok(Settings {
            id: record.id.clone(),
            bundle: self.containers.shims.of(&record.id).join("bundle"),
            runtime_root: self.containers.shims.runtime_root(),
            record: directory.to_owned(),
            cgroups: if grouped { Cgroups::default() } else { Cgroups::Disabled },
            given_group: machine.given.as_ref().map(|given| given.group().to_owned()),
            root: Some(Root {
                driver: self.layers.driver().name().to_owned(),
                layers: self.lower_dirs(&record.layers)?,
                writable: directory.to_owned(),
                target: owned.rootfs(),
            }),
            subpaths: points.iter().filter_map(|point| self.subpath(point)).collect(),
            memory: self.shared_memory(record)?,
            init: oci::has_init(&record.host_config)?,
            stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            restart: supervision.restart,
            stop: supervision.stop,
            health: supervision.health,
            log,
            journal: Some(self.containers.journal(record)),
            auto_remove: record.auto_remove(),
            leashed: false,
            after: self.afterwards(record)?,
            restarts: 0,
        })
    }

    /// The shared memory that comes with another container's IPC namespace.
    fn shared_memory(&self, record: &Record) -> Result<Option<SharedMemory>> {
        let IpcMode::Container(name) = record.host_config.ipc()? else { return Ok(None) };
        let (_, pid) = self.donor(&name, "ipc")?;
        Ok(Some(SharedMemory {
            namespace: PathBuf::from(format!("/proc/{pid}/ns/mnt")),
            target: self.containers.shims.of(&record.id).join("bundle").join(MEMORY),
        }))
    }

    /// What the supervisor starts when all is over: a container on networks holds addresses and ports
    /// that others may want, and nobody may be there to take it off them.
    fn afterwards(&self, record: &Record) -> Result<Vec<PathBuf>> {
        if !matches!(record.host_config.network()?, NetworkMode::Network(_)) {
            return Ok(Vec::new());
        }
        let Some(program) = &self.program else { return Ok(Vec::new()) };
        let (root, state) = (self.root.clone(), self.containers.shims.directory().to_owned());
        let [tidy, id] = ["tidy", &record.id].map(PathBuf::from);
        Ok(vec![program.clone(), "--root".into(), root, "--state".into(), state, tidy, id])
    }

    /// A part of a volume is found by the supervisor: another container may move it until then.
    fn subpath(&self, point: &MountPoint) -> Option<Subpath> {
        let wanted = point.kind == MountType::Volume && !point.subpath.is_empty();
        wanted.then(|| Subpath {
            destination: PathBuf::from(&point.destination),
            volume: PathBuf::from(&point.source),
            path: point.subpath.clone(),
        })
    }

    /// A container whose namespaces another one uses, and its first process.
    fn donor(&self, container: &str, kind: &str) -> Result<(Record, i32)> {
        let (record, mut client) = match self.supervisor(container) {
            Err(Error::NotRunning { id }) => {
                let text = format!("cannot join {kind} namespace of a non running container: {id}");
                return Err(Error::refused(text));
            }
            other => other?,
        };
        let pid = client.status()?.pid;
        Ok((record, pid))
    }
}

/// Where the output goes; `None` for nowhere.
fn log(record: &Record, directory: &Path) -> Result<Option<Log>> {
    let LogChoice { driver, options } = super::life::chosen_log(record)?;
    let chosen = Options::parse(&driver, &options)?.driver;
    if chosen == Driver::None {
        return Ok(None);
    }
    let subject = Subject {
        id: &record.id,
        name: record.shown_name(),
        image: &record.config.image,
        image_id: &record.image_id,
        labels: &record.config.labels,
        env: &record.config.env,
    };
    let attributes = subject.attributes(&options)?;
    let path = chosen.path(directory, &record.id);
    Ok(Some(Log { driver, path, options, attributes }))
}

impl Neighbours for Engine {
    fn namespace(&self, container: &str, kind: &str) -> Result<PathBuf> {
        let (record, pid) = self.donor(container, kind)?;
        if kind == "ipc" && !matches!(record.host_config.ipc()?, IpcMode::Shareable | IpcMode::Host)
        {
            return Err(Error::refused(format!(
                "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable \
                 for the donor container)",
                record.id
            )));
        }
        Ok(PathBuf::from(format!("/proc/{pid}/ns/{kind}")))
    }

    fn directory(&self, container: &str) -> Result<PathBuf> {
        let (record, _) = self.containers.find(container)?;
        Ok(self.containers.directory_of(&record.id))
    }

    fn shm(&self, _container: &str) -> Result<Option<PathBuf>> {
        // By the supervisor, which cannot be found by others.
        Ok(Some(PathBuf::from(MEMORY)))
    }
}
