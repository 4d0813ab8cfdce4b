//! `update`: other limits for a container that exists.

use corten_cgroups::Limits;

use crate::container::{Container, Status};
use crate::error::Result;

/// Sets what is set in `limits`, and leaves the rest.
///
/// # Errors
/// Where the container has stopped or has no control groups; what chapter 2 says of the limits.
pub fn update(container: &Container, limits: &Limits) -> Result<()> {
    let status = container.status();
    if status == Status::Stopped {
        return Err(container.wrong_status("update", status, ""));
    }
    match container.cgroup()? {
        Some(cgroup) => cgroup.update(limits),
        None => Err(container.wrong_status("update", status, ", and has no control group")),
    }
}
