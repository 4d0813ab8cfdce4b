//! A profile with its names resolved: for each architecture, what to do for which number.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxSeccompOperator as Operator;
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg};

use super::syscalls::{self, MULTIPLEXED};
use crate::error::{Error, Result};

/// An architecture whose numbers are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 32-bit Intel.
    X86,
    /// 64-bit registers, 32-bit pointers; its numbers have bit 30 set.
    X32,
    /// 32-bit Arm.
    Arm,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit Power, little-endian.
    Ppc64le,
    /// 64-bit IBM Z.
    S390x,
    /// 64-bit RISC-V.
    Riscv64,
    /// 32-bit MIPS, little-endian.
    Mipsel,
    /// 64-bit MIPS, little-endian.
    Mipsel64,
    /// 64-bit MIPS with 32-bit pointers, little-endian.
    Mipsel64n32,
}

impl Architecture {
    /// All.
    pub const ALL: [Architecture; 11] = [
        Architecture::X86_64,
        Architecture::X86,
        Architecture::X32,
        Architecture::Arm,
        Architecture::Aarch64,
        Architecture::Ppc64le,
        Architecture::S390x,
        Architecture::Riscv64,
        Architecture::Mipsel,
        Architecture::Mipsel64,
        Architecture::Mipsel64n32,
    ];

    /// That of this program.
    ///
    /// # Errors
    /// Where its system calls are not known here.
    pub fn native() -> Result<Architecture> {
        Ok(match std::env::consts::ARCH {
            "x86_64" => Architecture::X86_64,
            "x86" => Architecture::X86,
            "aarch64" => Architecture::Aarch64,
            "arm" => Architecture::Arm,
            "powerpc64" => Architecture::Ppc64le,
            "s390x" => Architecture::S390x,
            "riscv64" => Architecture::Riscv64,
            other => {
                let why = "has no table of system calls here, so it cannot have seccomp";
                return Err(Error::invalid(format!("this architecture ({other})"), why));
            }
        })
    }

    /// AUDIT_ARCH_* of linux/audit.h, which the kernel tells a filter.
    pub const fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 | Architecture::X32 => 0xc000_003e,
            Architecture::X86 => 0x4000_0003,
            Architecture::Arm => 0x4000_0028,
            Architecture::Aarch64 => 0xc000_00b7,
            Architecture::Ppc64le => 0xc000_0015,
            Architecture::S390x => 0x8000_0016,
            Architecture::Riscv64 => 0xc000_00f3,
            Architecture::Mipsel => 0x4000_0008,
            Architecture::Mipsel64 => 0xc000_0008,
            Architecture::Mipsel64n32 => 0xe000_0008,
        }
    }

    /// Its name in a profile.
    pub fn profile_name(self) -> String {
        let name = match self {
            Architecture::Mipsel => "mipsel",
            Architecture::Mipsel64 => "mipsel64",
            Architecture::Mipsel64n32 => "mipsel64n32",
            other => other.column(),
        };
        format!("SCMP_ARCH_{}", name.to_ascii_uppercase())
    }

    const fn column(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::X86 => "x86",
            Architecture::X32 => "x32",
            Architecture::Arm => "arm",
            Architecture::Aarch64 => "aarch64",
            Architecture::Ppc64le => "ppc64le",
            Architecture::S390x => "s390x",
            Architecture::Riscv64 => "riscv64",
            Architecture::Mipsel => "mips",
            Architecture::Mipsel64 => "mips64",
            Architecture::Mipsel64n32 => "mips64n32",
        }
    }

    /// Whether arguments have 32 bits only.
    const fn is_narrow(self) -> bool {
        matches!(self, Architecture::X86 | Architecture::Arm | Architecture::Mipsel)
    }

    fn of(arch: Arch) -> Option<Architecture> {
        Some(match arch {
            Arch::ScmpArchX86_64 => Architecture::X86_64,
            Arch::ScmpArchX86 => Architecture::X86,
            Arch::ScmpArchX32 => Architecture::X32,
            Arch::ScmpArchArm => Architecture::Arm,
            Arch::ScmpArchAarch64 => Architecture::Aarch64,
            Arch::ScmpArchPpc64le => Architecture::Ppc64le,
            Arch::ScmpArchS390x => Architecture::S390x,
            Arch::ScmpArchRiscv64 => Architecture::Riscv64,
            Arch::ScmpArchMipsel => Architecture::Mipsel,
            Arch::ScmpArchMipsel64 => Architecture::Mipsel64,
            Arch::ScmpArchMipsel64n32 => Architecture::Mipsel64n32,
            // Of the machine itself, which is there in any case; or one that cannot run here.
            _ => return None,
        })
    }

    /// The numbers that its calls have in a filter.
    fn numbers(self) -> BTreeMap<&'static str, u32> {
        let mut numbers = syscalls::column(self.column());
        if self == Architecture::X32 {
            numbers.values_mut().for_each(|number| *number |= X32_BIT);
        }
        numbers
    }
}

/// `__X32_SYSCALL_BIT`.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub index: u8,
    pub operator: Operator,
    pub value: u64,
    /// The value that is expected behind the mask `value`, for MaskedEq.
    pub second: u64,
}

/// If all conditions hold, the action's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

/// What is done on one architecture.
#[derive(Debug)]
pub(super) struct Calls {
    pub architecture: Architecture,
    pub narrow: bool,
    /// Rules by number; the first that matches counts.
    pub rules: BTreeMap<u32, Vec<Rule>>,
    /// The highest number that the profile's author can have known.
    pub newest: u32,
}

/// A whole profile.
#[derive(Debug)]
pub(super) struct Resolved {
    pub calls: Vec<Calls>,
    /// For calls without a rule.
    pub default: u32,
    /// For calls that are newer than the profile.
    pub unknown: u32,
}

// ANCHOR: action
/// The value that a filter returns for an action (seccomp(2)). The errno is that of the rule, or
/// EPERM.
pub(super) fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let data = errno.unwrap_or(libc::EPERM as u32);
    let with_data = |action: u32| match u16::try_from(data) {
        Ok(data) => Ok(action | u32::from(data)),
        Err(_) => Err(Error::invalid(format!("linux.seccomp: errnoRet {data}"), "is above 65535")),
    };
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Ok(libc::SECCOMP_RET_KILL_THREAD)
        }
        LinuxSeccompAction::ScmpActKillProcess => Ok(libc::SECCOMP_RET_KILL_PROCESS),
        LinuxSeccompAction::ScmpActTrap => Ok(libc::SECCOMP_RET_TRAP),
        LinuxSeccompAction::ScmpActErrno => with_data(libc::SECCOMP_RET_ERRNO),
        LinuxSeccompAction::ScmpActNotify => Ok(libc::SECCOMP_RET_USER_NOTIF),
        LinuxSeccompAction::ScmpActTrace => with_data(libc::SECCOMP_RET_TRACE),
        LinuxSeccompAction::ScmpActLog => Ok(libc::SECCOMP_RET_LOG),
        LinuxSeccompAction::ScmpActAllow => Ok(libc::SECCOMP_RET_ALLOW),
    }
}
// ANCHOR_END: action

/// Resolves the names of a profile.
pub(super) fn resolve(profile: &LinuxSeccomp, native: Architecture) -> Result<Resolved> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut architectures = vec![native];
    let listed = profile.architectures().iter().flatten();
    architectures.extend(listed.filter_map(|arch| Architecture::of(*arch)));
    architectures.sort();
    architectures.dedup();
    // ANCHOR: unknown
    // A call that did not exist when the profile was written cannot be in it. Programs try such
    // calls and fall back when the kernel answers ENOSYS, but not when it answers EPERM.
    let refuses = profile.default_action() == LinuxSeccompAction::ScmpActErrno;
    let unknown = if refuses { libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32 } else { default };
    // ANCHOR_END: unknown
    let calls = architectures
        .into_iter()
        .map(|architecture| calls(profile, architecture, default))
        .collect::<Result<_>>()?;
    Ok(Resolved { calls, default, unknown })
}

fn calls(profile: &LinuxSeccomp, architecture: Architecture, default: u32) -> Result<Calls> {
    let numbers = architecture.numbers();
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    let mut newest = 0;
    for syscall in profile.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret())?;
        let alternatives = conditions(syscall.args().as_deref().unwrap_or_default())?;
        for name in syscall.names() {
            let number = numbers.get(name.as_str()).copied();
            newest = newest.max(number.unwrap_or(0));
            // A rule that says what is done anyway; it still tells how new the profile is.
            if action == default {
                continue;
            }
            if let Some(number) = number {
                let rules = rules.entry(number).or_default();
                rules.extend(
                    alternatives.iter().cloned().map(|conditions| Rule { conditions, action }),
                );
            }
            // The arguments of a multiplexed call are in memory, where a filter cannot look.
            if alternatives == [Vec::new()]
                && let Some((_, multiplexer, value)) =
                    MULTIPLEXED.iter().find(|(call, ..)| call == name)
                && let Some(number) = numbers.get(multiplexer)
            {
                let condition =
                    Condition { index: 0, operator: Operator::ScmpCmpEq, value: *value, second: 0 };
                let rule = Rule { conditions: vec![condition], action };
                rules.entry(*number).or_default().push(rule);
            }
        }
    }
    Ok(Calls { architecture, narrow: architecture.is_narrow(), rules, newest })
}

// ANCHOR: conditions
/// The conditions of a rule: all must hold. Where one argument has several, each is a rule of its
/// own, as runc has it: nobody means that an argument equals two values at once.
fn conditions(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let mut all = Vec::with_capacity(args.len());
    for arg in args {
        let index = u8::try_from(arg.index()).ok().filter(|index| *index < 6).ok_or_else(|| {
            Error::invalid(format!("linux.seccomp: argument {}", arg.index()), "is above 5")
        })?;
        let second = arg.value_two().unwrap_or(0);
        all.push(Condition { index, operator: arg.op(), value: arg.value(), second });
    }
    let repeated = all.iter().enumerate().any(|(at, condition): (usize, &Condition)| {
        all.iter().take(at).any(|other| other.index == condition.index)
    });
    Ok(if repeated {
        all.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![all]
    })
}
// ANCHOR_END: conditions
