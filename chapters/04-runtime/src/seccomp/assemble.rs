//! From rules to instructions of the classic BPF machine (the kernel's networking/filter and
//! userspace-api/seccomp_filter).
//!
//! The machine has an accumulator, loads from `struct seccomp_data`, jumps forward only, and a
//! conditional jump reaches 255 instructions at most.

use oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::rules::{Architecture, Calls, Condition, Resolved, Rule, X32_BIT};
use crate::sys::seccomp::Instruction;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ABOVE: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

type Code = Vec<Instruction>;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn ret(action: u32) -> Code {
    vec![plain(RETURN, action)]
}

/// `code`, then where `condition` compares true, `yes`, else `no`: `no` comes first.
fn branch(code: u16, k: u32, yes: Code, no: Code) -> Code {
    let mut out = Vec::with_capacity(yes.len() + no.len() + 2);
    match u8::try_from(no.len()) {
        Ok(skip) => out.push(Instruction { code, jt: skip, jf: 0, k }),
        // Too far for a conditional jump: around an unconditional one.
        Err(_) => {
            out.push(Instruction { code, jt: 0, jf: 1, k });
            out.push(plain(JUMP, no.len() as u32));
        }
    }
    out.extend(no);
    out.extend(yes);
    out
}

// ANCHOR: program
/// The whole program: which architecture, then which number.
pub(super) fn program(resolved: &Resolved) -> Code {
    // An architecture that the profile does not name: its numbers mean other calls.
    let mut rest = ret(libc::SECCOMP_RET_KILL_THREAD);
    for audit in audits(resolved) {
        let of = |calls: &&Calls| calls.architecture.audit() == audit;
        let mut ranges = Vec::new();
        for calls in resolved.calls.iter().filter(of) {
            ranges.extend(calls_ranges(calls, resolved));
        }
        if audit == Architecture::X86_64.audit() {
            close_x32(&mut ranges);
        }
        let mut code = vec![plain(LOAD, NUMBER)];
        code.extend(search(&ranges));
        rest = branch(EQUAL, audit, code, rest);
    }
    let mut code = vec![plain(LOAD, ARCHITECTURE)];
    code.extend(rest);
    code
}
// ANCHOR_END: program

fn audits(resolved: &Resolved) -> Vec<u32> {
    let mut audits: Vec<u32> =
        resolved.calls.iter().map(|calls| calls.architecture.audit()).collect();
    audits.sort_unstable();
    audits.dedup();
    audits
}

/// From this number on, up to the next range.
struct Range {
    first: u32,
    code: Code,
}

// ANCHOR: ranges
/// The numbers of one architecture, cut into ranges for which the same is done.
fn calls_ranges(calls: &Calls, resolved: &Resolved) -> Vec<Range> {
    let base = if calls.architecture == Architecture::X32 { X32_BIT } else { 0 };
    let mut ranges: Vec<Range> = Vec::new();
    let mut add = |first: u32, code: Code| {
        // A range that does what the one before does is a part of it.
        if ranges.last().is_none_or(|last| last.code != code) {
            ranges.push(Range { first, code });
        }
    };
    let mut next = base;
    for (number, rules) in &calls.rules {
        if *number > next {
            add(next, ret(resolved.default));
        }
        add(*number, chain(rules, calls.narrow, resolved.default));
        next = number + 1;
    }
    if next <= calls.newest {
        add(next, ret(resolved.default));
    }
    add(calls.newest.max(base) + 1, ret(resolved.unknown));
    ranges
}
// ANCHOR_END: ranges

/// Numbers of x32 come with the audit value of x86-64. Where the profile does not name x32, they
/// must not be taken for large numbers of x86-64.
fn close_x32(ranges: &mut Vec<Range>) {
    if !ranges.iter().any(|range| range.first >= X32_BIT) {
        ranges.push(Range { first: X32_BIT, code: ret(libc::SECCOMP_RET_KILL_THREAD) });
    }
}

// ANCHOR: search
/// A binary search over sorted ranges. The accumulator holds the number.
fn search(ranges: &[Range]) -> Code {
    match ranges {
        [] => ret(libc::SECCOMP_RET_KILL_THREAD),
        [only] => only.code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let first = high.first().map_or(0, |range| range.first);
            branch(AT_LEAST, first, search(high), search(low))
        }
    }
}
// ANCHOR_END: search

/// Jumps behind the block that it is in; [`block`] puts in the distance.
const NEXT: Instruction = Instruction { code: JUMP, jt: 0, jf: 0, k: u32::MAX };

// ANCHOR: chain
/// The rules of one call, a block for each: the first whose conditions hold decides, and one that
/// does not hold ends up behind its block. Thus a rule costs the same wherever it stands; were what
/// follows repeated at each condition that may fail, the program would double with every rule.
fn chain(rules: &[Rule], narrow: bool, default: u32) -> Code {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(block(rule, narrow));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.extend(ret(default));
    code
}

fn block(rule: &Rule, narrow: bool) -> Code {
    let mut code = ret(rule.action);
    for condition in rule.conditions.iter().rev() {
        code = test(*condition, narrow, code, vec![NEXT]);
    }
    let length = code.len();
    for (at, instruction) in code.iter_mut().enumerate().filter(|(_, one)| **one == NEXT) {
        instruction.k = (length - at - 1) as u32;
    }
    code
}
// ANCHOR_END: chain

// ANCHOR: compare
/// One condition. Arguments have 64 bits and the machine 32, so the upper half is compared first
/// and decides unless it is equal. Programs of 32 bits have no upper half.
fn test(condition: Condition, narrow: bool, yes: Code, no: Code) -> Code {
    let Condition { index, operator, value, second } = condition;
    let offset = ARGUMENTS + 8 * u32::from(index);
    let (low_at, high_at) =
        if cfg!(target_endian = "little") { (offset, offset + 4) } else { (offset + 4, offset) };
    let (high, low) = ((value >> 32) as u32, value as u32);
    let load = |at: u32, mut rest: Code| {
        rest.insert(0, plain(LOAD, at));
        rest
    };
    let wide = |above: Option<Code>, equal: Code, below: Code| {
        if narrow {
            return equal;
        }
        let not_equal = match above {
            Some(above) => branch(ABOVE, high, above, below),
            None => below,
        };
        load(high_at, branch(EQUAL, high, equal, not_equal))
    };
    match operator {
        Operator::ScmpCmpEq => {
            let equal = load(low_at, branch(EQUAL, low, yes, no.clone()));
            wide(None, equal, no)
        }
        Operator::ScmpCmpNe => {
            let equal = load(low_at, branch(EQUAL, low, no, yes.clone()));
            wide(None, equal, yes)
        }
        Operator::ScmpCmpGt => {
            let equal = load(low_at, branch(ABOVE, low, yes.clone(), no.clone()));
            wide(Some(yes), equal, no)
        }
        Operator::ScmpCmpGe => {
            let equal = load(low_at, branch(AT_LEAST, low, yes.clone(), no.clone()));
            wide(Some(yes), equal, no)
        }
        Operator::ScmpCmpLt => {
            let equal = load(low_at, branch(AT_LEAST, low, no.clone(), yes.clone()));
            wide(Some(no), equal, yes)
        }
        Operator::ScmpCmpLe => {
            let equal = load(low_at, branch(ABOVE, low, no.clone(), yes.clone()));
            wide(Some(no), equal, yes)
        }
        Operator::ScmpCmpMaskedEq => {
            let masked = |at: u32, mask: u32, expected: u32, yes: Code| {
                let mut code = vec![plain(LOAD, at), plain(AND, mask)];
                code.extend(branch(EQUAL, expected, yes, no.clone()));
                code
            };
            let lower = masked(low_at, low, second as u32, yes);
            if narrow || high == 0 && second >> 32 == 0 {
                return lower;
            }
            masked(high_at, high, (second >> 32) as u32, lower)
        }
    }
}
// ANCHOR_END: compare

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
