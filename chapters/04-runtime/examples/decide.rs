//! Exercise 4.2: ask a filter what it does with a system call, by running it.
//!
//! `cargo run -p corten-runtime --example decide -- PROFILE NUMBER [ARGUMENT…]`
#![deny(unsafe_code)]

use std::process::ExitCode;

use corten_runtime::seccomp::{Architecture, compile};
use corten_runtime::sys::seccomp::Instruction;

// ANCHOR: decide
/// What `program` answers to the call `number` of an architecture (its AUDIT_ARCH_* value): one of
/// the SECCOMP_RET_* values, or `None` where it leads nowhere.
pub fn decide(
    program: &[Instruction],
    audit: u32,
    number: u32,
    arguments: [u64; 6],
) -> Option<u32> {
    // struct seccomp_data; who calls, the eight bytes in between, is left at 0.
    let mut data = Vec::with_capacity(64);
    data.extend([number, audit, 0, 0].iter().flat_map(|word| word.to_ne_bytes()));
    data.extend(arguments.iter().flat_map(|word| word.to_ne_bytes()));
    let (mut accumulator, mut at) = (0u32, 0usize);
    // Jumps lead forwards only, so this ends.
    loop {
        let Instruction { code, jt, jf, k } = *program.get(at)?;
        let jump = |holds: bool| usize::from(if holds { jt } else { jf });
        at += 1 + match u32::from(code) {
            LOAD => {
                let bytes = data.get(k as usize..k as usize + 4)?;
                accumulator = u32::from_ne_bytes(bytes.try_into().ok()?);
                0
            }
            AND => {
                accumulator &= k;
                0
            }
            JUMP => k as usize,
            EQUAL => jump(accumulator == k),
            ABOVE => jump(accumulator > k),
            AT_LEAST => jump(accumulator >= k),
            RETURN => return Some(k),
            _ => return None,
        };
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const JUMP: u32 = libc::BPF_JMP | libc::BPF_JA;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const ABOVE: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
// ANCHOR_END: decide

fn main() -> ExitCode {
    match answer() {
        Ok(answer) => {
            println!("{answer:#x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("decide: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<u32, Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: decide PROFILE NUMBER [ARGUMENT…]";
    let profile = std::fs::read_to_string(words.next().ok_or(usage)?)?;
    let number = words.next().ok_or(usage)?.parse()?;
    let mut arguments = [0; 6];
    for (argument, word) in arguments.iter_mut().zip(words) {
        *argument = word.parse()?;
    }
    let native = Architecture::native()?;
    let filter = compile(&serde_json::from_str(&profile)?, native)?;
    let answer = decide(&filter.program, native.audit(), number, arguments);
    answer.ok_or_else(|| "the filter leads nowhere".into())
}
