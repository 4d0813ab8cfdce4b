//! A container out of a checkpoint: everything but its processes is made here, those by CRIU.

use super::{Create, Options};
use crate::bundle::Bundle;
use crate::checkpoint::{self, Settings};
use crate::container::Container;
use crate::error::Result;
use crate::id::ContainerId;
use crate::state::{Directory, Init};

impl Create {
    /// The plan of a container whose processes CRIU makes.
    ///
    /// # Errors
    /// As [`Create::new`].
    pub fn for_restore(id: ContainerId, bundle: &Bundle, options: Options) -> Result<Create> {
        Create::new(id, bundle, options)
    }

    /// Makes the state and the control groups, and lets CRIU restore into them.
    ///
    /// # Errors
    /// Where the container exists, or CRIU fails; nothing is left then.
    pub fn restore(
        mut self,
        bundle: &Bundle,
        settings: &Settings,
    ) -> Result<(Container, libc::pid_t)> {
        let (directory, _lock) = Directory::create(&self.options.root, &self.id)?;
        self.state.cgroup = self.cgroup.as_ref().map(crate::cgroup::Plan::saved);
        let made = self.restored(&directory, bundle, settings);
        match made {
            Ok(pid) => Ok((Container { directory, state: self.state }, pid)),
            Err(error) => {
                if let Ok(Some(cgroup)) =
                    (Container { directory: directory.clone(), state: self.state }).cgroup()
                {
                    let _ = cgroup.kill();
                    let _ = cgroup.remove();
                }
                let _ = directory.remove();
                Err(error)
            }
        }
    }

    fn restored(
        &mut self,
        directory: &Directory,
        bundle: &Bundle,
        settings: &Settings,
    ) -> Result<libc::pid_t> {
        directory.write(&self.state)?;
        directory.write_file("config.json", self.config.as_bytes())?;
        let cgroup = self.cgroup.as_ref().map(crate::cgroup::Plan::execute).transpose()?;
        let pid_file = directory.path().join("restored.pid");
        let pid = checkpoint::restore(bundle, settings, cgroup.as_ref(), &pid_file)?;
        self.state.init = Some(Init::of(pid)?);
        self.state.complete = true;
        directory.write(&self.state)?;
        if let Some(path) = &self.options.pid_file {
            super::write_pid(path, pid)?;
        }
        Ok(pid)
    }
}
