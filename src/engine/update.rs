//! Other limits and another restart policy for a container that is there.

use corten_supervisor::protocol::Operation;

use super::Engine;
use super::error::{Error, Result};
use super::oci::resource;
use super::options::host::{Resources, RestartPolicy};
use super::options::limit;
use super::options::supervision::supervision;

/// What shall be other than it was; what is empty stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Limits.
    pub resources: Resources,
    /// Whether it is started again.
    pub restart: Option<RestartPolicy>,
}

impl Engine {
    // ANCHOR: update
    /// Changes limits. They are the kernel's first, where the container runs, and are written down
    /// when it has taken them. Returns what the user should be told.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], what does not fit together, what the kernel refuses.
    pub fn update(&self, name_or_id: &str, update: &Update) -> Result<Vec<String>> {
        let (record, _) = self.containers.find(name_or_id)?;
        let mut changed = record.clone();
        let resources = &mut changed.host_config.resources;
        let machine = self.machine()?;
        if !machine.cgroups {
            limit::need_groups(resources)?;
        }
        merge(resources, &update.resources);
        let warnings = limit::check(resources, machine, true)?;
        if let Some(policy) = &update.restart {
            if record.auto_remove() && !["", "no"].contains(&policy.name.as_str()) {
                return Err(Error::refused(format!(
                    "Cannot update container {}: Restart policy cannot be updated because AutoRemove is \
                     enabled for the container",
                    record.id
                )));
            }
            changed.host_config.restart_policy = policy.clone();
            super::options::check::restart(&changed.host_config)?;
        }
        match self.containers.shims.connect(&record.id) {
            Ok(mut client) => {
                let mut limits = resource::resources(&changed.host_config.resources, Vec::new())?;
                // Which devices it may use stays as it is.
                if let Some(limits) = limits.as_object_mut() {
                    limits.remove("devices");
                }
                client.perform(Operation::Update(limits))?;
                let told = supervision(&changed.config, &changed.host_config)?;
                client.perform(Operation::Policy(told.restart))?;
            }
            Err(corten_supervisor::Error::NoSupervisor { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let (resources, policy) =
            (changed.host_config.resources, changed.host_config.restart_policy);
        self.containers.modify(&record.id, |record| {
            record.host_config.resources = resources;
            record.host_config.restart_policy = policy;
        })?;
        self.containers.note(&record, "update", &[]);
        Ok(warnings)
    }
    // ANCHOR_END: update
}

/// Takes over what is asked for; zero and nothing are for what stays.
fn merge(own: &mut Resources, other: &Resources) {
    fn take<T: PartialEq + Default + Clone>(own: &mut T, other: &T) {
        if *other != T::default() {
            own.clone_from(other);
        }
    }
    // What is left of the other kind of quota would contradict.
    if other.nano_cpus != 0 {
        (own.cpu_quota, own.cpu_period) = (0, 0);
    } else if other.cpu_quota != 0 || other.cpu_period != 0 {
        own.nano_cpus = 0;
    }
    take(&mut own.blkio_weight, &other.blkio_weight);
    take(&mut own.cpu_shares, &other.cpu_shares);
    take(&mut own.nano_cpus, &other.nano_cpus);
    take(&mut own.cpu_period, &other.cpu_period);
    take(&mut own.cpu_quota, &other.cpu_quota);
    take(&mut own.cpu_realtime_period, &other.cpu_realtime_period);
    take(&mut own.cpu_realtime_runtime, &other.cpu_realtime_runtime);
    take(&mut own.cpuset_cpus, &other.cpuset_cpus);
    take(&mut own.cpuset_mems, &other.cpuset_mems);
    take(&mut own.memory, &other.memory);
    take(&mut own.memory_reservation, &other.memory_reservation);
    take(&mut own.memory_swap, &other.memory_swap);
    take(&mut own.pids_limit, &other.pids_limit);
}
