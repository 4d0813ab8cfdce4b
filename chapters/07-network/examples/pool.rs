//! Exercise 7.1: a subnet that collides with nothing.
//!
//! `cargo run -p corten-network --example pool -- 172.16.0.0/12 20 172.17.0.0/16 10.0.0.0/8`
#![deny(unsafe_code)]

use std::process::ExitCode;

use ipnet::Ipv4Net;

// ANCHOR: pool
/// The first subnet of `pool` with this length of prefix that touches none of `taken`.
pub fn free_subnet(pool: Ipv4Net, length: u8, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    if length < pool.prefix_len() || length > 32 {
        return None;
    }
    let size = 1_u64 << (32 - length);
    let first = |net: &Ipv4Net| u64::from(u32::from(net.network()));
    let last = |net: &Ipv4Net| u64::from(u32::from(net.broadcast()));
    // A route to everything takes nothing away: it says where to go when nobody knows better.
    let mut taken: Vec<&Ipv4Net> = taken.iter().filter(|net| net.prefix_len() > 0).collect();
    taken.sort_by_key(|net| first(net));
    let mut candidate = first(&pool);
    for net in taken {
        if last(net) < candidate {
            continue; // It lies before.
        }
        if first(net) >= candidate + size {
            break; // And all the others behind.
        }
        // Behind it, at the next place where a subnet of this size can begin.
        candidate = (last(net) + 1).next_multiple_of(size);
    }
    if candidate + size - 1 > last(&pool) {
        return None;
    }
    Ipv4Net::new(u32::try_from(candidate).ok()?.into(), length).ok()
}
// ANCHOR_END: pool

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [pool, length, taken @ ..] = &words[..] else {
        eprintln!("usage: pool POOL LENGTH [TAKEN...]");
        return ExitCode::FAILURE;
    };
    let taken: Option<Vec<Ipv4Net>> = taken.iter().map(|net| net.parse().ok()).collect();
    let found = match (pool.parse(), length.parse(), taken) {
        (Ok(pool), Ok(length), Some(taken)) => free_subnet(pool, length, &taken),
        _ => None,
    };
    match found {
        Some(subnet) => {
            println!("{subnet}");
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("pool: there is none");
            ExitCode::FAILURE
        }
    }
}
