use proptest::prelude::*;

use super::*;
use crate::device::allowed;

/// What the kernel does with a program: an interpreter of the operations that we use. It fails
/// where the verifier would: registers that were never set, jumps out of the program, no end.
fn interpret(program: &Program, context: [u32; 3]) -> u64 {
    let mut registers: [Option<u64>; 11] = [None; 11];
    registers[1] = Some(0);
    let mut at = 0;
    for _ in 0..=program.instructions.len() {
        let Instruction { code, registers: pair, offset, constant } = program.instructions[at];
        let (dst, src) = (usize::from(pair & 15), usize::from(pair >> 4));
        let value = |register: usize| registers[register].expect("the register was set");
        // A constant is extended with its sign to 64 bits.
        let wide = i64::from(constant).cast_unsigned();
        at += 1;
        match code {
            code::LOAD => {
                assert_eq!(src, 1, "only the context is memory");
                registers[dst] = Some(context[offset as usize / 4].into());
            }
            code::SET => registers[dst] = Some(wide),
            code::COPY => registers[dst] = Some(value(src)),
            code::AND => registers[dst] = Some(value(dst) & wide),
            code::SHIFT => registers[dst] = Some(value(dst) >> constant),
            code::IF_EQUAL | code::IF_DIFFERENT => {
                let equal = value(dst) as u32 == constant.cast_unsigned();
                if equal == (code == code::IF_EQUAL) {
                    at = (at as i64 + i64::from(offset)) as usize;
                }
            }
            code::EXIT => return value(0),
            other => panic!("unknown operation {other:#x}"),
        }
    }
    panic!("the program does not end");
}

fn any_rule() -> impl Strategy<Value = DeviceRule> {
    let kind = prop_oneof![Just(DeviceKind::All), Just(DeviceKind::Char), Just(DeviceKind::Block)];
    // Few numbers, so that rules meet; and one that does not fit 31 bits.
    let number = || prop::option::of(prop_oneof![0u32..3, Just(u32::MAX)]);
    let access = prop_oneof![Just("r"), Just("w"), Just("m"), Just("rw"), Just("rwm")];
    (any::<bool>(), kind, number(), number(), access).prop_map(
        |(allow, kind, major, minor, access)| {
            let access = access.parse().unwrap();
            DeviceRule { allow, kind, major, minor, access }
        },
    )
}

proptest! {
    #[test]
    fn the_program_says_what_the_rules_say(
        rules in prop::collection::vec(any_rule(), 0..8),
        block in any::<bool>(),
        major in prop_oneof![0u32..4, Just(u32::MAX)],
        minor in 0u32..4,
        bits in 1usize..8,
    ) {
        let kind = if block { DeviceKind::Block } else { DeviceKind::Char };
        let letters: String =
            ["m", "r", "w"].iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, l)| *l).collect();
        let access: Access = letters.parse().unwrap();
        let answer = interpret(&Program::new(&rules), context(kind, major, minor, access));
        prop_assert_eq!(answer == 1, allowed(&rules, kind, major, minor, access), "{:?}", rules);
    }
}

#[test]
fn a_rule_is_a_few_tests_and_a_decision() {
    let rules = ["-a *:* rwm", "+c 1:3 rw"].map(|rule| rule.parse().unwrap());
    let expected = "   \
   0  r2 = *(u32 *)(r1 + 0)
   1  r3 = r2
   2  r3 &= 0xffff
   3  r2 >>= 16
   4  r4 = *(u32 *)(r1 + 4)
   5  r5 = *(u32 *)(r1 + 8)
   6  if r3 != 2 goto 13
   7  if r4 != 1 goto 13
   8  if r5 != 3 goto 13
   9  r2 &= 0xfffffff9
  10  if r2 != 0 goto 13
  11  r0 = 1
  12  exit
  13  r0 = 0
  14  exit
";
    assert_eq!(
        Program::new(&rules).to_string(),
        expected.trim_start_matches("   ").replacen("0  r2", "   0  r2", 1)
    );
}

#[test]
fn nothing_after_a_rule_for_everything_is_assembled() {
    let rules = ["+c 1:3 rw", "+a *:* rwm"].map(|rule| rule.parse().unwrap());
    assert_eq!(Program::new(&rules).instructions().len(), 8);
}
