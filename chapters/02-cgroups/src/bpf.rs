//! v2's device rules: an eBPF program that the kernel asks at every open and mknod of a device.
//!
//! The program is straight code, assembled here from the rules; there is no loop, no map and no
//! call in it. It is given the kind of the device, its numbers and what is to be done, and answers
//! 1 for yes and 0 for no (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).

use std::fmt;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::device::{Access, DeviceKind, DeviceRule};
use crate::error::{Context, Error, Result};
use crate::sys;

// ANCHOR: instruction
/// One instruction, in the kernel's own layout (linux/bpf.h, struct bpf_insn).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, operation and kind of operand.
    pub code: u8,
    /// Destination register in the low half, source in the high half.
    pub registers: u8,
    /// Of a jump: how many instructions to skip. Of a load: bytes from the register.
    pub offset: i16,
    /// The constant operand.
    pub constant: i32,
}
// ANCHOR_END: instruction

/// The operations that the program is made of (linux/bpf.h, linux/bpf_common.h).
pub mod code {
    /// `dst = *(u32 *)(src + offset)`: BPF_LDX | BPF_MEM | BPF_W.
    pub const LOAD: u8 = 0x61;
    /// `dst = constant`: BPF_ALU64 | BPF_MOV | BPF_K.
    pub const SET: u8 = 0xb7;
    /// `dst = src`: BPF_ALU64 | BPF_MOV | BPF_X.
    pub const COPY: u8 = 0xbf;
    /// `dst &= constant`: BPF_ALU64 | BPF_AND | BPF_K.
    pub const AND: u8 = 0x57;
    /// `dst >>= constant`: BPF_ALU64 | BPF_RSH | BPF_K.
    pub const SHIFT: u8 = 0x77;
    /// `if dst == constant`, in 32 bits: BPF_JMP32 | BPF_JEQ | BPF_K.
    pub const IF_EQUAL: u8 = 0x16;
    /// `if dst != constant`, in 32 bits: BPF_JMP32 | BPF_JNE | BPF_K.
    pub const IF_DIFFERENT: u8 = 0x56;
    /// Ends with the answer in r0: BPF_JMP | BPF_EXIT.
    pub const EXIT: u8 = 0x95;
}

// The registers, and what is in them. r1 holds the context when the program starts.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const ASKED: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const fn op(code: u8, dst: u8, src: u8, offset: i16, constant: i32) -> Instruction {
    Instruction { code, registers: dst | src << 4, offset, constant }
}

/// The program of some rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
}

impl Program {
    // ANCHOR: assemble
    /// Assembles the rules, the last one first. ASKED holds what is still to be decided: a rule
    /// that denies any of it ends the matter, one that allows takes its part away, and when nothing
    /// is left the answer is yes.
    pub fn new(rules: &[DeviceRule]) -> Program {
        let mut program = vec![
            // The context: access << 16 | kind, major, minor.
            op(code::LOAD, ASKED, CONTEXT, 0, 0),
            op(code::COPY, KIND, ASKED, 0, 0),
            op(code::AND, KIND, 0, 0, 0xffff),
            op(code::SHIFT, ASKED, 0, 0, 16),
            op(code::LOAD, MAJOR, CONTEXT, 4, 0),
            op(code::LOAD, MINOR, CONTEXT, 8, 0),
        ];
        for rule in rules.iter().rev() {
            if DeviceRule::everything(rule.allow) == *rule {
                program.extend(answer(rule.allow));
                return Program { instructions: program };
            }
            program.extend(block(rule));
        }
        program.extend(answer(false));
        Program { instructions: program }
    }
    // ANCHOR_END: assemble

    /// The instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    // ANCHOR: attach
    /// Loads the program and attaches it to a v2 group, in the place of the one that is there.
    /// BPF_F_REPLACE swaps the two in one step: at no moment is there none, which would allow
    /// everything, or both, which would allow only what both do.
    ///
    /// # Errors
    /// `EPERM` without CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN); [`Error::Verifier`].
    pub fn attach(&self, group: BorrowedFd<'_>) -> Result<()> {
        let program = self.load()?;
        let program = std::os::fd::AsFd::as_fd(&program);
        let old = sys::bpf::attached(group).during("list the group's device programs")?;
        let mut old = old.into_iter();
        let replaced = match (old.next(), old.len()) {
            (Some(id), 0) => Some(sys::bpf::by_id(id).during("open the group's device program")?),
            (first, _) => {
                // Several: somebody else's are among them. Ours comes first, then they go.
                sys::bpf::attach(program, group, None).during("attach the device program")?;
                for id in first.into_iter().chain(old) {
                    let other = sys::bpf::by_id(id).during("open a device program")?;
                    sys::bpf::detach(&other, group).during("detach a device program")?;
                }
                return Ok(());
            }
        };
        sys::bpf::attach(program, group, replaced.as_ref()).during("replace the device program")
    }
    // ANCHOR_END: attach

    /// Has the kernel check and translate the program.
    ///
    /// # Errors
    /// As [`Program::attach`].
    pub fn load(&self) -> Result<std::os::fd::OwnedFd> {
        match sys::bpf::load(&self.instructions, &mut []) {
            Ok(fd) => Ok(fd),
            Err(Errno::EINVAL | Errno::EACCES) => {
                // Only now, as the log costs time.
                let mut log = vec![0; 64 << 10];
                let result = sys::bpf::load(&self.instructions, &mut log);
                result.map_err(|errno| {
                    let length = log.iter().position(|b| *b == 0).unwrap_or(0);
                    let text = String::from_utf8_lossy(&log[..length]);
                    let last = text.lines().rev().find(|l| !l.starts_with("processed"));
                    Error::Verifier { errno, log: last.unwrap_or("no word").to_owned() }
                })
            }
            Err(errno) => Err(errno).during("load the device program"),
        }
    }
}

// ANCHOR: block
/// One rule: the tests that skip it, then what it decides.
fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let access = i32::from(rule.access.bits());
    let decision = if rule.allow {
        vec![
            op(code::AND, ASKED, 0, 0, !access),
            op(code::IF_DIFFERENT, ASKED, 0, 2, 0),
            op(code::SET, ANSWER, 0, 0, 1),
            op(code::EXIT, 0, 0, 0, 0),
        ]
    } else {
        vec![
            op(code::COPY, SCRATCH, ASKED, 0, 0),
            op(code::AND, SCRATCH, 0, 0, access),
            op(code::IF_EQUAL, SCRATCH, 0, 2, 0),
            op(code::SET, ANSWER, 0, 0, 0),
            op(code::EXIT, 0, 0, 0, 0),
        ]
    };
    let kind = match rule.kind {
        DeviceKind::All => None,
        DeviceKind::Block => Some(1),
        DeviceKind::Char => Some(2),
    };
    let tests = [(KIND, kind), (MAJOR, rule.major), (MINOR, rule.minor)];
    let tests: Vec<(u8, u32)> =
        tests.into_iter().filter_map(|(register, value)| Some((register, value?))).collect();
    let mut block = Vec::new();
    for (at, (register, value)) in tests.iter().enumerate() {
        // Over the tests that follow, and over the decision: ten instructions at most.
        let skip = (tests.len() - at - 1 + decision.len()) as i16;
        // The same 32 bits; the comparison does not know of signs.
        block.push(op(code::IF_DIFFERENT, *register, 0, skip, value.cast_signed()));
    }
    block.extend(decision);
    block
}
// ANCHOR_END: block

fn answer(allow: bool) -> [Instruction; 2] {
    [op(code::SET, ANSWER, 0, 0, i32::from(allow)), op(code::EXIT, 0, 0, 0, 0)]
}

impl fmt::Display for Program {
    /// One line for each instruction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, instruction) in self.instructions.iter().enumerate() {
            let Instruction { code, registers, offset, constant } = *instruction;
            let (dst, src) = (registers & 15, registers >> 4);
            let to = at + 1 + offset.unsigned_abs() as usize;
            write!(f, "{at:>4}  ")?;
            match code {
                code::LOAD => writeln!(f, "r{dst} = *(u32 *)(r{src} + {offset})")?,
                code::SET => writeln!(f, "r{dst} = {constant}")?,
                code::COPY => writeln!(f, "r{dst} = r{src}")?,
                code::AND => writeln!(f, "r{dst} &= {constant:#x}")?,
                code::SHIFT => writeln!(f, "r{dst} >>= {constant}")?,
                code::IF_EQUAL => writeln!(f, "if r{dst} == {constant} goto {to}")?,
                code::IF_DIFFERENT => writeln!(f, "if r{dst} != {constant} goto {to}")?,
                code::EXIT => writeln!(f, "exit")?,
                other => writeln!(f, "{other:#x}")?,
            }
        }
        Ok(())
    }
}

/// What the kernel passes to the program for an access: the three words of its context.
pub fn context(kind: DeviceKind, major: u32, minor: u32, access: Access) -> [u32; 3] {
    let kind = if kind == DeviceKind::Block { 1 } else { 2 };
    [u32::from(access.bits()) << 16 | kind, major, minor]
}

#[cfg(test)]
mod tests;
