//! What can be said to be wrong without asking the kernel.

use crate::error::{Error, Result};

use super::{Cpu, CpuShare, Io, IoWeight, Limits, Max, Memory};

impl Limits {
    /// Checks what the kernel would answer with a bare EINVAL, or take and mean something else.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first fault.
    pub fn check(&self) -> Result<()> {
        self.cpu.check()?;
        self.memory.check()?;
        self.io.check()?;
        for hugetlb in &self.hugetlb {
            let size = &hugetlb.page_size;
            if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(Error::invalid(
                    format!("huge page size `{size}`"),
                    "is not named as in /sys/kernel/mm/hugepages, for example 2MB",
                ));
            }
        }
        for rdma in &self.rdma {
            if rdma.device.is_empty() || rdma.device.contains(char::is_whitespace) {
                return Err(Error::invalid("rdma device", "is empty or has a space in its name"));
            }
        }
        for (interface, _) in &self.network.priorities {
            if interface.is_empty() || interface.contains(char::is_whitespace) {
                return Err(Error::invalid("network interface", "is empty or has a space"));
            }
        }
        for file in self.unified.keys() {
            if file.contains('/') || !file.contains('.') || file.starts_with('.') {
                return Err(Error::invalid(
                    format!("unified file `{file}`"),
                    "is not the name of a file of a group, such as memory.high",
                ));
            }
        }
        Ok(())
    }
}

impl Cpu {
    fn check(&self) -> Result<()> {
        if let Some(CpuShare::Weight(weight)) = self.share {
            in_range("cpu weight", weight, 1, 10_000)?;
        }
        if let Some(period) = self.period {
            in_range("cpu period", period, 1_000, 1_000_000)?;
        }
        if let Some(Max::At(quota)) = self.quota {
            if quota < 1_000 {
                return Err(Error::invalid(
                    format!("cpu quota {quota}"),
                    "is below 1000 microseconds, the least that the kernel takes",
                ));
            }
            if self.burst.is_some_and(|burst| burst > quota) {
                return Err(Error::invalid("cpu burst", "is above the quota"));
            }
        }
        for (what, list) in [("cpuset cpus", &self.cpus), ("cpuset mems", &self.mems)] {
            if let Some(list) = list {
                check_list(what, list)?;
            }
        }
        Ok(())
    }
}

impl Memory {
    fn check(&self) -> Result<()> {
        if let Some(swappiness) = self.swappiness {
            in_range("memory swappiness", swappiness, 0, 100)?;
        }
        match (self.limit, self.swap) {
            (Some(limit), Some(swap)) if swap < limit => {
                Err(Error::invalid("memory and swap together", "are limited below memory alone"))
            }
            (None, Some(Max::At(_))) => {
                Err(Error::invalid("memory and swap together", "are limited, and memory is not"))
            }
            _ => Ok(()),
        }
    }
}

impl Io {
    fn check(&self) -> Result<()> {
        match self.weight {
            Some(IoWeight::Blkio(weight)) => in_range("blkio weight", weight.into(), 10, 1_000)?,
            Some(IoWeight::Io(weight)) => in_range("io weight", weight.into(), 1, 10_000)?,
            None => {}
        }
        for device in &self.weight_devices {
            if let Some(weight) = device.weight {
                in_range("blkio weight of a device", weight.into(), 10, 1_000)?;
            }
        }
        Ok(())
    }
}

fn in_range(what: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} {value}"), format!("is not between {least} and {most}")))
}

/// `0-3,7`, or nothing. The kernel says of `3-0` and of processors that there are not.
fn check_list(what: &str, list: &str) -> Result<()> {
    let number = |text: &str| text.trim().parse::<u32>().is_ok();
    let item = |text: &str| {
        let range = text.split_once(':').map_or(text, |(range, _)| range);
        range.split_once('-').map_or_else(|| number(range), |(a, b)| number(a) && number(b))
    };
    if list.trim().is_empty() || list.trim().split(',').all(item) {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} `{list}`"), "is not a list such as 0-3,7"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Throttle;

    fn refused(limits: Limits) -> String {
        limits.check().unwrap_err().to_string()
    }

    #[test]
    fn contradictions_are_found_before_the_kernel_is_asked() {
        let memory = |limit, swap| Limits {
            memory: Memory { limit, swap, ..Memory::default() },
            ..Limits::default()
        };
        assert!(memory(Some(Max::At(10)), Some(Max::At(20))).check().is_ok());
        assert!(memory(Some(Max::At(10)), Some(Max::Unlimited)).check().is_ok());
        assert!(memory(None, Some(Max::Unlimited)).check().is_ok());
        assert!(refused(memory(Some(Max::At(20)), Some(Max::At(10)))).contains("below memory"));
        assert!(refused(memory(Some(Max::Unlimited), Some(Max::At(10)))).contains("below memory"));
        assert!(refused(memory(None, Some(Max::At(10)))).contains("memory is not"));

        let cpu = |cpu| Limits { cpu, ..Limits::default() };
        assert!(refused(cpu(Cpu { period: Some(10), ..Cpu::default() })).contains("cpu period 10"));
        let list = cpu(Cpu { cpus: Some("0-".into()), ..Cpu::default() });
        assert_eq!(refused(list), "cpuset cpus `0-`: is not a list such as 0-3,7");
        assert!(cpu(Cpu { cpus: Some("0-3,7".into()), ..Cpu::default() }).check().is_ok());

        let mut unified = Limits::default();
        unified.unified.insert("../memory.max".into(), "1".into());
        assert!(refused(unified).starts_with("unified file `../memory.max`"));
        let throttle = Throttle { major: 8, minor: 0, rate: 1 };
        let io = Io { write_bps: vec![throttle], ..Io::default() };
        assert!(Limits { io, ..Limits::default() }.check().is_ok());
    }
}
