//! Exercise 7.3: a name in a message of DNS.
#![deny(unsafe_code)]

// ANCHOR: label
/// The name that begins at `at` (RFC 1035, 4.1.4), and where what follows it begins. `None` where the
/// bytes are no name.
pub fn read_name(message: &[u8], at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    // Where the part of the name begins that is being read, and where we are in it.
    let (mut part, mut here) = (at, at);
    let (mut after, mut length) = (None, 0);
    loop {
        match *message.get(here)? {
            0 => return Some((name, after.unwrap_or(here + 1))),
            // The rest of the name stands elsewhere, and the first such place ends what is here.
            high @ 0xc0.. => {
                let low = *message.get(here + 1)?;
                let target = usize::from(high & 0x3f) << 8 | usize::from(low);
                after.get_or_insert(here + 2);
                // To before the part that leads there: so it ends, however often it leads on.
                if target >= part {
                    return None;
                }
                (part, here) = (target, target);
            }
            // Two kinds that nobody has ever used.
            0x40..=0xbf => return None,
            count => {
                let label = message.get(here + 1..=here + usize::from(count))?;
                length += label.len() + 1;
                if length > 254 {
                    return None;
                }
                for byte in label {
                    match byte {
                        b'.' | b'\\' => name.extend(['\\', char::from(*byte)]),
                        0x21..=0x7e => name.push(char::from(*byte)),
                        _ => name.push_str(&format!("\\{byte:03}")),
                    }
                }
                name.push('.');
                here += label.len() + 1;
            }
        }
    }
}
// ANCHOR_END: label

fn main() {
    let message = b"\x03web\x03app\x00\x02db\xc0\x04";
    for at in [0, 9] {
        println!("{:?}", read_name(message, at));
    }
}
