//! The five sets of capabilities, cut to what this process can give.

use corten_namespaces::capability::CapabilitySet;
use oci_spec::runtime::{Capabilities as Names, LinuxCapabilities};

use crate::error::Result;
use crate::sys::process;

/// The sets of capabilities(7) as the kernel's bit masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// The ceiling of what execve(2) can give.
    pub bounding: u64,
    /// What counts.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a program file may ask to keep.
    pub inheritable: u64,
    /// What programs keep without asking.
    pub ambient: u64,
}

impl Capabilities {
    // ANCHOR: available
    /// Out of the configuration: the sets, and what was left out because this process does not
    /// have it itself. A container that asks for more than there is gets what there is.
    ///
    /// # Errors
    /// Never for names that the type knows.
    pub fn plan(config: &LinuxCapabilities) -> Result<(Capabilities, Vec<String>)> {
        let available = available();
        let mut missing = 0;
        let mut set = |names: &Option<Names>| -> Result<u64> {
            let names: Vec<String> = names.iter().flatten().map(ToString::to_string).collect();
            let bits = CapabilitySet::from_names(names.iter().map(String::as_str))?.bits();
            missing |= bits & !available;
            Ok(bits & available)
        };
        let bounding = set(config.bounding())?;
        let permitted = set(config.permitted())?;
        let sets = Capabilities {
            bounding,
            permitted,
            effective: set(config.effective())? & permitted,
            inheritable: set(config.inheritable())?,
            ambient: set(config.ambient())?,
        };
        // The kernel wants ambient ones to be permitted and inheritable.
        let ambient = sets.ambient & sets.permitted & sets.inheritable;
        let missing = (0..=CapabilitySet::LAST)
            .filter(|number| missing >> number & 1 == 1)
            .map(name)
            .collect();
        Ok((Capabilities { ambient, ..sets }, missing))
    }
    // ANCHOR_END: available
}

/// What this process may give: its bounding set, as far as the kernel goes.
fn available() -> u64 {
    (0..64)
        .map_while(|number| process::is_bounded(number).map(|bounded| (number, bounded)))
        .filter(|(_, bounded)| *bounded)
        .fold(0, |set, (number, _)| set | 1 << number)
}

/// The name of a capability by its number.
pub fn name(number: u32) -> String {
    let names = corten_namespaces::capability::names();
    names.get(number as usize).map_or_else(|| format!("CAP_{number}"), |name| format!("CAP_{name}"))
}
