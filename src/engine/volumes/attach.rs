//! Before a container starts: volumes are made that are not there, and sources are filled in.

use std::path::Path;

use super::{Held, MountPoint, Volumes, Wish, driver, propagation};
use crate::engine::error::{At, Error, Result};
use crate::engine::options::MountType;

impl Volumes {
    /// Makes the volumes that `points` name, gives names to those without one, and fills in
    /// `source` and `device` of each. No volume is removed until the value that is given back is
    /// dropped, which is to be when the container's `config.json` holds the list.
    ///
    /// # Errors
    /// Where a source of the host is missing, or a volume cannot be made.
    pub fn attach(&self, points: &mut [MountPoint]) -> Result<Held> {
        let held = self.hold()?;
        for point in points.iter_mut() {
            match point.kind {
                MountType::Volume => self.attach_volume(point)?,
                MountType::Bind => bind_source(point)?,
                MountType::Tmpfs | MountType::Unknown(_) => {}
            }
        }
        propagation::check(points)?;
        Ok(held)
    }

    fn attach_volume(&self, point: &mut MountPoint) -> Result<()> {
        let wish = Wish {
            name: point.name.clone(),
            driver: point.driver.clone(),
            options: point.driver_options.clone(),
            labels: point.labels.clone(),
        };
        let volume = self.create(&wish)?;
        // From here on it can be discarded.
        point.name.clone_from(&volume.name);
        point.device = driver::device(&volume.options, !point.no_copy)?;
        if point.device.is_some() && !point.subpath.is_empty() {
            let text = format!("volume {} has options, so it has no subpath here", volume.name);
            return Err(Error::refused(text));
        }
        point.source = self.data(&volume.name).to_string_lossy().into_owned();
        Ok(())
    }

    /// Removes the volumes that were made for a container that is gone, and that nobody uses.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn discard(&self, points: &[MountPoint]) -> Result<()> {
        for point in points.iter().filter(|point| point.anonymous && !point.name.is_empty()) {
            match self.remove(&point.name, true) {
                Ok(()) | Err(Error::VolumeInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// `-v` makes what is missing; `--mount` refuses it.
fn bind_source(point: &MountPoint) -> Result<()> {
    let source = Path::new(&point.source);
    // A link that dangles counts as there: making its target is not asked for.
    if source.symlink_metadata().is_ok() {
        return Ok(());
    }
    if point.create_source {
        return std::fs::create_dir_all(source).at("make the host directory", source);
    }
    Err(Error::refused(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        point.source
    )))
}
